//! Whose every range is. The ranges of all pools are disjoint, so that the neighbours of a range tell whether it
//! overlaps any of them.
//!
//! Every change of any pool's addresses writes the key `plan`. What was read stays true as long as the revision of
//! that key is the one from before the reading; so it is kept between requests, and the revision compared.

use super::IpPoolError;
use common::ipam::{Family, NamespacePool, Pool, Range, Span};
use common::pool_id::{PoolId, Scoped};
use common::store::record::{self, Plan};
use common::store::{Compare, Op, Revision, Store, keys, list_all};
use std::collections::BTreeMap;

/// The ranges of all pools as of one revision of `plan`.
#[derive(Debug, Default)]
pub(super) struct AddressPlan {
    revision: Revision,
    /// How often the store had gone back to an earlier state when it was read: its revisions mean something else since.
    rewinds: u64,
    /// First address → last address, owner, and the range for a person.
    ranges: BTreeMap<(Family, u128), (u128, PoolId, String)>,
}

impl AddressPlan {
    /// What `cached` knows if it is of this revision of `plan`; else all pools are read, which must happen after the
    /// revision was.
    pub(super) async fn at(
        store: &dyn Store,
        revision: Revision,
        cached: Option<Self>,
    ) -> Result<Self, IpPoolError> {
        let rewinds = store.rewinds();
        let current = |cached: &Self| cached.revision == revision && cached.rewinds == rewinds;
        if let Some(cached) = cached.filter(current) {
            return Ok(cached);
        }
        let mut plan = Self { revision, rewinds, ranges: BTreeMap::new() };
        for entry in list_all(store, &keys::pools()).await?.items {
            let Some(name) = keys::parse_pool(&entry.key) else { continue };
            let pool: Pool = record::decode(&entry.key, &entry.value)?;
            for subnet in pool.subnets {
                plan.put(Range::of_net(subnet), name.clone().into(), subnet.to_string());
            }
        }
        for entry in list_all(store, &keys::namespace_pools()).await?.items {
            let Some(id) = keys::parse_namespace_pool(&entry.key) else { continue };
            let pool: NamespacePool = record::decode(&entry.key, &entry.value)?;
            plan.add(&id, &pool.span);
        }
        Ok(plan)
    }

    /// Refuses a range that has addresses of a pool.
    pub(super) fn must_be_free(&self, span: &Span) -> Result<(), IpPoolError> {
        let range = span.range();
        let last_at_or_before = self.ranges.range(..=(range.family(), range.last())).next_back();
        match last_at_or_before {
            Some(((family, _), (last, pool, shown)))
                if *family == range.family() && *last >= range.first() =>
            {
                Err(IpPoolError::Overlap { span: *span, pool: pool.clone(), range: shown.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Adds the range of a namespace's pool.
    pub(super) fn add(&mut self, id: &Scoped, span: &Span) {
        self.put(span.range(), PoolId::Namespace(id.clone()), format!("{}-{}", span.start, span.end));
    }

    /// Removes the range of a namespace's pool.
    pub(super) fn remove(&mut self, span: &Span) {
        let range = span.range();
        self.ranges.remove(&(range.family(), range.first()));
    }

    /// Whether this is what was read at a revision of `plan`.
    pub(super) fn is_of(&self, revision: Revision) -> bool {
        self.revision == revision
    }

    /// All of it is true as of this revision, at which this very controller wrote `plan`.
    pub(super) fn written_at(mut self, revision: Revision) -> Self {
        self.revision = revision;
        self
    }

    fn put(&mut self, range: Range, pool: PoolId, shown: String) {
        self.ranges.insert((range.family(), range.first()), (range.last(), pool, shown));
    }
}

/// The revision of `plan`, 0 if there is none yet.
pub(super) async fn revision(store: &dyn Store) -> Result<Revision, IpPoolError> {
    Ok(store.get(keys::PLAN).await?.map_or(0, |entry| entry.mod_revision))
}

/// That no pool's addresses have changed.
pub(super) fn unchanged(revision: Revision) -> Compare {
    Compare::ModRevision(keys::PLAN.to_owned(), revision)
}

/// That some pool's addresses change.
pub(super) fn changed() -> Op {
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
            assert_eq!(plan.must_be_free(&span(start, end)).is_ok(), free, "{start}-{end}");
        }
        plan.remove(&span("10.0.0.5", "10.0.0.9"));
        assert!(plan.must_be_free(&span("10.0.0.1", "10.0.0.19")).is_ok());
    }
}
