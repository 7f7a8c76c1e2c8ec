//! A cluster of version 1 becomes one of this version: its pools, the blocks of its nodes, and the addresses that its
//! containers have. Each node finds them at its first start, as it would after the loss of its journal.
//!
//! * [`version1`]: the keys and values of version 1
//! * [`plan`]: what is to be there
//! * [`survey`]: what is there already, what is to be done, and what stands in the way
//! * [`outlook`]: that, for people
//! * [`batch`]: that, as transactions
//!
//! Invariants: nothing is written unless all of version 1 can be read and nothing stands in the way. Blocks are written
//! only under pools that are disabled, and only for nodes that have never run; every transaction compares both. So
//! nothing of these pools is given before an operator enables them, whatever a crash leaves; and an import that was cut short
//! is finished by another one, which finds what is done already.

mod batch;
mod outlook;
mod plan;
mod survey;
#[cfg(test)]
mod tests;
mod version1;

pub use outlook::Outlook;
pub use plan::Size;
pub use version1::Fault;

use crate::auth::Caller;
use crate::error::Error;
use crate::pools::{self, Change};
use batch::{next_batch, tell, transaction};
use common::name::PoolName;
use common::store::record::RecordError;
use common::store::retry::{Attempts, IsConflict, seed};
use common::store::schema::{SchemaError, ensure_schema};
use common::store::{Entry, KeyRange, Revision, Store, StoreError};
use plan::Plan;
use std::collections::BTreeMap;
use survey::{Step, Survey};
use version1::KINDS;

/// Why an import did not happen, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Version 1 can't be read.
    #[error("can't read the keys of version 1")]
    Source(#[source] StoreError),
    /// There is none.
    #[error("there is no pool of version 1: are --v1-prefix and the endpoints right?")]
    Nothing,
    /// Keys of version 1 are not as it writes them.
    #[error("nothing was imported: of version 1 can't be understood{}", lines(.0))]
    Faults(Vec<Fault>),
    /// Something stands in the way.
    #[error("nothing was imported:{}", lines(.0))]
    Obstacles(Vec<String>),
    /// Version 1 goes on writing.
    #[error(
        "version 1 still runs, and changed meanwhile what was imported: stop it on all nodes, and import again; \
         enable no pool before. What changed:{}", lines(.0)
    )]
    Changed(Vec<String>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's layout is not ours.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The store holds something that can't be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A pool can't be made.
    #[error(transparent)]
    Pool(#[from] Error),
}

impl IsConflict for ImportError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict) | Self::Pool(Error::Store(StoreError::Conflict)))
    }
}

fn lines<T: ToString>(items: &[T]) -> String {
    items.iter().flat_map(|item| ["\n  ".to_owned(), item.to_string()]).collect()
}

/// How far an import is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps that are done.
    pub done: usize,
    /// All that were to be done.
    pub all: usize,
}

/// From where to where.
pub struct Import<'a> {
    /// The keys of version 1: below its prefix.
    pub source: &'a dyn Store,
    /// This version's store.
    pub target: &'a dyn Store,
}

impl Import<'_> {
    /// Tells what would be done, and writes nothing.
    pub async fn look(&self) -> Result<Outlook, ImportError> {
        let (plan, _) = self.read().await?;
        let survey = Survey::of(self.target, &plan).await?;
        Ok(Outlook { plan, survey })
    }

    /// Imports everything, and then makes sure that version 1 has not changed meanwhile.
    pub async fn run(&self, mut progress: impl FnMut(Progress)) -> Result<Size, ImportError> {
        let (plan, before) = self.read().await?;
        let mut attempts = Attempts::new(seed("import"));
        while let Err(error) = self.bring_about(&plan, &mut progress).await {
            attempts.after(error).await?;
        }
        let changed = differences(&before, &self.revisions().await?);
        if changed.is_empty() { Ok(plan.size()) } else { Err(ImportError::Changed(changed)) }
    }

    async fn entries(&self) -> Result<Vec<Entry>, ImportError> {
        let ranges = KINDS.map(KeyRange::prefix);
        let read = self.source.snapshot(&ranges).await.map_err(ImportError::Source)?;
        Ok(read.ranges.into_iter().flatten().collect())
    }

    async fn read(&self) -> Result<(Plan, BTreeMap<String, Revision>), ImportError> {
        let entries = self.entries().await?;
        let plan = version1::read(entries.iter()).map_err(ImportError::Faults)?;
        if plan.pools.is_empty() {
            return Err(ImportError::Nothing);
        }
        Ok((plan, revisions(entries)))
    }

    async fn revisions(&self) -> Result<BTreeMap<String, Revision>, ImportError> {
        Ok(revisions(self.entries().await?))
    }

    async fn bring_about(&self, plan: &Plan, progress: &mut impl FnMut(Progress)) -> Result<(), ImportError> {
        let Survey { steps, obstacles } = Survey::of(self.target, plan).await?;
        if !obstacles.is_empty() {
            return Err(ImportError::Obstacles(obstacles));
        }
        ensure_schema(self.target).await?;
        let who = Caller::itself("import of version 1");
        let (pools, blocks): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| matches!(step, Step::Pool(_)));
        let (mut done, all) = (0, pools.len() + blocks.len());
        for step in &pools {
            let Step::Pool(name) = step else { continue };
            let pool = plan.pools.get(name).cloned().map(Change::Create);
            if let Some(create) = pool {
                pools::apply(self.target, &who, name, &create).await?;
            }
            done += 1;
            progress(Progress { done, all });
        }
        let pools = self.disabled(plan).await?;
        let mut left = &blocks[..];
        while let Some((batch, node)) = next_batch(left, plan) {
            self.target.txn(transaction(&left[..batch], node, plan, &pools)).await?;
            tell(&who, node, &left[..batch]);
            left = &left[batch..];
            done += batch;
            progress(Progress { done, all });
        }
        Ok(())
    }

    /// The pools of the plan, which all are there and disabled.
    async fn disabled(&self, plan: &Plan) -> Result<BTreeMap<PoolName, Revision>, ImportError> {
        let mut revisions = BTreeMap::new();
        for name in plan.pools.keys() {
            let stored = pools::get(self.target, name).await?;
            if stored.pool.disabled {
                revisions.insert(name.clone(), stored.revision);
            }
        }
        Ok(revisions)
    }
}

fn revisions(entries: Vec<Entry>) -> BTreeMap<String, Revision> {
    entries.into_iter().map(|entry| (entry.key, entry.mod_revision)).collect()
}

fn differences(before: &BTreeMap<String, Revision>, after: &BTreeMap<String, Revision>) -> Vec<String> {
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| format!("{key:?} is gone"));
    let new = after.iter().filter_map(|(key, revision)| match before.get(key) {
        None => Some(format!("{key:?} is new")),
        Some(other) if other != revision => Some(format!("{key:?} was written")),
        Some(_) => None,
    });
    gone.chain(new).collect()
}
