//! What was seen, written to the store when it has changed.

use super::lock::Held;
use common::lastbackend::{Name, ServiceId};
use common::store::record::{self, RecordError, lastbackend::Run};
use common::store::{
    Compare, Entry, Op, Revision, Store, StoreError, Txn, keys::lastbackend as keys, list_all,
};
use std::collections::BTreeMap;

/// Services in one transaction.
const BATCH: usize = 40;

/// What the store says that was seen.
#[derive(Default)]
pub struct Told {
    runs: BTreeMap<ServiceId, (Run, Revision)>,
}

/// What is to be told of a service.
pub struct News {
    /// The service.
    pub id: ServiceId,
    /// At which revision it was written: of the first news of it, that is compared.
    pub revision: Revision,
    /// What was seen.
    pub run: Run,
}

impl Told {
    /// Reads what was told before.
    pub async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let entries = list_all(store, &keys::all_runs()).await?.items;
        Ok(Self { runs: entries.iter().filter_map(parsed).collect() })
    }

    /// Whether anything was told of a service: before that, it has no pods.
    pub fn knows(&self, id: &ServiceId, uid: &str) -> bool {
        self.runs.get(id).is_some_and(|(run, _)| run.uid == uid)
    }

    /// Whether nothing was told of any service.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Writes what differs from what was told before. News that lose against another change are told again later.
    pub async fn tell(&mut self, store: &dyn Store, held: &Held, news: Vec<News>) -> Result<(), StoreError> {
        let differs = |news: &News| self.runs.get(&news.id).is_none_or(|(run, _)| *run != news.run);
        let news: Vec<News> = news.into_iter().filter(differs).collect();
        for batch in news.chunks(BATCH) {
            match self.write(store, held, batch).await {
                Err(StoreError::Conflict) if batch.len() > 1 => {}
                Err(StoreError::Conflict) => {
                    self.read_again(store, &batch[0].id).await?;
                    continue;
                }
                outcome => {
                    outcome?;
                    continue;
                }
            }
            for one in batch.chunks(1) {
                match self.write(store, held, one).await {
                    Err(StoreError::Conflict) => self.read_again(store, &one[0].id).await?,
                    outcome => outcome?,
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, store: &dyn Store, held: &Held, news: &[News]) -> Result<(), StoreError> {
        let txn = news.iter().fold(Txn::new().when(held.compare()), |txn, news| {
            let key = keys::run(&news.id);
            let txn = match self.runs.get(&news.id) {
                Some((_, revision)) => txn.when(Compare::ModRevision(key.clone(), *revision)),
                None => txn
                    .when(Compare::Absent(key.clone()))
                    .when(Compare::ModRevision(keys::service(&news.id), news.revision)),
            };
            txn.then(Op::Put(key, record::encode(&news.run)))
        });
        let revision = store.txn(txn).await?;
        self.runs.extend(news.iter().map(|news| (news.id.clone(), (news.run.clone(), revision))));
        Ok(())
    }

    async fn read_again(&mut self, store: &dyn Store, id: &ServiceId) -> Result<(), StoreError> {
        self.runs.remove(id);
        let entry = store.get(&keys::run(id)).await?;
        self.runs.extend(entry.as_ref().and_then(parsed));
        Ok(())
    }

    /// Deletes a service that is being removed and has no pods any more, with all that is known of it; and its
    /// namespace, if that is being removed and this was its last service.
    pub async fn finish(
        &mut self,
        store: &dyn Store,
        held: &Held,
        id: &ServiceId,
        revision: Revision,
    ) -> Result<(), StoreError> {
        use crate::lastbackend::activity::{Of, forget};
        let txn = Txn::new()
            .when(held.compare())
            .when(Compare::ModRevision(keys::service(id), revision))
            .then(Op::Delete(keys::service(id)))
            .then(Op::Delete(keys::run(id)));
        store.txn(forget(store, txn, Of(&id.namespace, Some(&id.name))).await?).await?;
        self.runs.remove(id);
        Ok(())
    }
}

/// Deletes a namespace that is being removed, if it has no service any more.
pub async fn finish_namespace(store: &dyn Store, name: &Name) -> Result<(), StoreError> {
    use crate::lastbackend::{PlatformError, namespaces};
    match namespaces::finish_namespace(store, name).await {
        Err(PlatformError::Store(error)) if !matches!(error, StoreError::Conflict) => Err(error),
        Err(error) if !matches!(error, PlatformError::Store(_)) => {
            tracing::error!(%name, %error, "the namespace is not removed");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// One that can't be read is written anew.
fn parsed(entry: &Entry) -> Option<(ServiceId, (Run, Revision))> {
    let run: Result<Run, RecordError> = record::decode(&entry.key, &entry.value);
    let run = run.unwrap_or_default();
    Some((keys::parse_run(&entry.key)?, (run, entry.mod_revision)))
}
