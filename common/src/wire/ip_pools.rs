//! The controller's API for the pools of namespaces and services (`docs/api/ip-pools.md`).
//!
//! | route | body | reply |
//! |---|---|---|
//! | `POST /nsippool` | [`CreateNamespacePool`] | [`NamespacePoolView`] |
//! | `GET`, `DELETE /nsippool/{namespace}/{name}` | | [`NamespacePoolView`] |
//! | `GET /getAllPool/{namespace}` | | [`NamespacePoolView`]s |
//! | `POST /serviceIPPool` | [`CreateServicePool`] | [`ServicePoolView`] |
//! | `GET`, `DELETE /serviceIPPool/{namespace}/{name}` | | [`ServicePoolView`] |
//!
//! Success is 200. Every failure is 400 with [`Failure`]; only callers that may not do this get a 401 or 403.

use crate::ipam::RangeSpec;
use crate::name::PodText;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

/// Body of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = IpPoolFailure))]
#[serde(rename_all = "PascalCase")]
pub struct Failure {
    /// What went wrong, for a person.
    pub error: String,
}

/// Body of `POST /nsippool`. What else a pool is shown with is ignored, so that a pool can be made again from what
/// was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"name": "web", "namespace": "team", "subnet": "192.168.1.0/24", "start": "192.168.1.5", "end": "192.168.1.24", "gateway": "192.168.1.1", "vlanid": 100}))))]
pub struct CreateNamespacePool {
    /// The pool's name, unique within the namespace.
    pub name: PodText,
    /// The namespace.
    pub namespace: PodText,
    /// The subnet of the addresses.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub subnet: IpNet,
    /// The first address; with `end`, or `cidr` instead. An empty text counts as not given, here and below.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub start: Option<IpAddr>,
    /// The last address.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub end: Option<IpAddr>,
    /// The addresses as a network.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Cidr>))]
    pub cidr: Option<IpNet>,
    /// Gateway of the pods.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub gateway: IpAddr,
    /// VLAN id, 0 if untagged.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 4094))]
    pub vlanid: i64,
}

impl CreateNamespacePool {
    /// The range asked for.
    pub fn range(&self) -> RangeSpec {
        RangeSpec { start: self.start, end: self.end, cidr: self.cidr }
    }
}

/// Body of `POST /serviceIPPool`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"name": "front", "namespace": "team", "start": "192.168.1.5", "end": "192.168.1.14", "serviceName": "shop", "nsIPPoolName": "web"}))))]
#[serde(rename_all = "camelCase")]
pub struct CreateServicePool {
    /// The pool's name, unique within the namespace.
    pub name: PodText,
    /// The namespace.
    pub namespace: PodText,
    /// The first address; with `end`, or `cidr` instead.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub start: Option<IpAddr>,
    /// The last address.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Address>))]
    pub end: Option<IpAddr>,
    /// The addresses as a network.
    #[serde(default, deserialize_with = "unless_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::openapi::Cidr>))]
    pub cidr: Option<IpNet>,
    /// The Kubernetes service.
    pub service_name: PodText,
    /// The namespace's pool that it is a part of.
    #[serde(rename = "nsIPPoolName")]
    pub namespace_pool: PodText,
}

impl CreateServicePool {
    /// The range asked for.
    pub fn range(&self) -> RangeSpec {
        RangeSpec { start: self.start, end: self.end, cidr: self.cidr }
    }
}

/// A namespace's pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NamespacePoolView {
    /// The pool's name.
    pub name: PodText,
    /// Its namespace.
    pub namespace: PodText,
    /// The subnet of the addresses.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub subnet: IpNet,
    /// The first address that is given.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub start: IpAddr,
    /// The last address that is given.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub end: IpAddr,
    /// The network by which the range was given; the subnet if it was given by its ends.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub cidr: IpNet,
    /// Gateway of the pods.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub gateway: IpAddr,
    /// VLAN id, 0 if untagged.
    pub vlanid: u16,
    /// How many addresses the range has.
    pub total: u128,
    /// How many of them are leased, or set aside for services.
    pub used: u128,
    /// The address that was leased last; empty if none is.
    #[serde(rename = "lastAssignedIP")]
    pub last_assigned: String,
    /// Address → the pod that has it; null if there is none.
    #[serde(rename = "PodMap")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, PodView>>))]
    pub pods: Option<BTreeMap<IpAddr, PodView>>,
}

/// Who has an address of a namespace's pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// The address.
    #[serde(rename = "podIP")]
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub address: IpAddr,
    /// The pod.
    pub pod_name: String,
    /// The service of the service's pool; empty if the address is of none.
    pub svc_name: String,
    /// The service's pool; empty if the address is of none.
    #[serde(rename = "svcIPPoolName")]
    pub service_pool: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// The `StatefulSet` of the pod, if the address is kept for it; else empty.
    pub sts_name: String,
    /// Whether the address is kept no longer, and goes with the pod.
    pub sts_deleted: bool,
    /// Whether the address is kept for the next pod of this name.
    #[serde(rename = "fixedIP")]
    pub fixed: bool,
    /// When the pod got the address, or when it went and the address was kept (RFC 3339).
    pub modify_time: String,
    /// The namespace's pool.
    #[serde(rename = "NsPoolName")]
    pub namespace_pool: String,
}

/// A service's pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ServicePoolView {
    /// The pool's name.
    pub name: PodText,
    /// Its namespace.
    pub namespace: PodText,
    /// The first address that is given.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub start: IpAddr,
    /// The last address that is given.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Address))]
    pub end: IpAddr,
    /// The network by which the range was given; the subnet if it was given by its ends.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::openapi::Cidr))]
    pub cidr: IpNet,
    /// The Kubernetes service.
    pub service_name: PodText,
    /// The namespace's pool that it is a part of.
    #[serde(rename = "nsIPPoolName")]
    pub namespace_pool: PodText,
    /// How many addresses it has.
    pub total: u128,
    /// How many of them are leased.
    pub used: u128,
    /// False: a pool that is deleted is not shown any more.
    pub deleted: bool,
    /// The address that was leased last; empty if none is.
    #[serde(rename = "lastAssignedIP")]
    pub last_assigned: String,
}

/// Clients that know no absent field send an empty text.
pub(super) fn unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}"))))
        .transpose()
}
