//! Whose every range is. The ranges of all pools and public blocks are disjoint, so that the neighbours of a range tell
//! whether it overlaps any of them. A pool that a public block backs is not among them: its addresses are the block's.
//!
//! Every change of any of these addresses writes the key `plan`. What was read stays true as long as the revision of
//! that key is the one from before the reading; so it is kept between requests, and the revision compared.

use common::ipam::{Family, NamespacePool, Pool, Range, Span};
use common::name::{PoolName, TenantId};
use common::pool_id::{PoolId, Scoped};
use common::store::record::melange::PublicBlock;
use common::store::record::{self, Plan, RecordError};
use common::store::{Compare, Op, Revision, Store, StoreError, keys, list_all};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::Mutex;

/// What was read last. Whoever holds the lock is the only one of this controller to change what it is about: at the same
/// instant they would only fail each other's comparisons.
pub type PlanCache = Arc<Mutex<Option<AddressPlan>>>;

/// Whose a range is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A pool's.
    Pool(PoolId),
    /// A public block's.
    Tenant(TenantId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(PoolId::Coil(name)) => write!(f, "pool {name}"),
            Self::Pool(PoolId::Namespace(scoped)) => write!(f, "namespace pool {scoped}"),
            Self::Tenant(tenant) => write!(f, "a public block of tenant {tenant}"),
        }
    }
}

/// A range that has some of the addresses asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The range, for a person.
    pub range: String,
    /// Whose it is.
    pub owner: Owner,
}

/// The ranges as of one revision of `plan`.
#[derive(Debug, Default)]
pub struct AddressPlan {
    revision: Revision,
    /// How often the store had gone back to an earlier state when it was read: its revisions mean something else since.
    rewinds: u64,
    /// First address → last address, owner, and the range for a person.
    ranges: BTreeMap<(Family, u128), (u128, Owner, String)>,
}

impl AddressPlan {
    /// What `cached` knows if it is of this revision of `plan`; else all pools are read, which must happen after the
    /// revision was.
    pub(crate) async fn at<E>(store: &dyn Store, revision: Revision, cached: Option<Self>) -> Result<Self, E>
    where
        E: From<StoreError> + From<RecordError>,
    {
        let rewinds = store.rewinds();
        let current = |cached: &Self| cached.revision == revision && cached.rewinds == rewinds;
        if let Some(cached) = cached.filter(current) {
            return Ok(cached);
        }
        let mut plan = Self { revision, rewinds, ranges: BTreeMap::new() };
        for entry in list_all(store, &keys::melange::public_blocks()).await?.items {
            let PublicBlock { cidr, tenant, .. } = record::decode(&entry.key, &entry.value)?;
            plan.add_block(&tenant, cidr);
        }
        for entry in list_all(store, &keys::pools()).await?.items {
            let Some(name) = keys::parse_pool(&entry.key) else { continue };
            let pool: Pool = record::decode(&entry.key, &entry.value)?;
            plan.add_pool(&name, &pool);
        }
        for entry in list_all(store, &keys::namespace_pools()).await?.items {
            let Some(id) = keys::parse_namespace_pool(&entry.key) else { continue };
            let pool: NamespacePool = record::decode(&entry.key, &entry.value)?;
            plan.add(&id, &pool.span);
        }
        Ok(plan)
    }

