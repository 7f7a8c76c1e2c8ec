//! The loop that makes what runs match what is wanted, for as long as this controller has the lock. It is the same for
//! all engines.

use super::Engine;
use super::desired::Desired;
use super::lock::{Held, LockError};
use super::round::Round;
use super::told::Told;
use common::error::chain;
use common::store::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pause before the lock or the store is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs services.
pub struct Keeper {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What runs them.
    pub engine: Arc<dyn Engine>,
    /// The machine.
    pub machine: String,
}

impl Keeper {
    /// Runs services until the controller ends, whenever no other engine does.
    pub async fn run(&self, mut ending: watch::Receiver<bool>) {
        let mut told_why = String::new();
        while !*ending.borrow() {
            let machine = if self.engine.is_local() { &*self.machine } else { "" };
            match Held::take(&self.store, self.engine.kind(), machine).await {
                Ok(Some(held)) => {
                    tracing::info!(
                        engine = self.engine.kind(),
                        owner = held.owner,
                        "this controller runs services"
                    );
                    self.hold(held, &mut ending).await;
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    let why = chain(&error);
                    if why != told_why {
                        match error {
                            LockError::Elsewhere(_) => {
                                tracing::error!(error = why, "services are not run here");
                            }
                            LockError::Store(_) | LockError::Record(_) => {
                                tracing::warn!(error = why, "services are not run at the moment");
                            }
                        }
                        told_why = why;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = ending.wait_for(|ending| *ending) => {}
            }
        }
    }

    /// Runs services until the lock is lost, or the controller ends.
    async fn hold(&self, mut held: Held, ending: &mut watch::Receiver<bool>) {
        let lost = held.renewed();
        let work = async {
            loop {
                let error = self.work(&mut held).await;
                tracing::warn!(error = chain(&error), "looking after the services starts over");
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = lost => return,
            () = work => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
        held.release().await;
    }

    /// Goes on until the store fails.
    async fn work(&self, held: &mut Held) -> StoreError {
        let store = self.store.as_ref();
        let (mut desired, told) = match tokio::try_join!(Desired::read(store), Told::read(store)) {
            Ok(read) => read,
            Err(error) => return error,
        };
        let mut round = Round::new(Arc::clone(&self.engine), told);
        loop {
            let next = match round.go(store, held, &desired).await {
                Ok(next) => next,
                Err(error) => return error,
            };
            tokio::select! {
                changed = desired.changed() => match changed {
                    Ok(()) => round.wake(),
                    Err(error) => return error,
                },
                () = self.engine.changed() => round.wake(),
                () = round.step_done() => {}
                () = tokio::time::sleep(next) => {}
            }
        }
    }
}
