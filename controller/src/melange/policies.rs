//! Policies: what blocks don't give.

use super::read::id;
use super::{Kind, Melange, MelangeError, Page, PageRequest, new_id, view};
use crate::audit;
use crate::auth::Caller;
use common::clock::now_millis;
use common::name::TenantId;
use common::store::keys::melange as keys;
use common::store::melange::unchanged;
use common::store::record::melange::{Block, Governed, Policy};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Op, Revision, Txn, record};
use common::wire::melange::{CreatePolicy, PolicyView, UpdatePolicy};
use uuid::Uuid;

/// How many blocks are changed by one transaction.
const BATCH: usize = 40;

impl Melange {
    /// The policies of a tenant by id.
    pub async fn policies(
        &self,
        tenant: &TenantId,
        page: PageRequest,
    ) -> Result<Page<PolicyView>, MelangeError> {
        let Page { items, next } = self.page::<Policy>(keys::policies(tenant), page).await?;
        let items = items.iter().map(|(id, policy)| view::policy(tenant, *id, policy)).collect();
        Ok(Page { items, next })
    }

    /// A policy.
    pub async fn show_policy(&self, tenant: &TenantId, policy: &str) -> Result<PolicyView, MelangeError> {
        let id = id(policy, Kind::Policy)?;
        let (policy, _) = self.policy(tenant, id).await?;
        Ok(view::policy(tenant, id, &policy))
    }

    /// Makes a policy, which forbids nothing yet.
    pub async fn create_policy(
        &self,
        who: &Caller,
        tenant: &TenantId,
        body: &CreatePolicy,
    ) -> Result<PolicyView, MelangeError> {
        let now = now_millis();
        let id = new_id(now);
        let CreatePolicy { name, description } = body.clone();
        let policy = Policy { name, description, created: now, updated: now };
        let key = keys::policy(tenant, id);
        self.store
            .txn(unchanged(Txn::new(), key.clone(), 0).then(Op::Put(key, record::encode(&policy))))
            .await?;
        audit::changed(who, &format!("melange policy {id} of tenant {tenant}: created"), &(), &policy);
        Ok(view::policy(tenant, id, &policy))
    }

    /// Changes name or description of a policy.
    pub async fn update_policy(
        &self,
        who: &Caller,
        tenant: &TenantId,
        policy: &str,
        body: &UpdatePolicy,
    ) -> Result<PolicyView, MelangeError> {
        let id = id(policy, Kind::Policy)?;
        let mut attempts = Attempts::new(seed(id));
        let (before, after) = loop {
            let (before, revision) = self.policy(tenant, id).await?;
            let mut after = before.clone();
            after.name = body.name.clone().unwrap_or(after.name);
            after.description = body.description.clone().or(after.description);
            if before == after {
                break (before, after);
            }
            after.updated = now_millis();
            let key = keys::policy(tenant, id);
            let txn = unchanged(Txn::new(), key.clone(), revision).then(Op::Put(key, record::encode(&after)));
            match self.store.txn(txn).await.map_err(MelangeError::from) {
                Ok(_) => break (before, after),
                Err(error) => attempts.after(error).await?,
            }
        };
        if before != after {
            audit::changed(who, &format!("melange policy {id}: changed"), &before, &after);
        }
        Ok(view::policy(tenant, id, &after))
    }

    /// Deletes a policy, with what it forbids. Its blocks go on without one.
    pub async fn delete_policy(
        &self,
        who: &Caller,
        tenant: &TenantId,
        policy: &str,
    ) -> Result<(), MelangeError> {
        let id = id(policy, Kind::Policy)?;
        let mut attempts = Attempts::new(seed(id));
        let policy = loop {
            match self.try_delete_policy(tenant, id).await {
                Ok(policy) => break policy,
                Err(error) => attempts.after(error).await?,
            }
        };
        audit::changed(who, &format!("melange policy {id} of tenant {tenant}: deleted"), &policy, &());
        Ok(())
    }

    /// The blocks first, then what it forbids, then the policy: what is left when this is cut short is a policy that is
    /// of fewer blocks, or of none.
    async fn try_delete_policy(&self, tenant: &TenantId, id: Uuid) -> Result<Policy, MelangeError> {
        let store = self.store.as_ref();
        let (policy, _) = self.policy(tenant, id).await?;
        loop {
            let blocks = store.list(&keys::governed_by(id), BATCH).await?.items;
            if blocks.is_empty() {
                break;
            }
            let mut txn = Txn::new();
            for entry in blocks {
                let Governed { tenant } = record::decode(&entry.key, &entry.value)?;
                txn = txn.then(Op::Delete(entry.key.clone()));
                let Some(block) = keys::parse_id(&entry.key) else { continue };
                let block = self.block(&tenant, block).await?;
                let free = Block { policy: None, updated: now_millis(), ..block.block.clone() };
                txn = unchanged(txn, block.key(), block.revision)
                    .then(Op::Put(block.key(), record::encode(&free)));
            }
            store.txn(txn).await?;
        }
        for range in [keys::ranges(id), keys::octets(id)] {
            loop {
                let rules = store.list_keys(&range, BATCH).await?.items;
                if rules.is_empty() {
                    break;
                }
                let key = keys::policy(tenant, id);
                let (_, revision) = self.policy(tenant, id).await?;
                let txn =
                    unchanged(Txn::new(), key.clone(), revision).then(Op::Put(key, record::encode(&policy)));
                store.txn(rules.into_iter().fold(txn, |txn, rule| txn.then(Op::Delete(rule)))).await?;
            }
        }
        let txn = [keys::governed_by(id), keys::ranges(id), keys::octets(id)]
            .into_iter()
            .fold(Txn::new(), |txn, range| txn.when(Compare::Empty(range)))
            .then(Op::Delete(keys::policy(tenant, id)));
        store.txn(txn).await?;
        Ok(policy)
    }

    /// A policy, and the revision at which it or what it forbids was changed last.
    pub(super) async fn policy(
        &self,
        tenant: &TenantId,
        id: Uuid,
    ) -> Result<(Policy, Revision), MelangeError> {
        let entry = self.store.get(&keys::policy(tenant, id)).await?;
        let entry = entry.ok_or(MelangeError::NotFound(Kind::Policy))?;
        Ok((record::decode(&entry.key, &entry.value)?, entry.mod_revision))
    }
}