    /// Refuses a range of which something is somebody's.
    pub(crate) fn must_be_free(&self, range: Range) -> Result<(), Taken> {
        let last_at_or_before = self.ranges.range(..=(range.family(), range.last())).next_back();
        match last_at_or_before {
            Some(((family, _), (last, owner, shown)))
                if *family == range.family() && *last >= range.first() =>
            {
                Err(Taken { range: shown.clone(), owner: owner.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Adds a pool, after the public blocks.
    fn add_pool(&mut self, name: &PoolName, pool: &Pool) {
        for subnet in &pool.subnets {
            let range = Range::of_net(*subnet);
            let is_the_blocks = pool.from_block.is_some() && self.must_be_free(range).is_err();
            if !is_the_blocks {
                self.put(range, Owner::Pool(name.clone().into()), subnet.to_string());
            }
        }
    }

    /// Adds the range of a namespace's pool.
    pub(crate) fn add(&mut self, id: &Scoped, span: &Span) {
        let owner = Owner::Pool(PoolId::Namespace(id.clone()));
        self.put(span.range(), owner, format!("{}-{}", span.start, span.end));
    }

    /// Adds a public block.
    pub(crate) fn add_block(&mut self, tenant: &TenantId, cidr: IpNet) {
        self.put(Range::of_net(cidr), Owner::Tenant(tenant.clone()), cidr.to_string());
    }

    /// Removes a range.
    pub(crate) fn remove(&mut self, range: Range) {
        self.ranges.remove(&(range.family(), range.first()));
    }

    /// Whether this is what was read at a revision of `plan`.
    pub(crate) fn is_of(&self, revision: Revision) -> bool {
        self.revision == revision
    }

    /// All of it is true as of this revision, at which this very controller wrote `plan`.
    pub(crate) fn written_at(mut self, revision: Revision) -> Self {
        self.revision = revision;
        self
    }

    fn put(&mut self, range: Range, owner: Owner, shown: String) {
        self.ranges.insert((range.family(), range.first()), (range.last(), owner, shown));
    }
}

/// The revision of `plan`, 0 if there is none yet.
pub(crate) async fn revision(store: &dyn Store) -> Result<Revision, StoreError> {
    Ok(store.get(keys::PLAN).await?.map_or(0, |entry| entry.mod_revision))
}

/// That no pool's addresses have changed.
pub(crate) fn unchanged(revision: Revision) -> Compare {
    Compare::ModRevision(keys::PLAN.to_owned(), revision)
}

/// That some pool's addresses change.
pub(crate) fn changed() -> Op {
    Op::Put(keys::PLAN.to_owned(), record::encode(&Plan {}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::name::PodText;

    fn span(start: &str, end: &str) -> Span {
        Span { start: start.parse().expect("address"), end: end.parse().expect("address") }
    }

    #[test]
    fn neighbours_tell() {
        let mut plan = AddressPlan::default();
        let id =
            Scoped { namespace: PodText::new("a").expect("text"), name: PodText::new("b").expect("text") };
        plan.add(&id, &span("10.0.0.5", "10.0.0.9"));
        plan.add(&id, &span("10.0.0.20", "10.0.0.20"));
        plan.add(&id, &span("::", "::5"));
        for (start, end, free) in [
            ("10.0.0.1", "10.0.0.4", true),
            ("10.0.0.1", "10.0.0.5", false),
            ("10.0.0.6", "10.0.0.7", false),
            ("10.0.0.9", "10.0.0.9", false),
            ("10.0.0.10", "10.0.0.19", true),
            ("10.0.0.1", "10.0.0.255", false),
            ("10.0.0.10", "10.0.0.20", false),
            ("10.0.0.21", "255.255.255.255", true),
            ("0.0.0.0", "0.0.0.9", true),
            ("::6", "::9", true),
        ] {
            assert_eq!(plan.must_be_free(span(start, end).range()).is_ok(), free, "{start}-{end}");
        }
        plan.remove(span("10.0.0.5", "10.0.0.9").range());
        assert!(plan.must_be_free(span("10.0.0.1", "10.0.0.19").range()).is_ok());
    }

    #[test]
    fn a_public_block_stands_for_the_pools_that_it_backs() {
        let tenant = TenantId::new("t").expect("tenant");
        let net = |text: &str| -> IpNet { text.parse().expect("net") };
        let pool = |cidr: &str| Pool {
            from_block: format!("t/{}", uuid::Uuid::nil()).parse().ok(),
            ..Pool::of_subnets(vec![net(cidr)])
        };
        let name = |text: &str| PoolName::new(text).expect("name");
        let mut plan = AddressPlan::default();
        plan.add_block(&tenant, net("203.0.113.0/24"));
        plan.add_pool(&name("whole"), &pool("203.0.113.0/24"));
        plan.add_pool(&name("part"), &pool("203.0.113.16/28"));
        plan.add_pool(&name("private"), &pool("10.0.0.0/24"));
        for (cidr, owner) in [
            ("203.0.113.64/28", "a public block of tenant t"),
            ("203.0.113.0/24", "a public block of tenant t"),
            ("10.0.0.0/8", "pool private"),
        ] {
            let taken = plan.must_be_free(Range::of_net(net(cidr))).expect_err("taken");
            assert_eq!(taken.owner.to_string(), owner, "{cidr}");
        }
        plan.remove(Range::of_net(net("203.0.113.0/24")));
        assert!(plan.must_be_free(Range::of_net(net("203.0.113.0/24"))).is_ok());
    }
}
