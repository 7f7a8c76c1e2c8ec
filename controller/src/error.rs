//! Why a use case does not do what it was asked. The texts say what to do next, in the words of coilctl.

use crate::melange::{BackingError, MelangeError};
use common::ipam::{Family, PoolError, Range, SpaceError, TenantBlock};
use common::name::{NodeName, PoolName, TenantId};
use common::pool_id::Scoped;
use common::store::StoreError;
use common::store::record::RecordError;
use common::store::retry::IsConflict;
use ipnet::IpNet;
use std::net::IpAddr;

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds something that can't be read.
    #[error("the store holds a record that this controller does not understand")]
    Record(#[from] RecordError),
    /// A pool in the store makes no space.
    #[error("pool {pool} in the store is malformed")]
    Space {
        /// The pool.
        pool: PoolName,
        /// Why.
        #[source]
        source: SpaceError,
    },
    /// What is asked for is no pool.
    #[error(transparent)]
    InvalidPool(#[from] PoolError),
    /// An exclusion or the number of things is wrong.
    #[error(transparent)]
    Refused(#[from] Rule),
    /// The pool's name is taken.
    #[error(
        "pool {0} exists already; `coilctl pool show {0}` shows it, `coilctl pool add-subnet {0}` enlarges it"
    )]
    PoolExists(PoolName),
    /// There is no such pool.
    #[error("there is no pool {0}; `coilctl pool list` shows those that exist")]
    UnknownPool(PoolName),
    /// A subnet has addresses of another pool.
    #[error("subnet {subnet} overlaps {other} of pool {pool}; an address belongs to one pool only")]
    Overlap {
        /// The subnet asked for.
        subnet: IpNet,
        /// The other pool.
        pool: PoolName,
        /// Its subnet.
        other: IpNet,
    },
    /// A subnet has addresses of a namespace's pool.
    #[error("subnet {subnet} overlaps {range} of namespace pool {pool}; an address belongs to one pool only")]
    OverlapsNamespacePool {
        /// The subnet asked for.
        subnet: IpNet,
        /// The namespace's pool.
        pool: Scoped,
        /// Its range.
        range: Range,
    },
    /// A subnet has addresses of a tenant's public block.
    #[error(
        "subnet {subnet} overlaps {cidr}, a public block of tenant {tenant}; an address belongs to one pool only"
    )]
    OverlapsPublicBlock {
        /// The subnet asked for.
        subnet: IpNet,
        /// Whose the block is.
        tenant: TenantId,
        /// The block.
        cidr: IpNet,
    },
    /// The pool has the subnet.
    #[error("subnet {subnet} is in pool {pool} already")]
    SubnetExists {
        /// The pool.
        pool: PoolName,
        /// The subnet.
        subnet: IpNet,
    },
    /// The pool does not have the subnet.
    #[error("pool {pool} has no subnet {subnet}; it has {}", list(.has))]
    UnknownSubnet {
        /// The pool.
        pool: PoolName,
        /// The subnet asked for.
        subnet: IpNet,
        /// Its subnets.
        has: Vec<IpNet>,
    },
    /// A block can't back a pool.
    #[error("from_block: {0}")]
    Backing(#[source] BackingError),
    /// A use case of the tenants' blocks failed.
    #[error(transparent)]
    Tenant(MelangeError),
    /// The pool has the addresses of a block.
    #[error("pool {pool} has the addresses of block {block}, all of them and no others")]
    Backed {
        /// The pool.
        pool: PoolName,
        /// The block.
        block: TenantBlock,
    },
    /// A pool keeps one subnet at least.
    #[error("{subnet} is the last subnet of pool {pool}; `coilctl pool delete {pool}` deletes the pool")]
    LastSubnet {
        /// The pool.
        pool: PoolName,
        /// The subnet.
        subnet: IpNet,
    },
    /// Blocks are leased of what is to go.
    #[error(
        "{}{} leased by {} in {what}: run `coilctl pool disable {pool}`, delete the pods that hold addresses in it \
         (`coilctl address list --pool {pool}`) and try again; the nodes release empty blocks by themselves, and \
         `coilctl node remove` takes those of a node that is gone",
        .leased, if *.leased == 1 { " block is" } else { " blocks are" }, list(.nodes)
    )]
    InUse {
        /// The pool.
        pool: PoolName,
        /// The pool or its subnet, for a person.
        what: String,
        /// How many blocks.
        leased: u64,
        /// Some of the nodes that lease them.
        nodes: Vec<NodeName>,
    },
    /// There is no such node.
    #[error("there is no node {0}; `coilctl node list` shows those that exist")]
    UnknownNode(NodeName),
    /// The node is alive.
    #[error(
        "node {node} is alive, and its pods may use its addresses: stop its coild and try again in 15 seconds, or \
         use --force if you are sure{}", already(*.released)
    )]
    NodeAlive {
        /// The node.
        node: NodeName,
        /// Blocks that were released before it came back to life.
        released: usize,
    },
    /// The node leases blocks as fast as they are taken.
    #[error("node {node} goes on leasing blocks: stop its coild and try again{}", already(*.released))]
    NodeActive {
        /// The node.
        node: NodeName,
        /// Blocks that were released nevertheless.
        released: usize,
    },
    /// No pool has the address.
    #[error("{0} is in no pool; `coilctl pool list` shows the pools and their subnets")]
    AddressOutside(IpAddr),
    /// Nobody holds the address.
    #[error("nobody holds {address}: {}; there is nothing to free", state(.node.as_ref()))]
    NotHeld {
        /// The address.
        address: IpAddr,
        /// The node that leases its block.
        node: Option<NodeName>,
    },
    /// The token does not continue this list.
    #[error("`continue` is not a token of this list; leave it out to start at the beginning")]
    BadToken,
}

