//! What the node holds: blocks, and who holds their addresses. Pure: no I/O and no clock. Every method that
//! changes something notes it as a [`Change`]; the allocator commits the notes to the journal before anyone
//! hears of the result.
//!
//! Invariants: an address has one holder at most; an attachment is indexed exactly if it holds an address; a
//! block that is not [`Standing::Open`] gives nothing new.

mod addresses;
mod allocate;
mod blocks;
mod conflict;
mod origin;
mod release;
mod report;
mod stock;

pub use addresses::LeasedAddress;
pub use allocate::{AllocateError, Ask};
pub use blocks::{MirrorItem, Need};
pub use conflict::QUARANTINE;
pub use origin::{ListedBy, Origin};
pub use release::Exact;
pub use report::{PoolSummary, Summary};

use common::ipam::{Block, Family, Pool, Segment, Unit};
use common::name::{NameError, PodText, PoolName};
use common::pool_id::{PoolId, Scoped};
use common::store::Revision;
use common::store::record::{Allocation, NamespaceChoice};
use common::wire::node::AttachmentId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;
use stock::Stock;

/// What identifies a block: its pool and its addresses. As text: `default/10.64.0.0/28`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BlockId {
    /// The pool.
    pub pool: PoolId,
    /// The addresses.
    pub unit: Unit,
}

impl BlockId {
    /// Pool and family, if it is a block of which addresses are stocked: all but those of namespaces' pools.
    fn stock(&self) -> Option<(PoolName, Family)> {
        Some((self.pool.coil()?.clone(), self.unit.family()))
    }
}

impl From<BlockId> for String {
    fn from(id: BlockId) -> Self {
        format!("{}/{}", id.pool, id.unit)
    }
}

/// Why a text names no block.
#[derive(Debug, thiserror::Error)]
pub enum BlockIdError {
    /// There is no `/` behind the pool.
    #[error("no pool and network")]
    Form,
    /// The pool's name is none.
    #[error(transparent)]
    Pool(#[from] NameError),
    /// The network is none.
    #[error(transparent)]
    Net(#[from] ipnet::AddrParseError),
    /// The network is larger than a block may be, or has host bits.
    #[error("{0} is no block")]
    Size(IpNet),
}

impl TryFrom<String> for BlockId {
    type Error = BlockIdError;

    fn try_from(text: String) -> Result<Self, BlockIdError> {
        let (pool, net) = text.split_once('/').ok_or(BlockIdError::Form)?;
        let net: IpNet = net.parse()?;
        let unit = Unit::containing(net.addr(), net.max_prefix_len() - net.prefix_len());
        if unit.bits() > Unit::MAX_BITS || unit.net() != net {
            return Err(BlockIdError::Size(net));
        }
        Ok(Self { pool: PoolId::new(pool)?, unit })
    }
}

/// What may be done with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Addresses are given from it.
    Open,
    /// Rebuilt after the journal was lost, and it is not yet certain that all its holders are known.
    Quarantined,
    /// Its lease was taken away while addresses of it were held. It goes when they are freed.
    Fenced,
}

/// Who holds an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The node's sequence number: no two allocations have the same.
    pub sequence: u64,
    /// Container and interface.
    #[serde(flatten)]
    pub attachment: AttachmentId,
    /// Namespace of the pod.
    pub namespace: PodText,
    /// Name of the pod.
    pub pod: PodText,
    /// CNI network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Path of the network namespace, if coild saw it there when the address was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Whether the address is kept for the next pod of this name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixed: bool,
    /// Whether this is no container, but a foreign host that uses the address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub conflict: bool,
    /// When it was given, in milliseconds since the Unix epoch.
    pub since: u64,
}

impl Holder {
    /// The record of this holder of an address.
    pub fn to_record(&self, offset: u32) -> Allocation {
        Allocation {
            offset,
            sequence: self.sequence,
            container: self.attachment.container_id.clone(),
            interface: self.attachment.interface.clone(),
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            network: self.network.clone(),
            netns: self.netns.clone(),
            since: self.since,
            conflict: self.conflict,
        }
    }

    /// The holder that a record names.
    pub fn of_record(record: Allocation) -> Self {
        Self {
            sequence: record.sequence,
            attachment: AttachmentId { container_id: record.container, interface: record.interface },
            namespace: record.namespace,
            pod: record.pod,
            network: record.network,
            netns: record.netns,
            fixed: false,
            conflict: record.conflict,
            since: record.since,
        }
    }
}

/// A block that the node holds.
#[derive(Debug)]
struct Held {
    block: Block<Box<Holder>>,
    /// The revision that made the node the lease's holder.
    token: Revision,
    standing: Standing,
    /// Of an address of a namespace's pool: the network that it is in.
    segment: Option<Box<Segment>>,
    /// Grows with each change of an allocation; the mirror remembers up to where it has written.
    version: u64,
    mirrored: u64,
    /// When the mirror fell behind, in milliseconds.
    behind_since: Option<u64>,
}

