//! The controller's admin API, `/v1/` (`docs/api/admin.md`).
//!
//! | route | body | reply |
//! |---|---|---|
//! | `GET /v1/pools` | | [`PoolView`]s |
//! | `POST /v1/pools` | [`CreatePool`] | 201, [`PoolView`] |
//! | `GET`, `DELETE /v1/pools/{pool}` | | [`PoolView`] |
//! | `POST /v1/pools/{pool}/subnets` | [`AddSubnet`] | [`PoolView`] |
//! | `DELETE /v1/pools/{pool}/subnets` | [`RemoveSubnet`] | [`PoolView`] |
//! | `PUT /v1/pools/{pool}/disabled`, `DELETE` of it | | [`PoolView`] |
//! | `GET /v1/nodes` | | [`NodeView`]s |
//! | `GET /v1/nodes/{node}` | | [`NodeDetail`] |
//! | `DELETE /v1/nodes/{node}?force=` | | [`Removal`] |
//! | `GET /v1/blocks?pool=&node=` | | [`BlockView`]s |
//! | `GET /v1/addresses?pool=&node=` | | [`AddressView`]s |
//! | `GET /v1/addresses/{address}` | | [`AddressDetail`] |
//! | `DELETE /v1/addresses/{address}` | | [`Eviction`], 202 while the node has yet to do it |
//!
//! Lists are paged: `limit` (default 500, at most 5,000) and `continue`, the token that the page before gave.
//! A failure is [`Failure`].

use crate::ipam::{BlockGateway, Family, Pool, TenantBlock};
use crate::name::{NodeName, PodText, PoolName};
use crate::pool_id::PoolId;
use crate::wire::node::Attachment;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct List<T> {
    /// The items, in a stable order.
    pub items: Vec<T>,
    /// Where the next page starts; absent on the last one.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Body of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    /// The HTTP status code.
    pub status: u16,
    /// What went wrong, for a person.
    pub error: String,
}

/// Body of `POST /v1/pools`. Its fields are those of a [`Pool`] with a name, spelled out so that an error can
/// name the field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"name": "default", "subnets": ["10.64.0.0/16", "fd00:64::/64"], "exclude": ["10.64.0.0/30"]}))))]
#[serde(deny_unknown_fields)]
pub struct CreatePool {
    /// The pool's name.
    pub name: PoolName,
    /// The subnets, of both families, without overlap; none if there is `from_block`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::openapi::Cidr>))]
    pub subnets: Vec<IpNet>,
    /// The tenant's block of which the addresses are, in the place of `subnets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_block: Option<TenantBlock>,
    /// Prefix length of an IPv4 block; 28 unless given.
    #[serde(default = "block_size")]
    pub block_size: u8,
    /// Prefix length of an IPv6 block; 124 unless given.
    #[serde(default = "block_size_v6")]
    pub block_size_v6: u8,
    /// Addresses that are never given; each lies in one of the subnets.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::openapi::Cidr>))]
    pub exclude: Vec<IpNet>,
    /// Whether a block has a gateway of its own: `none` unless given.
    #[serde(default)]
    pub block_gateway: BlockGateway,
    /// Whether the pool gives nothing yet.
    #[serde(default)]
    pub disabled: bool,
}

fn block_size() -> u8 {
    Pool::BLOCK_SIZE
}

fn block_size_v6() -> u8 {
    Pool::BLOCK_SIZE_V6
}

impl CreatePool {
    /// The pool, and its name.
    pub fn into_pool(self) -> (PoolName, Pool) {
        let pool = Pool {
            subnets: self.subnets,
            block_size: self.block_size,
            block_size_v6: self.block_size_v6,
            exclude: self.exclude,
            block_gateway: self.block_gateway,
            disabled: self.disabled,
            from_block: self.from_block,
        };
        (self.name, pool)
    }
}

/// A pool and how much of it is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// Body of `POST /v1/pools/{pool}/subnets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"subnet": "10.67.0.0/16", "exclude": ["10.67.0.0/30"]}))))]
#[serde(deny_unknown_fields)]
pub struct AddSubnet {
    /// The subnet.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub subnet: IpNet,
    /// Addresses in it that are never given.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::openapi::Cidr>))]
    pub exclude: Vec<IpNet>,
}

/// Body of `DELETE /v1/pools/{pool}/subnets`. The exclusions in the subnet go with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"subnet": "10.67.0.0/16"}))))]
#[serde(deny_unknown_fields)]
pub struct RemoveSubnet {
    /// The subnet.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub subnet: IpNet,
}

/// A node as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeDetail {
    /// The node.
    #[serde(flatten)]
    pub node: NodeView,
    /// Its blocks, in address order by pool.
    pub leases: Vec<BlockView>,
}

/// A leased block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockView {
    /// The block in CIDR form.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub block: IpNet,
    /// Its pool.
    pub pool: PoolId,
    /// Who leases it.
    pub node: NodeName,
    /// Addresses held, as the node last reported.
    pub allocated: u64,
}

/// An address and who holds it, as the node last reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddressView {
    /// The node that gave it.
    pub node: NodeName,
    /// The block it is in.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub block: IpNet,
    /// The allocation.
    #[serde(flatten)]
    pub attachment: Attachment,
}

/// Reply of `GET /v1/addresses/{address}`: where an address belongs, and who holds it if anybody does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AddressDetail {
    /// The address.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub address: IpAddr,
    /// The pool whose subnets contain it.
    pub pool: PoolId,
    /// `held`, `free` (in a leased block), `unleased` (its block belongs to no node), `excluded`, or `kept`.
    pub state: AddressState,
    /// The block it is in.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub block: IpNet,
    /// The node that leases the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Of a fixed address of a namespace's pool: the pod that it is kept for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_for: Option<PodName>,
    /// The allocation, if the address is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,
}

/// What an address is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// It is fixed, and its pod is away.
    Kept,
}

/// A pod, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PodName {
    /// Its namespace.
    pub namespace: PodText,
    /// Its name.
    pub name: PodText,
}

/// Reply of `DELETE /v1/addresses/{address}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Eviction {
    /// The address: `free` now, or still `held`. The attachment is the one that held it.
    #[serde(flatten)]
    pub detail: AddressDetail,
    /// What was done, for a person.
    pub message: String,
}

/// Reply of `DELETE /v1/nodes/{node}`: what went back to the pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Removal {
    /// The node that was removed.
    pub node: NodeName,
    /// Its blocks, which are free again.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::openapi::Cidr>))]
    pub released: Vec<IpNet>,
    /// Addresses that its mirror still showed as held.
    pub allocated: u64,
}
