//! The members of a cluster: which one is talked to, and what follows when it fails. A connection is made when
//! it is first needed, so that a program starts while the cluster is down.

use super::config::EtcdConfig;
use super::error::{Verdict, is_auth_disabled, store_error, timed_out, verdict};
use crate::store::{Revision, StoreError};
use etcd_client::{Client, ConnectOptions, Error, KvClient, LeaseClient, MaintenanceClient, WatchClient};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The largest answer that is read. etcd has no limit of its own; callers ask for pages.
const MAX_ANSWER: usize = 64 << 20;

/// The clients of one member. Clones share one connection.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) kv: KvClient,
    pub(super) lease: LeaseClient,
    pub(super) watch: WatchClient,
    pub(super) maintenance: MaintenanceClient,
    /// Which connection to this member it is.
    generation: u64,
}

/// Whether a request that may have been served can be sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or nothing that matters.
    Allowed,
    /// It may be done twice, or be refused the second time.
    Forbidden,
}

pub(super) struct Connection {
    endpoints: Vec<String>,
    options: ConnectOptions,
    credentials: Option<(String, String)>,
    request_timeout: Duration,
    /// The member that is talked to.
    current: AtomicUsize,
    /// Never held while waiting for anything.
    members: Mutex<Members>,
    /// Held while connecting, so that those who wait share the connection.
    connecting: tokio::sync::Mutex<()>,
    /// How often a request or a watch failed on its way.
    pub(super) interruptions: Arc<AtomicU64>,
}

struct Members {
    connected: Vec<Option<Member>>,
    generation: u64,
}

impl Connection {
    pub(super) fn new(config: &EtcdConfig) -> Result<Self, StoreError> {
        let connected = config.endpoints.iter().map(|_| None).collect();
        Ok(Self {
            endpoints: config.endpoints.clone(),
            options: config.options()?,
            credentials: config.credentials()?,
            request_timeout: config.request_timeout,
            current: AtomicUsize::new(0),
            members: Mutex::new(Members { connected, generation: 0 }),
            connecting: tokio::sync::Mutex::new(()),
            interruptions: Arc::default(),
        })
    }

    /// Sends a request to the current member; to the others too, when it was not sent or may be repeated.
    /// `revision` is what the request asks for, 0 if it does not.
    pub(super) async fn call<T, F>(
        &self,
        repeat: Repeat,
        revision: Revision,
        request: impl Fn(Member) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + self.request_timeout;
        let mut attempts = self.endpoints.len() + 1;
        loop {
            let index = self.current.load(Ordering::Relaxed);
            let endpoint = &self.endpoints[index];
            let mut generation = None;
            let attempt = async {
                let member = self.member(index).await?;
                generation = Some(member.generation);
                request(member).await
            };
            let Ok(outcome) = timeout_at(deadline, attempt).await else {
                self.forget(index, generation);
                self.avoid(index);
                self.interruptions.fetch_add(1, Ordering::Relaxed);
                return Err(timed_out(endpoint, self.request_timeout));
            };
            let error = match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            attempts -= 1;
            let verdict = verdict(&error);
            if matches!(verdict, Verdict::NotSent | Verdict::Unknown) {
                self.avoid(index);
                self.interruptions.fetch_add(1, Ordering::Relaxed);
            }
            let again = match verdict {
                Verdict::NotSent => true,
                Verdict::Unknown => repeat == Repeat::Allowed,
                Verdict::Unauthenticated => {
                    self.forget(index, generation);
                    true
                }
                Verdict::Final => false,
            };
            if !again || attempts == 0 {
                return Err(store_error(endpoint, &error, revision));
            }
        }
    }

    /// A connected member, authenticated if there is a password.
    async fn member(&self, index: usize) -> Result<Member, Error> {
        if let Some(member) = &self.members().connected[index] {
            return Ok(member.clone());
        }
        let _connecting = self.connecting.lock().await;
        if let Some(member) = &self.members().connected[index] {
            return Ok(member.clone());
        }
        let client = match self.connect(index, true).await {
            Err(error) if is_auth_disabled(&error) => self.connect(index, false).await?,
            outcome => outcome?,
        };
        let mut members = self.members();
        members.generation += 1;
        let member = Member {
            kv: client.kv_client().max_decoding_message_size(MAX_ANSWER),
            lease: client.lease_client(),
            maintenance: client.maintenance_client(),
            watch: client.watch_client().max_decoding_message_size(MAX_ANSWER),
            generation: members.generation,
        };
        members.connected[index] = Some(member.clone());
        Ok(member)
    }

    async fn connect(&self, index: usize, authenticate: bool) -> Result<Client, Error> {
        let mut options = self.options.clone();
        if let (Some((user, password)), true) = (&self.credentials, authenticate) {
            options = options.with_user(user, password);
        }
        Client::connect([&self.endpoints[index]], Some(options)).await
    }

    /// Talks to the next member from now on, unless somebody has seen to that already.
    fn avoid(&self, index: usize) {
        let next = (index + 1) % self.endpoints.len();
        // It fails if another one was chosen meanwhile.
        let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Connects and authenticates anew the next time, unless somebody has done so already.
    fn forget(&self, index: usize, generation: Option<u64>) {
        let connected = &mut self.members().connected[index];
        if connected.as_ref().map(|member| member.generation) == generation {
            *connected = None;
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