/// A change to be journaled; the journal's file has it in its serialized form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The node holds a block.
    PutBlock {
        /// The block.
        id: BlockId,
        /// The revision that made the node the lease's holder.
        token: Revision,
        /// What may be done with it.
        standing: Standing,
        /// The offsets in it that are never given, as inclusive runs: what its pool said when it was leased.
        unusable: Vec<(u32, u32)>,
        /// Of an address of a namespace's pool: the network that it is in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        segment: Option<Box<Segment>>,
    },
    /// What may be done with a block is this.
    Stand(BlockId, Standing),
    /// The node does not hold a block any more, nor anything in it.
    RemoveBlock(BlockId),
    /// An address has a holder.
    Hold(BlockId, u32, Box<Holder>),
    /// Nobody holds an address any more, and it rests since a time.
    Rest(BlockId, u32, u64),
    /// An address that rests is kept for pods of this namespace and name.
    Keep(BlockId, PodText, PodText),
    /// The pools that exist are these.
    Pools(BTreeMap<PoolName, Pool>),
    /// These namespaces choose these pools, or nothing any more.
    Choose(BTreeMap<PodText, Option<NamespaceChoice>>),
    /// The kernel's boot id is this.
    Boot(String),
    /// From here on the journal knows all that the node holds.
    Complete,
}

impl Change {
    /// Whether a block came, went or changed its standing.
    pub fn is_about_blocks(&self) -> bool {
        matches!(self, Self::PutBlock { .. } | Self::Stand(..) | Self::RemoveBlock(_))
    }

    /// Whether an address of a namespace's pool was freed: its lease is to be given back.
    pub fn frees_a_lease(&self) -> bool {
        matches!(self, Self::Rest(id, ..) if id.pool.coil().is_none())
    }
}

/// How the node gives addresses.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long an address rests after it is freed.
    pub cooldown: Duration,
    /// Fewer free addresses than this in a pool make the node lease another block.
    pub low_water: u32,
}

/// All that the node holds.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    pools: BTreeMap<PoolName, Pool>,
    /// What the namespaces of Kubernetes choose.
    choices: BTreeMap<PodText, NamespaceChoice>,
    /// The pools of which no block could be leased when that was tried last, and when.
    full: BTreeMap<Need, u64>,
    blocks: BTreeMap<BlockId, Held>,
    /// What the open blocks have to give.
    stocks: HashMap<(PoolName, Family), Stock>,
    attachments: HashMap<AttachmentId, Vec<Place>>,
    /// The addresses of namespaces' pools that nobody holds here and that are kept for a pod.
    kept: BTreeMap<BlockId, Scoped>,
    /// The block that the last address of a pool and family came from.
    current: HashMap<(PoolName, Family), Unit>,
    /// The sequence number of the last allocation.
    sequence: u64,
    /// Whether all that the node holds is known: false after the journal was lost, until what the mirror knows
    /// has been taken over.
    complete: bool,
    /// The kernel's boot id when it was noted last.
    boot: Option<String>,
    changes: Vec<Change>,
}

/// Where an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    id: BlockId,
    offset: u32,
}

impl State {
    /// A node that holds nothing. Sequence numbers go on after `sequence`.
    pub fn new(settings: Settings, sequence: u64) -> Self {
        Self {
            settings,
            pools: BTreeMap::new(),
            choices: BTreeMap::new(),
            full: BTreeMap::new(),
            blocks: BTreeMap::new(),
            stocks: HashMap::new(),
            attachments: HashMap::new(),
            kept: BTreeMap::new(),
            current: HashMap::new(),
            sequence,
            complete: false,
            boot: None,
            changes: Vec::new(),
        }
    }

    /// Sets the pools as the store has them now.
    pub fn set_pools(&mut self, pools: BTreeMap<PoolName, Pool>) {
        if self.pools != pools {
            self.full.retain(|need, _| self.pools.get(&need.pool) == pools.get(&need.pool));
            self.pools.clone_from(&pools);
            self.changes.push(Change::Pools(pools));
        }
    }

    /// The pools that exist.
    pub fn pools(&self) -> &BTreeMap<PoolName, Pool> {
        &self.pools
    }

    /// Whether all that the node holds is known.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Notes that all that the node holds is known from now on.
    pub fn set_complete(&mut self) {
        if !self.complete {
            self.complete = true;
            self.changes.push(Change::Complete);
        }
    }

    /// The kernel's boot id when it was noted last.
    pub fn boot(&self) -> Option<&str> {
        self.boot.as_deref()
    }

    /// Notes the kernel's boot id.
    pub fn set_boot(&mut self, boot: String) {
        self.boot = Some(boot.clone());
        self.changes.push(Change::Boot(boot));
    }

    /// The sequence number of the last allocation.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What has changed since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn cooldown(&self) -> u64 {
        u64::try_from(self.settings.cooldown.as_millis()).unwrap_or(u64::MAX)
    }

    /// The addresses, pool blocks and holders of one attachment, IPv4 first.
    fn held_by(&self, attachment: &AttachmentId) -> impl Iterator<Item = (&Place, IpAddr, &Holder)> {
        self.attachments.get(attachment).into_iter().flatten().filter_map(|place| {
            let block = &self.blocks.get(&place.id)?.block;
            Some((place, block.address(place.offset)?, block.holder(place.offset)?.as_ref()))
        })
    }

    /// Every allocation of the node, in order of pool and address.
    pub fn allocations(&self) -> impl Iterator<Item = (&BlockId, IpAddr, &Holder)> {
        self.blocks.iter().flat_map(|(id, held)| {
            held.block
                .held()
                .filter_map(move |(offset, holder)| Some((id, held.block.address(offset)?, holder.as_ref())))
        })
    }

    /// Notes that an allocation of this block changed, so that the mirror writes it again.
    fn touch(&mut self, id: &BlockId, now: u64) {
        if let Some(held) = self.blocks.get_mut(id) {
            held.version += 1;
            held.behind_since.get_or_insert(now);
        }
    }

    /// All containers that hold something, for tests of the invariants.
    pub fn attachments(&self) -> BTreeSet<&AttachmentId> {
        self.attachments.keys().collect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
