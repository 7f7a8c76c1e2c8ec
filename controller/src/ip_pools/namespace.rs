//! Pools of namespaces.

use super::view::{self, Known};
use super::{IpPoolError, IpPools, Stored, namespace_pool, refuse_if_leased};
use crate::audit;
use crate::auth::Caller;
use crate::plan::{self, AddressPlan};
use common::ipam::NamespacePool;
use common::name::PodText;
use common::pool_id::{PoolId, Scoped};
use common::store::record;
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Op, Txn, keys, list_all};
use common::wire::ip_pools::{CreateNamespacePool, NamespacePoolView};

impl IpPools {
    /// Makes a pool, unless its name or an address of it is taken.
    pub async fn create_namespace_pool(
        &self,
        who: &Caller,
        body: &CreateNamespacePool,
    ) -> Result<NamespacePoolView, IpPoolError> {
        let pool = NamespacePool::new(body.subnet, body.range(), body.gateway, body.vlanid)?;
        let id = Scoped { namespace: body.namespace.clone(), name: body.name.clone() };
        let mut attempts = Attempts::new(seed(&id));
        while let Err(error) = self.try_create_namespace_pool(&id, &pool).await {
            attempts.after(error).await?;
        }
        audit::changed(who, &format!("namespace pool {id}: created"), &(), &pool);
        Ok(view::namespace_pool(&id, &pool, &Known::default()))
    }

    async fn try_create_namespace_pool(&self, id: &Scoped, pool: &NamespacePool) -> Result<(), IpPoolError> {
        let store = self.store.as_ref();
        let key = keys::namespace_pool(id);
        let mut cached = self.plan.lock().await;
        let (revision, existing) = tokio::join!(plan::revision(store), store.get(&key));
        let revision = revision?;
        if existing?.is_some() {
            return Err(IpPoolError::NamespacePoolExists(id.clone()));
        }
        let known = cached.take();
        let plan = cached.insert(AddressPlan::at::<IpPoolError>(store, revision, known).await?);
        plan.must_be_free(pool.span.range()).map_err(|taken| IpPoolError::overlap(&pool.span, taken))?;
        let txn = Txn::new()
            .when(plan::unchanged(revision))
            .when(Compare::Absent(key.clone()))
            .then(Op::Put(key, record::encode(pool)))
            .then(plan::changed());
        let written = store.txn(txn).await?;
        plan.add(id, &pool.span);
        *cached = cached.take().map(|plan| plan.written_at(written));
        Ok(())
    }

    /// A pool with the pods that have its addresses.
    pub async fn namespace_pool(&self, id: &Scoped) -> Result<NamespacePoolView, IpPoolError> {
        let store = self.store.as_ref();
        let leases = keys::leases(&PoolId::Namespace(id.clone()));
        let (pool, known) =
            tokio::join!(namespace_pool(store, id), Known::read(store, &id.namespace, leases));
        Ok(view::namespace_pool(id, &pool?.record, &known?))
    }

    /// All pools of a namespace, by name.
    pub async fn namespace_pools(&self, namespace: &PodText) -> Result<Vec<NamespacePoolView>, IpPoolError> {
        let store = self.store.as_ref();
        let range = keys::pools_of_namespace(namespace);
        let leases = keys::leases_of_namespace(namespace);
        let (pools, known) = tokio::join!(list_all(store, &range), Known::read(store, namespace, leases));
        let (pools, known) = (pools?, known?);
        let views =
            pools.items.iter().filter_map(|entry| Some((keys::parse_namespace_pool(&entry.key)?, entry)));
        let views = views.map(|(id, entry)| {
            Ok(view::namespace_pool(&id, &record::decode(&entry.key, &entry.value)?, &known))
        });
        let views: Vec<_> = views.collect::<Result<_, IpPoolError>>()?;
        if views.is_empty() { Err(IpPoolError::NoPools(namespace.clone())) } else { Ok(views) }
    }

    /// Deletes a pool of which nothing is used, and answers what it was.
    pub async fn delete_namespace_pool(
        &self,
        who: &Caller,
        id: &Scoped,
    ) -> Result<NamespacePoolView, IpPoolError> {
        let mut attempts = Attempts::new(seed(id));
        let pool = loop {
            match self.try_delete_namespace_pool(id).await {
                Ok(pool) => break pool,
                Err(error) => attempts.after(error).await?,
            }
        };
        audit::changed(who, &format!("namespace pool {id}: deleted"), &pool, &());
        Ok(view::namespace_pool(id, &pool, &Known::default()))
    }

    async fn try_delete_namespace_pool(&self, id: &Scoped) -> Result<NamespacePool, IpPoolError> {
        let store = self.store.as_ref();
        let mut cached = self.plan.lock().await;
        let (revision, stored) = tokio::join!(plan::revision(store), namespace_pool(store, id));
        let (at, Stored { record: pool, revision }) = (revision?, stored?);
        if !pool.services.is_empty() {
            let names: Vec<&str> = pool.services.iter().map(|service| service.name.as_str()).collect();
            return Err(IpPoolError::HasServices { pool: id.clone(), services: names.join(", ") });
        }
        let leases = keys::leases(&PoolId::Namespace(id.clone()));
        refuse_if_leased(store, format!("namespace pool {id}"), &leases).await?;
        let txn = Txn::new()
            .when(plan::unchanged(at))
            .when(Compare::ModRevision(keys::namespace_pool(id), revision))
            .when(Compare::Empty(leases))
            .then(Op::Delete(keys::namespace_pool(id)))
            .then(plan::changed());
        let written = store.txn(txn).await?;
        if let Some(plan) = cached.take_if(|plan| plan.is_of(at)) {
            let mut plan = plan.written_at(written);
            plan.remove(pool.span.range());
            *cached = Some(plan);
        }
        Ok(pool)
    }
}
