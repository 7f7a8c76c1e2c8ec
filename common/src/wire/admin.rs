//! The controller's admin API, `/v1/` (`docs/api/admin.md`).
//!
//! | route | body | reply |
//! |---|---|---|
//! | `GET /v1/pools` | | [`PoolView`]s |
//! | `POST /v1/pools` | [`CreatePool`] | 201, [`PoolView`] |
//! | `GET`, `DELETE /v1/pools/{pool}` | | [`PoolView`] |
//! | `POST`, `DELETE /v1/pools/{pool}/subnets` | [`SubnetChange`] | [`PoolView`] |
//! | `PUT /v1/pools/{pool}/disabled`, `DELETE` of it | | [`PoolView`] |
//! | `GET /v1/nodes` | | [`NodeView`]s |
//! | `GET`, `DELETE /v1/nodes/{node}` | | [`NodeDetail`], [`Removal`] |
//! | `GET /v1/blocks?pool=&node=` | | [`BlockView`]s |
//! | `GET /v1/addresses?pool=&node=` | | [`AddressView`]s |
//! | `GET`, `DELETE /v1/addresses/{address}` | | [`AddressView`] |
//!
//! Lists are paged: `limit` (default 500, at most 5,000) and `continue`, the token that the page before gave.
//! A failure is [`Failure`].

use crate::ipam::{Family, Pool};
use crate::name::{NodeName, PoolName};
use crate::wire::node::Attachment;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The items, in a stable order.
    pub items: Vec<T>,
    /// Where the next page starts; absent on the last one.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Body of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The HTTP status code.
    pub status: u16,
    /// What went wrong, for a person.
    pub error: String,
}

/// Body of `POST /v1/pools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatePool {
    /// The pool's name.
    pub name: PoolName,
    /// What it consists of; `disabled` may be given.
    #[serde(flatten)]
    pub pool: Pool,
}

/// A pool and how much of it is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// The pool's name.
    pub name: PoolName,
    /// What it consists of.
    #[serde(flatten)]
    pub pool: Pool,
    /// Use per family that the pool has, IPv4 first.
    pub usage: Vec<PoolUsage>,
}

/// Use of one family of a pool. Counts of units beyond 2^64 are capped there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolUsage {
    /// The family.
    pub family: Family,
    /// Blocks that the pool can be cut in.
    pub blocks: u64,
    /// Blocks leased to nodes.
    pub leased: u64,
    /// Addresses held in those blocks, as the nodes last reported. Only in the view of a single pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<u64>,
}

/// Body of `POST` and `DELETE /v1/pools/{pool}/subnets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetChange {
    /// The subnet.
    pub subnet: IpNet,
}

/// A node as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The node's name.
    pub name: NodeName,
    /// Whether its coild was heard of within the liveness TTL.
    pub alive: bool,
    /// Id of the coild that owns the name.
    pub instance: String,
    /// When that coild last started, in milliseconds since the Unix epoch.
    pub started: u64,
    /// Blocks that it leases.
    pub blocks: u64,
}

/// A node with its blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDetail {
    /// The node.
    #[serde(flatten)]
    pub node: NodeView,
    /// Its blocks, in address order by pool.
    pub leases: Vec<BlockView>,
}

/// A leased block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockView {
    /// The block in CIDR form.
    pub block: IpNet,
    /// Its pool.
    pub pool: PoolName,
    /// Who leases it.
    pub node: NodeName,
    /// Addresses held, as the node last reported.
    pub allocated: u64,
}

/// An address and who holds it, as the node last reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressView {
    /// The node that gave it.
    pub node: NodeName,
    /// The block it is in.
    pub block: IpNet,
    /// The allocation.
    #[serde(flatten)]
    pub attachment: Attachment,
}

/// Reply of `GET /v1/addresses/{address}`: where an address belongs, and who holds it if anybody does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressDetail {
    /// The address.
    pub address: IpAddr,
    /// The pool whose subnets contain it.
    pub pool: PoolName,
    /// `held`, `free` (in a leased block), `unleased` (its block belongs to no node) or `excluded`.
    pub state: AddressState,
    /// The block it is in.
    pub block: IpNet,
    /// The node that leases the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The allocation, if the address is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,
}

/// What an address is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressState {
    /// An attachment holds it.
    Held,
    /// Its block is leased, and nobody holds it.
    Free,
    /// No node leases its block.
    Unleased,
    /// It is never given.
    Excluded,
}

/// Reply of `DELETE /v1/nodes/{node}`: what went back to the pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The node that was removed.
    pub node: NodeName,
    /// Its blocks, which are free again.
    pub released: Vec<IpNet>,
    /// Addresses that its mirror still showed as held.
    pub allocated: u64,
}
