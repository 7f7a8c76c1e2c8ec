//! The allocator core: pure arithmetic and state, with no I/O, no clock and no randomness. It returns
//! decisions; callers commit them.
//!
//! * [`addr`]: addresses as numbers, ranges, units
//! * [`space`]: the units of a set of ranges, by arithmetic
//! * [`octets`]: which of every 256 addresses are left
//! * [`search`]: finds a free unit among sorted leases without reading them all
//! * [`block`]: which addresses of one unit are held, resting or free
//! * [`pool`]: what an operator configures, and the spaces that follow from it
//! * [`address_pool`]: the pools of namespaces and services, of which single addresses are given
//! * [`tenant_block`]: the blocks of tenants, likewise

pub mod addr;
pub mod address_pool;
pub mod block;
mod octets;
pub mod pool;
pub mod search;
pub mod space;
pub mod tenant_block;

pub use addr::{Family, Range, Unit, number};
pub use address_pool::{
    AddressPoolError, NamespacePool, RangeSpec, Segment, ServicePool, ServiceRange, Span,
};
pub use block::{Block, TakeError, rested};
pub use pool::{BlockGateway, Pool, PoolError};
pub use search::{Search, Step};
pub use space::{Space, SpaceError, UnitRun};
pub use tenant_block::{BlockType, Forbidden, TenantBlock};
