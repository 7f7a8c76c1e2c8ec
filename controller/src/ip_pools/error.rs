//! Why a pool of a namespace or a service is not made, shown or deleted.

use crate::plan::{Owner, Taken};
use common::ipam::{AddressPoolError, Span};
use common::name::PodText;
use common::pool_id::Scoped;
use common::store::StoreError;
use common::store::record::RecordError;
use common::store::retry::IsConflict;

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum IpPoolError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds something that can't be read.
    #[error("the store holds a record that this controller does not understand")]
    Record(#[from] RecordError),
    /// What is asked for is no pool.
    #[error(transparent)]
    Invalid(#[from] AddressPoolError),
    /// The name of a namespace's pool is taken.
    #[error("namespace pool {0} exists already; `coilctl nspool show {shown}` shows it", shown = args(.0))]
    NamespacePoolExists(Scoped),
    /// The name of a service's pool is taken.
    #[error("service pool {0} exists already; `coilctl svcpool show {shown}` shows it", shown = args(.0))]
    ServicePoolExists(Scoped),
    /// An address is in another pool already.
    #[error("{}-{} overlaps {range} of {owner}; an address belongs to one pool only", .span.start, .span.end)]
    Overlap {
        /// The range asked for.
        span: Span,
        /// Whose the other range is.
        owner: Owner,
        /// The other range.
        range: String,
    },
    /// An address is in another service's pool already.
    #[error("{}-{} overlaps {}-{} of service pool {other}", .span.start, .span.end, .range.start, .range.end)]
    ServiceOverlap {
        /// The range asked for.
        span: Span,
        /// The other pool.
        other: Scoped,
        /// Its range.
        range: Span,
    },
    /// The range of a service's pool is not of its namespace's pool.
    #[error("{}-{} is not within {}-{} of namespace pool {pool}", .span.start, .span.end, .range.start, .range.end)]
    ServiceOutside {
        /// The range asked for.
        span: Span,
        /// The namespace's pool.
        pool: Scoped,
        /// Its range.
        range: Span,
    },
    /// A namespace's pool has more parts than its record may have.
    #[error("namespace pool {0} has {1} service pools, which is the most that it may have")]
    TooManyServices(Scoped, usize),
    /// There is no such pool.
    #[error("there is no namespace pool {0}; `coilctl nspool list` shows those that exist")]
    UnknownNamespacePool(Scoped),
    /// There is no such pool.
    #[error("there is no service pool {0}; `coilctl svcpool list` shows those that exist")]
    UnknownServicePool(Scoped),
    /// The namespace has no pool.
    #[error("there is no namespace pool in namespace {0}")]
    NoPools(PodText),
    /// Service pools lie in the pool that is to go.
    #[error("namespace pool {pool} has service pools, which must be deleted first: {services}")]
    HasServices {
        /// The pool.
        pool: Scoped,
        /// Names of its service pools.
        services: String,
    },
    /// Service pools lie in what is to go of the pool.
    #[error(
        "service pools of {pool} are not within {}-{}, and must be shrunk or deleted first: {services}",
        .span.start, .span.end
    )]
    LeavesServices {
        /// The pool.
        pool: Scoped,
        /// The range that it is to have.
        span: Span,
        /// Its service pools that are not in that, with their ranges.
        services: String,
    },
    /// The token does not continue this list.
    #[error("`continue` is not a token of this list; leave it out to start at the beginning")]
    BadToken,
    /// Addresses of what is to go are held.
    #[error("{used} {} of {what} {} in use: {some}; delete these pods first, and give up what is kept for a pod that is away with `coilctl address free`", if *.used == 1 { "address" } else { "addresses" }, if *.used == 1 { "is" } else { "are" })]
    InUse {
        /// The pool or range, for a person.
        what: String,
        /// How many addresses.
        used: u64,
        /// Some of their holders.
        some: String,
    },
}

impl IpPoolError {
    pub(super) fn overlap(span: &Span, Taken { range, owner }: Taken) -> Self {
        Self::Overlap { span: *span, owner, range }
    }
}

/// A pool as coilctl is told it.
fn args(id: &Scoped) -> String {
    format!("{} {}", id.namespace, id.name)
}

impl IsConflict for IpPoolError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict))
    }
}
