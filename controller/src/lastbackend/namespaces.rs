//! Namespaces: made, shown, changed and removed.

use super::activity::{self, Of};
use super::{Platform, PlatformError, Stored, rules, stored, view};
use crate::audit;
use crate::auth::Caller;
use common::clock::now_nanos;
use common::lastbackend::Name;
use common::store::record::{self, lastbackend::Namespace};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Op, Store, StoreError, Txn, keys::lastbackend as keys, list_all};
use common::wire::lastbackend::{ActivityView, CreateNamespace, NamespaceView, UpdateNamespace};

impl Platform {
    /// Makes a namespace, unless its name is taken.
    pub async fn create_namespace(
        &self,
        who: &Caller,
        body: &CreateNamespace,
    ) -> Result<NamespaceView, PlatformError> {
        let name = rules::name(body.name.as_deref())?;
        let now = now_nanos();
        let record = Namespace {
            description: rules::text("description", body.description.as_deref().unwrap_or_default())?,
            pool: rules::pool("nsIPPool", body.pool.as_deref().unwrap_or_default())?,
            created: now,
            updated: now,
            removing: false,
        };
        let key = keys::namespace(&name);
        let txn = Txn::new().when(Compare::Absent(key.clone())).then(Op::Put(key, record::encode(&record)));
        match self.store.txn(txn).await {
            Ok(_) => {}
            Err(StoreError::Conflict) => return Err(PlatformError::NamespaceExists(name)),
            Err(error) => return Err(error.into()),
        }
        audit::changed(who, &format!("namespace {name}: created"), &(), &record);
        Ok(view::namespace(&name, &record))
    }

    /// A namespace.
    pub async fn namespace(&self, name: &str) -> Result<NamespaceView, PlatformError> {
        let (name, stored) = self.find_namespace(name).await?;
        Ok(view::namespace(&name, &stored.record))
    }

    /// All namespaces, by name.
    pub async fn namespaces(&self) -> Result<Vec<NamespaceView>, PlatformError> {
        let entries = list_all(self.store.as_ref(), &keys::namespaces()).await?.items;
        let named = entries.iter().filter_map(|entry| Some((keys::parse_namespace(&entry.key)?, entry)));
        named.map(|(name, entry)| Ok(view::namespace(&name, &stored(entry)?.record))).collect()
    }

    /// Changes a namespace, and answers it as it then is.
    pub async fn update_namespace(
        &self,
        who: &Caller,
        name: &str,
        body: &UpdateNamespace,
    ) -> Result<NamespaceView, PlatformError> {
        let mut attempts = Attempts::new(seed(name));
        loop {
            match self.try_update_namespace(who, name, body).await {
                Ok(view) => return Ok(view),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    async fn try_update_namespace(
        &self,
        who: &Caller,
        name: &str,
        body: &UpdateNamespace,
    ) -> Result<NamespaceView, PlatformError> {
        let (name, Stored { record: before, revision }) = self.find_namespace(name).await?;
        let mut after = before.clone();
        let mut done = Vec::new();
        if let Some(description) = &body.description {
            after.description = rules::text("description", description)?;
            done.extend((after.description != before.description).then_some("description changed"));
        }
        if let Some(pool) = &body.pool {
            after.pool = rules::pool("nsIPPool", pool)?;
            done.extend((after.pool != before.pool).then_some("nsIPPool changed"));
        }
        if before == after {
            return Ok(view::namespace(&name, &after));
        }
        after.updated = now_nanos();
        let (key, done) = (keys::namespace(&name), done.join(", "));
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), revision))
            .then(Op::Put(key, record::encode(&after)));
        let of = Of(&name, None);
        let txn = activity::note(self.store.as_ref(), txn, of, who, done.clone(), after.updated).await?;
        self.store.txn(txn).await?;
        audit::changed(who, &format!("namespace {name}: {done}"), &before, &after);
        Ok(view::namespace(&name, &after))
    }

    /// Removes a namespace and its services. It stays until the pods of its services are gone.
    pub async fn remove_namespace(&self, who: &Caller, name: &str) -> Result<(), PlatformError> {
        let mut attempts = Attempts::new(seed(name));
        let (name, record) = loop {
            match self.try_mark_namespace(name).await {
                Ok(marked) => break marked,
                Err(error) => attempts.after(error).await?,
            }
        };
        audit::changed(who, &format!("namespace {name}: removed"), &record, &());
        // No service is added to it from here on.
        let services = list_all(self.store.as_ref(), &keys::services(&name)).await?.items;
        for id in services.iter().filter_map(|entry| keys::parse_service(&entry.key)) {
            match self.remove_service(who, &id).await {
                Ok(()) | Err(PlatformError::UnknownService(..)) => {}
                Err(error) => return Err(error),
            }
        }
        match self.finish_namespace(&name).await {
            // A service with pods is still there: the engine does it when that is gone.
            Ok(()) | Err(PlatformError::Store(StoreError::Conflict)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn try_mark_namespace(&self, name: &str) -> Result<(Name, Namespace), PlatformError> {
        let (name, Stored { mut record, revision }) = self.find_namespace(name).await?;
        if !record.removing {
            record.removing = true;
            let key = keys::namespace(&name);
            let txn = Txn::new().when(Compare::ModRevision(key.clone(), revision));
            self.store.txn(txn.then(Op::Put(key, record::encode(&record)))).await?;
        }
        Ok((name, record))
    }

    /// Deletes a namespace that is being removed, if it has no service any more.
    pub(super) async fn finish_namespace(&self, name: &Name) -> Result<(), PlatformError> {
        finish_namespace(self.store.as_ref(), name).await
    }

    /// What was done to a namespace, the last first.
    pub async fn namespace_activity(&self, name: &str) -> Result<Vec<ActivityView>, PlatformError> {
        let (name, _) = self.find_namespace(name).await?;
        activity::list(self.store.as_ref(), Of(&name, None)).await
    }

    /// A namespace as it is stored.
    pub(super) async fn find_namespace(
        &self,
        name: &str,
    ) -> Result<(Name, Stored<Namespace>), PlatformError> {
        let unknown = || PlatformError::UnknownNamespace(name.to_owned());
        let name = Name::new(name).map_err(|_| unknown())?;
        let entry = self.store.get(&keys::namespace(&name)).await?.ok_or_else(unknown)?;
        Ok((name, stored(&entry)?))
    }
}

/// Deletes a namespace that is being removed and has no service; a conflict if it has one.
pub(super) async fn finish_namespace(store: &dyn Store, name: &Name) -> Result<(), PlatformError> {
    let key = keys::namespace(name);
    let Some(entry) = store.get(&key).await? else { return Ok(()) };
    let Stored { record, revision } = stored::<Namespace>(&entry)?;
    if !record.removing {
        return Ok(());
    }
    let txn = Txn::new()
        .when(Compare::ModRevision(key.clone(), revision))
        .when(Compare::Empty(keys::services(name)))
        .then(Op::Delete(key));
    let txn = activity::forget(store, txn, Of(name, None)).await?;
    Ok(store.txn(txn).await.map(|_| ())?)
}
