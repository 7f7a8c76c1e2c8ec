//! That one engine runs the services, and no other: a key with a time to live, which its holder renews.
//!
//! What kind it is and which machine it is on stays in the store. What runs elsewhere is not seen here, so that nobody
//! starts it a second time while that is away.

use crate::lastbackend::new_id;
use common::store::record::lastbackend::{Engine, EngineAlive};
use common::store::record::{self, RecordError};
use common::store::{
    Compare, KeyRange, Op, Revision, Store, StoreError, TtlId, Txn, keys::lastbackend as keys,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an engine counts as there after it was last heard of.
const TTL: Duration = Duration::from_secs(6);
/// How often it makes itself heard.
const RENEWAL: Duration = Duration::from_secs(2);

/// Why the services can't be run here.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// They are run by another kind of engine, or on another machine.
    #[error(
        "the services run {}; to run them elsewhere, end the controller there, see that its pods are gone, and delete the \
         key `engine` of the store", place(.0)
    )]
    Elsewhere(Engine),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds something that can't be read.
    #[error("the store holds a record that this controller does not understand")]
    Record(#[from] RecordError),
}

fn place(engine: &Engine) -> String {
    match (&*engine.kind, &*engine.machine) {
        (kind, "") => format!("by engine {kind}"),
        (kind, machine) => format!("by engine {kind} on machine {machine}"),
    }
}

/// The lock, held.
pub struct Held {
    store: Arc<dyn Store>,
    ttl: TtlId,
    token: Revision,
    /// What marks the pods of this installation.
    pub owner: String,
    alive: EngineAlive,
}

impl Held {
    /// Takes the lock; nothing if another engine has it.
    pub async fn take(store: &Arc<dyn Store>, kind: &str, machine: &str) -> Result<Option<Self>, LockError> {
        let ranges = [KeyRange::key(keys::ENGINE), KeyRange::key(keys::ENGINE_ALIVE)];
        let read = store.snapshot(&ranges).await?.ranges;
        if !read[1].is_empty() {
            return Ok(None);
        }
        let txn = Txn::new().when(Compare::Absent(keys::ENGINE_ALIVE.to_owned()));
        let (owner, txn) = if let Some(entry) = read[0].first() {
            let engine: Engine = record::decode(&entry.key, &entry.value)?;
            if engine.machine != machine || engine.kind != kind {
                return Err(LockError::Elsewhere(engine));
            }
            (engine.id, txn.when(Compare::ModRevision(entry.key.clone(), entry.mod_revision)))
        } else {
            let id = new_id();
            let engine = Engine { id: id.clone(), kind: kind.to_owned(), machine: machine.to_owned() };
            let key = keys::ENGINE.to_owned();
            (id, txn.when(Compare::Absent(key.clone())).then(Op::Put(key, record::encode(&engine))))
        };
        let alive = EngineAlive { machine: machine.to_owned(), error: None };
        let ttl = store.grant_ttl(TTL).await?;
        let txn = txn.then(Op::PutWithTtl(keys::ENGINE_ALIVE.to_owned(), record::encode(&alive), ttl));
        match store.txn(txn).await {
            Ok(token) => Ok(Some(Self { store: Arc::clone(store), ttl, token, owner, alive })),
            Err(error) => {
                // It ends by itself, too.
                let _ = store.revoke_ttl(ttl).await;
                if matches!(error, StoreError::Conflict) { Ok(None) } else { Err(error.into()) }
            }
        }
    }

    /// Renews the lock until it is lost. Must be polled all the time.
    pub fn renewed(&self) -> impl Future<Output = ()> + Send + use<> {
        let (store, ttl) = (Arc::clone(&self.store), self.ttl);
        async move {
            let mut heard = Instant::now();
            loop {
                tokio::time::sleep(RENEWAL).await;
                let asked = Instant::now();
                match store.renew_ttl(ttl).await {
                    Ok(()) => heard = asked,
                    Err(error) if error.is_unavailable() && heard.elapsed() < TTL => {}
                    Err(error) => {
                        tracing::warn!(%error, "the engine has lost its lock");
                        return;
                    }
                }
            }
        }
    }

    /// What a transaction of the lock's holder compares.
    pub fn compare(&self) -> Compare {
        Compare::CreateRevision(keys::ENGINE_ALIVE.to_owned(), self.token)
    }

    /// Tells why nothing can be run, or that it can.
    pub async fn tell(&mut self, error: Option<String>) -> Result<(), StoreError> {
        if self.alive.error == error {
            return Ok(());
        }
        if let Some(error) = &error {
            tracing::warn!(error, "nothing can be run");
        } else {
            tracing::info!("services are run again");
        }
        let alive = EngineAlive { error, ..self.alive.clone() };
        let key = keys::ENGINE_ALIVE.to_owned();
        let txn = Txn::new().when(self.compare());
        self.store.txn(txn.then(Op::PutWithTtl(key, record::encode(&alive), self.ttl))).await?;
        self.alive = alive;
        Ok(())
    }

    /// Gives the lock up.
    pub async fn release(self) {
        // It ends by itself, too.
        let _ = self.store.revoke_ttl(self.ttl).await;
    }
}
