//! The node's name in the store: who owns it, and that its owner is alive.
//!
//! Two machines must not share a name: the name belongs to one installation, told by an instance id that is made
//! once and kept in the data directory, and a second one waits until the first is no longer heard of.

use common::clock;
use common::error::chain;
use common::name::NodeName;
use common::store::record::{self, Alive, Node, RecordError};
use common::store::schema::{SchemaError, check_schema, ensure_schema};
use common::store::{Compare, KeyRange, Op, Store, StoreError, TtlId, Txn, keys};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a node counts as alive after it was last heard of.
pub const TTL: Duration = Duration::from_secs(15);
/// How often it makes itself heard: seldom, as thousands of nodes do, and often enough for one call to fail.
const RENEWAL: Duration = Duration::from_secs(6);
/// Pause after that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long a node stays away that was removed while it lives.
const ABSENCE: Duration = Duration::from_secs(3);

/// Why the node's name can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    /// Another installation uses the name and is alive.
    #[error(
        "another coild (instance {other}) is alive under the node name {node}; give every machine a --node-name of its own"
    )]
    NameTaken {
        /// The name.
        node: NodeName,
        /// Its owner.
        other: String,
    },
    /// The store failed.
    #[error("can't register node {0}")]
    Store(NodeName, #[source] StoreError),
    /// The store's layout is not ours.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The store holds something else than it should.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The instance id can't be kept.
    #[error("can't keep the instance id in {path}")]
    InstanceFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl PresenceError {
    /// Whether the same may succeed when the store is back.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Store(_, error) | Self::Schema(SchemaError::Store(error)) => error.is_unavailable(),
            _ => false,
        }
    }
}

/// The id of this installation: read from the data directory, made at the first start.
pub fn instance_id(data_dir: &Path) -> Result<String, PresenceError> {
    let path = data_dir.join("instance-id");
    let failed = |source| PresenceError::InstanceFile { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map_err(failed)?;
    let id = format!("{:032x}", u128::from_be_bytes(bytes));
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, &id).map_err(failed)?;
    std::fs::rename(&fresh, &path).map_err(failed)?;
    Ok(id)
}

/// The node's claim to its name.
pub struct Presence {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The name.
    pub node: NodeName,
    /// Who claims it.
    pub instance: String,
    /// The kernel's boot id.
    pub boot: String,
    /// Told when the node's record is gone.
    pub unregistered: Arc<Notify>,
    claimed: Mutex<Option<TtlId>>,
}

impl Presence {
    /// A claim that is not made yet.
    pub fn new(store: Arc<dyn Store>, node: NodeName, instance: String, boot: String) -> Self {
        Self { store, node, instance, boot, unregistered: Arc::default(), claimed: Mutex::new(None) }
    }

    /// Makes sure that the store has our layout, and claims the name. While another installation is alive under it, waits until that one's TTL must be over,
    /// then gives up.
    pub async fn claim(&self) -> Result<(), PresenceError> {
        let until = Instant::now() + TTL + Duration::from_secs(3);
        loop {
            match self.try_claim().await {
                Err(PresenceError::NameTaken { .. }) if Instant::now() < until => {}
                Err(PresenceError::Store(_, StoreError::Conflict)) => {}
                outcome => return outcome,
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn try_claim(&self) -> Result<(), PresenceError> {
        let failed = |error| PresenceError::Store(self.node.clone(), error);
        let key = keys::alive(&self.node);
        let read = self.store.snapshot(&[KeyRange::key(keys::SCHEMA), KeyRange::key(&key)]).await;
        let mut read = read.map_err(failed)?.ranges.into_iter().map(|entries| entries.into_iter().next());
        match read.next().flatten() {
            Some(schema) => check_schema(&schema)?,
            None => ensure_schema(self.store.as_ref()).await?,
        }
        let alive = read.next().flatten();
        if let Some(entry) = &alive {
            let owner: Alive = record::decode(&key, &entry.value)?;
            if owner.instance != self.instance {
                return Err(PresenceError::NameTaken { node: self.node.clone(), other: owner.instance });
            }
        }
        let ttl = self.store.grant_ttl(TTL).await.map_err(failed)?;
        let node =
            Node { instance: self.instance.clone(), boot: self.boot.clone(), started: clock::now_millis() };
        let claim = Txn::new()
            .when(Compare::ModRevision(key.clone(), alive.map_or(0, |entry| entry.mod_revision)))
            .then(Op::PutWithTtl(key, record::encode(&Alive { instance: self.instance.clone() }), ttl))
            .then(Op::Put(keys::node(&self.node), record::encode(&node)));
        self.store.txn(claim).await.map_err(failed)?;
        self.set_claimed(Some(ttl));
        Ok(())
    }

    /// Stays alive for ever; ends only when another installation has taken the name.
    pub async fn keep(&self) -> PresenceError {
        let mut pause = RENEWAL;
        loop {
            if let Some(ttl) = self.claimed() {
                let renewed = tokio::select! {
                    () = tokio::time::sleep(pause) => self.store.renew_ttl(ttl).await,
                    // An operator removed the node while it lives. It is gone for a moment, so that this can be seen.
                    () = self.unregistered.notified() => {
                        tokio::time::sleep(ABSENCE).await;
                        Err(StoreError::UnknownTtl)
                    }
                };
                pause = if renewed.is_ok() { RENEWAL } else { RETRY };
                match renewed {
                    Ok(()) => {}
                    Err(StoreError::UnknownTtl) => self.set_claimed(None),
                    Err(error) => tracing::warn!(error = %chain(&error), "can't renew the node's liveness"),
                }
                continue;
            }
            match self.claim().await {
                Ok(()) => tracing::info!(node = %self.node, "registered"),
                Err(error @ PresenceError::NameTaken { .. }) => return error,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "can't register the node");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Gives up the claim, so that a replacement need not wait for the TTL.
    pub async fn end(&self) {
        if let Some(ttl) = self.claimed()
            && let Err(error) = self.store.revoke_ttl(ttl).await
        {
            tracing::debug!(error = %chain(&error), "the node counts as alive until its TTL is over");
        }
    }

    fn claimed(&self) -> Option<TtlId> {
        *self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_claimed(&self, ttl: Option<TtlId>) {
        *self.claimed.lock().unwrap_or_else(PoisonError::into_inner) = ttl;
    }
}
