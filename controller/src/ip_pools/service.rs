//! Pools of services: parts of a namespace's pool.

use super::view::{self, Known};
use super::{
    IpPoolError, IpPools, Stored, leases_of, namespace_pool, parent_of, refuse_if_leased, service_pool,
};
use crate::audit;
use crate::auth::Caller;
use common::ipam::{NamespacePool, ServicePool, ServiceRange, Span};
use common::pool_id::{PoolId, Scoped};
use common::store::record;
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Op, Txn, keys};
use common::wire::ip_pools::{CreateServicePool, ServicePoolView};

/// How many parts a namespace's pool may have: they are in its record.
const MAX: usize = 1_000;

impl IpPools {
    /// Makes a pool of addresses of a namespace's pool that nobody has.
    pub async fn create_service_pool(
        &self,
        who: &Caller,
        body: &CreateServicePool,
    ) -> Result<ServicePoolView, IpPoolError> {
        let id = Scoped { namespace: body.namespace.clone(), name: body.name.clone() };
        let mut attempts = Attempts::new(seed(&id));
        let pool = loop {
            match self.try_create_service_pool(&id, body).await {
                Ok(pool) => break pool,
                Err(error) => attempts.after(error).await?,
            }
        };
        audit::changed(who, &format!("service pool {id}: created"), &(), &pool);
        Ok(view::service_pool(&id, &pool, &Known::default()))
    }

    async fn try_create_service_pool(
        &self,
        id: &Scoped,
        body: &CreateServicePool,
    ) -> Result<ServicePool, IpPoolError> {
        let store = self.store.as_ref();
        let key = keys::service_pool(id);
        let parent = Scoped { namespace: id.namespace.clone(), name: body.namespace_pool.clone() };
        let _alone = self.plan.lock().await;
        let (existing, stored) = tokio::join!(store.get(&key), namespace_pool(store, &parent));
        if existing?.is_some() {
            return Err(IpPoolError::ServicePoolExists(id.clone()));
        }
        let Stored { record: mut pool, revision } = stored?;
        let (span, cidr) = body.range().resolve(pool.subnet)?;
        must_have_room(&pool, &parent, &span)?;
        let leases = leases_of(&PoolId::Namespace(parent.clone()), &span);
        refuse_if_leased(store, format!("{}-{}", span.start, span.end), &leases).await?;
        let service = ServicePool {
            pool: parent.name.clone(),
            service: body.service_name.clone(),
            span,
            cidr,
            segment: pool.segment(),
            disabled: false,
        };
        pool.services.push(ServiceRange { name: id.name.clone(), span });
        let txn = Txn::new()
            .when(Compare::ModRevision(keys::namespace_pool(&parent), revision))
            .when(Compare::Absent(key.clone()))
            .when(Compare::Empty(leases))
            .then(Op::Put(key, record::encode(&service)))
            .then(Op::Put(keys::namespace_pool(&parent), record::encode(&pool)));
        store.txn(txn).await?;
        Ok(service)
    }

    /// A pool with how much of it is used.
    pub async fn service_pool(&self, id: &Scoped) -> Result<ServicePoolView, IpPoolError> {
        let store = self.store.as_ref();
        let pool = service_pool(store, id).await?.record;
        let known = Known::read(store, &id.namespace, leases_of(&parent_of(id, &pool), &pool.span)).await?;
        Ok(view::service_pool(id, &pool, &known))
    }

    /// Deletes a pool of which no pod has an address, and answers what it was. Its addresses are the namespace
    /// pool's again.
    pub async fn delete_service_pool(
        &self,
        who: &Caller,
        id: &Scoped,
    ) -> Result<ServicePoolView, IpPoolError> {
        let mut attempts = Attempts::new(seed(id));
        let pool = loop {
            match self.try_delete_service_pool(id).await {
                Ok(pool) => break pool,
                Err(error) => attempts.after(error).await?,
            }
        };
        audit::changed(who, &format!("service pool {id}: deleted"), &pool, &());
        Ok(view::service_pool(id, &pool, &Known::default()))
    }

    async fn try_delete_service_pool(&self, id: &Scoped) -> Result<ServicePool, IpPoolError> {
        let store = self.store.as_ref();
        let _alone = self.plan.lock().await;
        let Stored { record: service, revision } = service_pool(store, id).await?;
        let parent = Scoped { namespace: id.namespace.clone(), name: service.pool.clone() };
        let Stored { record: mut pool, revision: of_parent } = namespace_pool(store, &parent).await?;
        let leases = leases_of(&PoolId::Namespace(parent.clone()), &service.span);
        refuse_if_leased(store, format!("service pool {id}"), &leases).await?;
        pool.services.retain(|range| range.name != id.name);
        let txn = Txn::new()
            .when(Compare::ModRevision(keys::service_pool(id), revision))
            .when(Compare::ModRevision(keys::namespace_pool(&parent), of_parent))
            .when(Compare::Empty(leases))
            .then(Op::Delete(keys::service_pool(id)))
            .then(Op::Put(keys::namespace_pool(&parent), record::encode(&pool)));
        store.txn(txn).await?;
        Ok(service)
    }
}

/// Checks that a range is of a pool, and of no service.
pub(super) fn must_have_room(pool: &NamespacePool, id: &Scoped, span: &Span) -> Result<(), IpPoolError> {
    let (all, range) = (pool.span.range(), span.range());
    if !(all.contains(span.start) && all.contains(span.end)) {
        return Err(IpPoolError::ServiceOutside { span: *span, pool: id.clone(), range: pool.span });
    }
    if let Some(other) = pool.services.iter().find(|other| other.span.range().overlaps(&range)) {
        let other_id = Scoped { namespace: id.namespace.clone(), name: other.name.clone() };
        return Err(IpPoolError::ServiceOverlap { span: *span, other: other_id, range: other.span });
    }
    if pool.services.len() >= MAX {
        return Err(IpPoolError::TooManyServices(id.clone(), MAX));
    }
    Ok(())
}
