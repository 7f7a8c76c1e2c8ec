//! What a policy forbids: ranges and octets. Each has a key of its own, and each change writes the policy's record too,
//! so that whoever gives an address by a policy compares one revision.

use super::read::id;
use super::{Kind, Melange, MelangeError, Page, PageRequest, new_id, view};
use crate::audit;
use crate::auth::Caller;
use common::clock::now_millis;
use common::ipam::Forbidden;
use common::name::TenantId;
use common::store::keys::melange as keys;
use common::store::melange::unchanged;
use common::store::record::melange::{Block, IpOctet, IpRange, Owned};
use common::store::retry::{Attempts, seed};
use common::store::{Entry, KeyRange, Op, Revision, Store, Txn, list_all, record};
use common::wire::melange::{
    CreateIpOctet, CreateIpRange, IpOctetView, IpRangeView, UpdateIpOctet, UpdateIpRange,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// How many ranges, and how many octets, a policy may have: all of them are read to give an address.
const MOST: u64 = 1_000;
/// How many policies are kept in mind.
const KNOWN: usize = 10_000;

/// What policies forbid, as of the revisions of their records.
#[derive(Debug, Default)]
pub(super) struct Policies(Mutex<HashMap<Uuid, (Revision, Arc<Forbidden>)>>);

/// A kind of thing that a policy forbids.
pub trait Rule {
    /// As it is in the store.
    type Record: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync;
    /// As it is shown.
    type View;
    /// What makes one.
    type Create: Sync;
    /// What changes one.
    type Update: Sync;
    /// What clients call it.
    const KIND: Kind;

    /// The keys of those of a policy.
    fn keys(policy: Uuid) -> KeyRange;
    /// A new one.
    fn new(body: &Self::Create, now: u64) -> Result<Self::Record, MelangeError>;
    /// One that was changed; `now` counts only if it differs.
    fn changed(before: &Self::Record, body: &Self::Update, now: u64) -> Result<Self::Record, MelangeError>;
    /// How it is shown.
    fn view(policy: Uuid, id: Uuid, record: &Self::Record) -> Self::View;
}

/// Ranges.
#[derive(Debug)]
pub struct RangeRule;

impl Rule for RangeRule {
    type Record = IpRange;
    type View = IpRangeView;
    type Create = CreateIpRange;
    type Update = UpdateIpRange;
    const KIND: Kind = Kind::Range;

    fn keys(policy: Uuid) -> KeyRange {
        keys::ranges(policy)
    }

    fn new(body: &CreateIpRange, now: u64) -> Result<IpRange, MelangeError> {
        Ok(IpRange { offset: body.offset, length: length(body.length)?, created: now, updated: now })
    }

    fn changed(before: &IpRange, body: &UpdateIpRange, now: u64) -> Result<IpRange, MelangeError> {
        let length = body.length.map(length).transpose()?.unwrap_or(before.length);
        Ok(IpRange { offset: body.offset.unwrap_or(before.offset), length, updated: now, ..*before })
    }

    fn view(policy: Uuid, id: Uuid, record: &IpRange) -> IpRangeView {
        view::range(policy, id, record)
    }
}

fn length(length: i64) -> Result<u64, MelangeError> {
    let positive = u64::try_from(length).ok().filter(|length| *length > 0);
    positive.ok_or_else(|| MelangeError::invalid("length", format!("{length} is not positive")))
}

/// Octets.
#[derive(Debug)]
pub struct OctetRule;

impl Rule for OctetRule {
    type Record = IpOctet;
    type View = IpOctetView;
    type Create = CreateIpOctet;
    type Update = UpdateIpOctet;
    const KIND: Kind = Kind::Octet;

    fn keys(policy: Uuid) -> KeyRange {
        keys::octets(policy)
    }

    fn new(body: &CreateIpOctet, now: u64) -> Result<IpOctet, MelangeError> {
        Ok(IpOctet { octet: octet(body.octet)?, created: now, updated: now })
    }

    fn changed(before: &IpOctet, body: &UpdateIpOctet, now: u64) -> Result<IpOctet, MelangeError> {
        let octet = body.octet.map(octet).transpose()?.unwrap_or(before.octet);
        Ok(IpOctet { octet, updated: now, ..*before })
    }

    fn view(policy: Uuid, id: Uuid, record: &IpOctet) -> IpOctetView {
        view::octet(policy, id, record)
    }
}

fn octet(octet: i64) -> Result<u8, MelangeError> {
    let reason = || MelangeError::invalid("octet", format!("{octet} is not between 0 and 255"));
    u8::try_from(octet).map_err(|_| reason())
}

impl Melange {
    /// Those of a policy by id.
    pub async fn rules<R: Rule>(
        &self,
        tenant: &TenantId,
        policy: &str,
        page: PageRequest,
    ) -> Result<Page<R::View>, MelangeError> {
        let policy = id(policy, Kind::Policy)?;
        self.policy(tenant, policy).await?;
        let Page { items, next } = self.page::<R::Record>(R::keys(policy), page).await?;
        let items = items.iter().map(|(id, record)| R::view(policy, *id, record)).collect();
        Ok(Page { items, next })
    }

    /// One of a policy.
    pub async fn show_rule<R: Rule>(
        &self,
        tenant: &TenantId,
        policy: &str,
        rule: &str,
    ) -> Result<R::View, MelangeError> {
        let policy = id(policy, Kind::Policy)?;
        self.policy(tenant, policy).await?;
        let rule = id(rule, R::KIND)?;
        let (record, _) = self.rule::<R>(policy, rule).await?;
        Ok(R::view(policy, rule, &record))
    }

    /// Adds one to a policy.
    pub async fn create_rule<R: Rule>(
        &self,
        who: &Caller,
        tenant: &TenantId,
        policy: &str,
        body: &R::Create,
    ) -> Result<R::View, MelangeError> {
        let now = now_millis();
        let (policy, new) = (id(policy, Kind::Policy)?, new_id(now));
        let mut attempts = Attempts::new(seed(new));
        let record = loop {
            let txn = self.of_policy(tenant, policy).await?;
            let record = R::new(body, now)?;
            let there = self.store.count(&R::keys(policy)).await?;
            if there >= MOST {
                let reason = format!("the policy has {there} of these, which is the most that it may have");
                return Err(MelangeError::invalid("policy_id", reason));
            }
            let txn = txn.then(Op::Put(key::<R>(policy, new), record::encode(&record)));
            match self.store.txn(txn).await.map_err(MelangeError::from) {
                Ok(_) => break record,
                Err(error) => attempts.after(error).await?,
            }
        };
        audit::changed(who, &format!("melange policy {policy}: {} {new} added", R::KIND), &(), &record);
        Ok(R::view(policy, new, &record))
    }

    /// Changes one of a policy.
    pub async fn update_rule<R: Rule>(
        &self,
        who: &Caller,
        tenant: &TenantId,
        policy: &str,
        rule: &str,
        body: &R::Update,
    ) -> Result<R::View, MelangeError> {
        let policy = id(policy, Kind::Policy)?;
        let mut attempts = Attempts::new(seed(policy));
        let (rule, before, after) = loop {
            let txn = self.of_policy(tenant, policy).await?;
            let rule = id(rule, R::KIND)?;
            let (before, entry) = self.rule::<R>(policy, rule).await?;
            let after = R::changed(&before, body, now_millis())?;
            let txn = unchanged(txn, entry.key.clone(), entry.mod_revision)
                .then(Op::Put(entry.key, record::encode(&after)));
            match self.store.txn(txn).await.map_err(MelangeError::from) {
                Ok(_) => break (rule, before, after),
                Err(error) => attempts.after(error).await?,
            }
        };
        audit::changed(who, &format!("melange policy {policy}: {} {rule} changed", R::KIND), &before, &after);
        Ok(R::view(policy, rule, &after))
    }

    /// Takes one from a policy.
    pub async fn delete_rule<R: Rule>(
        &self,
        who: &Caller,
        tenant: &TenantId,
        policy: &str,
        rule: &str,
    ) -> Result<(), MelangeError> {
        let policy = id(policy, Kind::Policy)?;
        let mut attempts = Attempts::new(seed(policy));
        let (rule, before) = loop {
            let txn = self.of_policy(tenant, policy).await?;
            let rule = id(rule, R::KIND)?;
            let (before, entry) = self.rule::<R>(policy, rule).await?;
            let txn = unchanged(txn, entry.key.clone(), entry.mod_revision).then(Op::Delete(entry.key));
            match self.store.txn(txn).await.map_err(MelangeError::from) {
                Ok(_) => break (rule, before),
                Err(error) => attempts.after(error).await?,
            }
        };
        audit::changed(who, &format!("melange policy {policy}: {} {rule} deleted", R::KIND), &before, &());
        Ok(())
    }

    /// Starts a transaction that changes what a policy forbids.
    async fn of_policy(&self, tenant: &TenantId, policy: Uuid) -> Result<Txn, MelangeError> {
        let (record, revision) = self.policy(tenant, policy).await?;
        let key = keys::policy(tenant, policy);
        Ok(unchanged(Txn::new(), key.clone(), revision).then(Op::Put(key, record::encode(&record))))
    }

    async fn rule<R: Rule>(&self, policy: Uuid, rule: Uuid) -> Result<(R::Record, Entry), MelangeError> {
        let entry = self.store.get(&key::<R>(policy, rule)).await?.ok_or(MelangeError::NotFound(R::KIND))?;
        Ok((record::decode(&entry.key, &entry.value)?, entry))
    }

    /// What is forbidden in a block, and the revision of its policy's record: 0 without one.
    pub(super) async fn forbidden_in(
        &self,
        block: &Block,
    ) -> Result<(Arc<Forbidden>, Revision), MelangeError> {
        let Some(policy) = &block.policy else { return Ok((Arc::default(), 0)) };
        self.forbidden(policy).await
    }

    /// What a block's policy forbids, and the revision of its record: 0 if there is none any more, which forbids
    /// nothing.
    async fn forbidden(&self, policy: &Owned) -> Result<(Arc<Forbidden>, Revision), MelangeError> {
        let store = self.store.as_ref();
        let entry = store.get(&keys::policy(&policy.tenant, policy.id)).await?;
        let Some(revision) = entry.map(|entry| entry.mod_revision) else { return Ok(Default::default()) };
        let known = self.policies.0.lock().unwrap_or_else(PoisonError::into_inner).get(&policy.id).cloned();
        if let Some((_, forbidden)) = known.filter(|(as_of, _)| *as_of == revision) {
            return Ok((forbidden, revision));
        }
        let forbidden = Arc::new(read(store, policy.id).await?);
        let mut known = self.policies.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(policy.id, (revision, Arc::clone(&forbidden)));
        Ok((forbidden, revision))
    }
}

/// What a block's policy forbids, and the revision of its record, as they are in the store.
pub(super) async fn forbidden_by(
    store: &dyn Store,
    policy: Option<&Owned>,
) -> Result<(Forbidden, Revision), MelangeError> {
    let Some(policy) = policy else { return Ok(Default::default()) };
    match store.get(&keys::policy(&policy.tenant, policy.id)).await? {
        Some(entry) => Ok((read(store, policy.id).await?, entry.mod_revision)),
        None => Ok(Default::default()),
    }
}

async fn read(store: &dyn Store, policy: Uuid) -> Result<Forbidden, MelangeError> {
    let mut forbidden = Forbidden::default();
    for entry in list_all(store, &keys::ranges(policy)).await?.items {
        let IpRange { offset, length, .. } = record::decode(&entry.key, &entry.value)?;
        forbidden.ranges.push((offset, length));
    }
    for entry in list_all(store, &keys::octets(policy)).await?.items {
        forbidden.octets.push(record::decode::<IpOctet>(&entry.key, &entry.value)?.octet);
    }
    Ok(forbidden)
}

fn key<R: Rule>(policy: Uuid, rule: Uuid) -> String {
    format!("{}{rule}", R::keys(policy).from)
}
