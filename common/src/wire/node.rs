//! coild's REST API (`docs/api/coild.md`). Fields beyond the original API are optional in requests and may be
//! ignored in replies.

use crate::ipam::Family;
use crate::name::{ContainerId, IfName, PodText, PoolName};
use crate::pool_id::PoolId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The pod's annotations that mean something to Coil.
pub mod annotation {
    /// Name of the service pool that the pod gets its address from.
    pub const SERVICE_POOL: &str = "hcipam_service_ippool";
    /// Names of namespace pools, separated by commas: the first with a free address. The service pool goes before.
    pub const NAMESPACE_POOLS: &str = "hcipam_ns_ippool";
    /// `true` keeps the address of a `StatefulSet`'s pod for the next pod of its name. (It is spelt like this.)
    pub const FIXED: &str = "hcipm_ip_fixed";
    /// Pools, separated by commas: the first with a free address gives it. Of a namespace of Kubernetes: for those of
    /// its pods that name none.
    pub const POOLS: &str = "coil.io/pool";
    /// `true` keeps the address, as [`FIXED`] does.
    pub const KEEP: &str = "coil.io/fixed";
    /// All of them.
    pub const ALL: [&str; 5] = [SERVICE_POOL, NAMESPACE_POOLS, FIXED, POOLS, KEEP];
}

/// Body of `POST /ip`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AllocateRequest {
    /// Namespace of the pod; opaque, not empty.
    pub pod_namespace: PodText,
    /// Name of the pod; opaque, not empty.
    pub pod_name: PodText,
    /// Container id; with the interface it identifies the attachment.
    pub container_id: ContainerId,
    /// Family of the address; `ipv4` if neither this nor `address-types` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_type: Option<Family>,
    /// One address of each of these families, all or none; goes before `address-type`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub address_types: Vec<Family>,
    /// Interface in the container; `eth0` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<IfName>,
    /// Pool to take the address from. If absent: what the namespace chooses in Kubernetes, else the pool named like the
    /// namespace if there is one, else `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Ask for this address and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Ask for these addresses, one of a family at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Whether the container has these addresses already, by another ipam: they are given of a disabled pool too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
    /// Name of the CNI network, so that garbage collection of one network leaves others alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Path of the container's network namespace: the evidence by which coild tells an orphan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// The pod's annotations; some of them choose its pools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A route that the container needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; the interface's own gateway if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
}

/// An address with what the interface needs besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedAddress {
    /// The address.
    pub address: IpAddr,
    /// Prefix length of the address on the interface: 32 or 128 in a routed pool, the block's in a pool
    /// whose blocks have gateways, the subnet's in a namespace's pool.
    pub prefix: u8,
    /// The gateway; absent in a routed pool, where the plugin's link-local gateway serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Routes of the pool; none means a default route by the gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// VLAN id of the network that the address is in, 0 if untagged; absent in a routed pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The pool it came from.
    pub pool: PoolId,
}

/// Successful reply of `POST /ip` and of `GET /ip/<namespace>/<pod>/<container id>`. Beside `addresses`, the
/// details of the first one stand at the top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressReply {
    /// The first address: IPv4 if there are two.
    #[serde(flatten)]
    pub first: AssignedAddress,
    /// All addresses of the attachment, IPv4 first.
    pub addresses: Vec<AssignedAddress>,
    /// 200.
    pub status: u16,
}

/// Reply of `DELETE /ip/<namespace>/<pod>/<container id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseReply {
    /// The address that was freed; empty if the attachment held none.
    pub address: String,
    /// All addresses that were freed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// 200.
    pub status: u16,
}

/// Body of every failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What went wrong, for a person.
    pub error: String,
    /// The HTTP status code.
    pub status: u16,
}

/// Reply of `GET /status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatusReply {
    /// Pool → the blocks that the node holds of it, in CIDR form.
    pub address_blocks: BTreeMap<PoolId, Vec<IpNet>>,
    /// Container id → address. Of an attachment with several addresses or interfaces this shows the first;
    /// `attachments` has all.
    pub pods: BTreeMap<String, IpAddr>,
    /// Every allocation of the node, in address order.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Addresses held in blocks whose lease was taken away; nothing new is given from those blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fenced: Vec<IpAddr>,
    /// Addresses that are set aside because a foreign host uses them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// 200.
    pub status: u16,
}

/// An address that is not given for a while, because a host uses it that did not get it from Coil.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The address.
    pub address: IpAddr,
    /// Its pool.
    pub pool: PoolId,
    /// Until when it is set aside, in milliseconds since the Unix epoch.
    pub until: u64,
}

/// One allocation: an address and who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Attachment {
    /// The address.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub address: IpAddr,
    /// Its pool.
    pub pool: PoolId,
    /// Namespace of the pod.
    pub pod_namespace: PodText,
    /// Name of the pod.
    pub pod_name: PodText,
    /// Container id.
    pub container_id: ContainerId,
    /// Interface in the container.
    pub interface: IfName,
    /// CNI network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// When it was given, in milliseconds since the Unix epoch.
    pub since: u64,
}

/// Body of `POST /gc`: free what this network holds on the node, but for the attachments named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CollectRequest {
    /// Name of the CNI network.
    pub network: String,
    /// The attachments that exist (`cni.dev/valid-attachments`).
    pub valid_attachments: Vec<AttachmentId>,
}

/// What identifies an attachment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AttachmentId {
    /// Container id.
    pub container_id: ContainerId,
    /// Interface in the container.
    pub interface: IfName,
}

/// Reply of `POST /gc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectReply {
    /// The addresses that were freed.
    pub freed: Vec<IpAddr>,
    /// 200.
    pub status: u16,
}
