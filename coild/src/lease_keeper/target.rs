//! Pools of namespaces and services as a node reads them.

use crate::annotations::Chosen;
use crate::state::{Ask, BlockId};
use common::clock;
use common::ipam::{NamespacePool, Segment, ServicePool, Space, Unit, UnitRun};
use common::name::PodText;
use common::pool_id::{PoolId, Scoped};
use common::store::leases::addresses::Wanted;
use common::store::record::{self, Claim};
use common::store::{Entry, Revision};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// How many pools are remembered.
const REMEMBERED: usize = 1_024;

/// A pool as it was read: the addresses that may be leased by its record.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) chosen: Chosen,
    /// The record, and the revision at which it was read.
    pub(super) key: String,
    pub(super) revision: Revision,
    /// The pool that the leases belong to.
    pub(super) id: PoolId,
    pub(super) space: Space,
    segment: Segment,
    service_pool: Option<PodText>,
    pub(super) disabled: bool,
}

impl Target {
    /// Reads the record of a pool that a pod of this namespace names.
    pub(super) fn parse(
        namespace: &PodText,
        chosen: &Chosen,
        entry: &Entry,
    ) -> Result<Self, record::RecordError> {
        let id = |name| PoolId::Namespace(Scoped { namespace: namespace.clone(), name });
        let (key, revision) = (entry.key.clone(), entry.mod_revision);
        Ok(match chosen {
            Chosen::Namespace(pool) => {
                let record: NamespacePool = record::decode(&entry.key, &entry.value)?;
                Self {
                    chosen: chosen.clone(),
                    key,
                    revision,
                    id: id(pool.name.clone()),
                    space: record.space(),
                    segment: record.segment(),
                    service_pool: None,
                    disabled: record.disabled,
                }
            }
            Chosen::Service(pool) => {
                let record: ServicePool = record::decode(&entry.key, &entry.value)?;
                Self {
                    chosen: chosen.clone(),
                    key,
                    revision,
                    space: record.space(),
                    id: id(record.pool),
                    segment: record.segment,
                    service_pool: Some(pool.name.clone()),
                    disabled: record.disabled,
                }
            }
        })
    }

    /// The name of one of its addresses in the state.
    pub(super) fn block(&self, unit: Unit) -> BlockId {
        BlockId { pool: self.id.clone(), unit }
    }

    /// One of its addresses, for a pod.
    pub(super) fn wanted(&self, ask: &Ask, unit: Unit) -> Wanted {
        let pod = Claim {
            namespace: ask.namespace.clone(),
            name: ask.pod.clone(),
            service_pool: self.service_pool.clone(),
            fixed: ask.choice.as_ref().is_some_and(|choice| choice.fixed),
            changed: clock::now_millis(),
        };
        Wanted { pool: self.id.clone(), unit, segment: self.segment.clone(), pod }
    }

    /// From the first address to the last, which may have others between them.
    pub(super) fn whole(&self) -> Option<UnitRun> {
        let (first, last) = (self.space.runs().next()?, self.space.runs().next_back()?);
        Some(UnitRun { last: last.last, ..first })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.chosen).fmt(f)
    }
}

/// A pool that a pod names, for a person.
pub(super) struct Shown<'a>(pub(super) &'a Chosen);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Chosen::Service(pool) => write!(f, "service pool {pool}"),
            Chosen::Namespace(pool) => write!(f, "namespace pool {pool}"),
        }
    }
}

/// The pools of namespaces and services that the node has leased addresses of.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// As they were read last, by the keys of their records.
    read: HashMap<String, Arc<Target>>,
    /// The address of each that this node leased last, and when.
    last: HashMap<String, (Revision, Unit)>,
}

impl Targets {
    /// The pool with this record, as it was read last.
    pub(super) fn get(&self, key: &str) -> Option<Arc<Target>> {
        self.read.get(key).map(Arc::clone)
    }

    /// Remembers a pool as it was just read.
    pub(super) fn learn(&mut self, target: &Arc<Target>) {
        if self.read.len() >= REMEMBERED {
            *self = Self::default();
        }
        self.read.insert(target.key.clone(), Arc::clone(target));
    }

    /// The pool with this record is gone.
    pub(super) fn forget(&mut self, key: &str) {
        self.read.remove(key);
        self.last.remove(key);
    }

    /// The address of a pool that this node leased last, and when.
    pub(super) fn last(&self, target: &Target) -> Option<(Revision, Unit)> {
        self.last.get(&target.key).copied()
    }

    /// Remembers that this node leased an address.
    pub(super) fn leased(&mut self, target: &Target, token: Revision, unit: Unit) {
        self.last.insert(target.key.clone(), (token, unit));
    }
}