/// What a pool must not look like, beyond what [`PoolError`] says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// More than a pool may have.
    #[error("{field} has {count} entries, at most {max} are allowed")]
    TooMany {
        /// Name of the field.
        field: &'static str,
        /// How many were given.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// An exclusion has bits set beyond its prefix.
    #[error("exclude {exclude} has host bits set; did you mean {meant}?")]
    HostBits {
        /// As given.
        exclude: IpNet,
        /// The network that contains it.
        meant: IpNet,
    },
    /// An exclusion lies outside of the subnets.
    #[error("exclude {exclude} lies in no subnet of the pool; it has {}", list(.subnets))]
    Outside {
        /// As given.
        exclude: IpNet,
        /// The pool's subnets, or the one that is added.
        subnets: Vec<IpNet>,
    },
    /// A pool has subnets of its own, or the addresses of a block.
    #[error(
        "from_block: a pool has the addresses of a block in the place of `subnets`, which must be left out"
    )]
    SubnetsOfBlock,
    /// The exclusions leave nothing to give.
    #[error("the exclusions leave no {family} address of subnet {subnet}")]
    NothingLeft {
        /// The subnet.
        subnet: IpNet,
        /// Its family.
        family: Family,
    },
}

impl From<BackingError> for Error {
    fn from(error: BackingError) -> Self {
        match error {
            BackingError::Case(error) => error.into(),
            error => Self::Backing(error),
        }
    }
}

impl From<MelangeError> for Error {
    fn from(error: MelangeError) -> Self {
        match error {
            MelangeError::Store(error) => Self::Store(error),
            MelangeError::Record(error) => Self::Record(error),
            error => Self::Tenant(error),
        }
    }
}

impl IsConflict for Error {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict))
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    const SHOWN: usize = 5;
    let mut text = items.iter().take(SHOWN).map(T::to_string).collect::<Vec<_>>().join(", ");
    if items.len() > SHOWN {
        text.push_str(", …");
    }
    text
}

fn already(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (1 of its blocks was released already)".to_owned(),
        _ => format!(" ({count} of its blocks were released already)"),
    }
}

fn state(node: Option<&NodeName>) -> String {
    match node {
        Some(node) => format!("its block is leased by node {node}, which last reported it as free"),
        None => "its block is leased by no node".to_owned(),
    }
}
