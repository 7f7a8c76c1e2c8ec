//! Pools, namespaces and services as they are written in files: YAML documents with a `kind`.

use common::ipam::{BlockGateway, RangeSpec};
use common::name::{PodText, PoolName};
use common::wire::lastbackend::PortBody;
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml_ng::{Deserializer, Value};
use std::net::IpAddr;

/// What a document asks for. Where a field that may be left out is left out, what exists stays as it is.
#[derive(Debug)]
pub(super) enum Manifest {
    Pool(Pool),
    NamespacePool(NamespacePool),
    ServicePool(ServicePool),
    Namespace(Namespace),
    Service(Service),
}

/// A pool that is cut in blocks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pool {
    pub(super) name: PoolName,
    pub(super) subnets: Vec<IpNet>,
    pub(super) block_size: Option<u8>,
    pub(super) block_size_v6: Option<u8>,
    pub(super) exclude: Option<Vec<IpNet>>,
    pub(super) block_gateway: Option<BlockGateway>,
    pub(super) disabled: Option<bool>,
}

/// A namespace's pool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamespacePool {
    pub(super) namespace: PodText,
    pub(super) name: PodText,
    pub(super) subnet: IpNet,
    pub(super) start: Option<IpAddr>,
    pub(super) end: Option<IpAddr>,
    pub(super) cidr: Option<IpNet>,
    pub(super) gateway: IpAddr,
    #[serde(default)]
    pub(super) vlan: i64,
    pub(super) disabled: Option<bool>,
}

/// A service's pool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServicePool {
    pub(super) namespace: PodText,
    pub(super) name: PodText,
    pub(super) pool: PodText,
    pub(super) service: PodText,
    pub(super) start: Option<IpAddr>,
    pub(super) end: Option<IpAddr>,
    pub(super) cidr: Option<IpNet>,
    pub(super) disabled: Option<bool>,
}

/// A namespace of services.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Namespace {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) pool: Option<String>,
}

/// A service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) description: Option<String>,
    pub(super) replicas: Option<i64>,
    pub(super) pool: Option<String>,
    pub(super) memory: Option<i64>,
    pub(super) entrypoint: Option<String>,
    pub(super) command: Option<String>,
    pub(super) env: Option<Vec<String>>,
    pub(super) ports: Option<Vec<PortBody>>,
}

impl NamespacePool {
    pub(super) fn range(&self) -> RangeSpec {
        RangeSpec { start: self.start, end: self.end, cidr: self.cidr }
    }
}

impl ServicePool {
    pub(super) fn range(&self) -> RangeSpec {
        RangeSpec { start: self.start, end: self.end, cidr: self.cidr }
    }
}

/// All documents of a text; empty ones count for nothing. The error names document and field.
pub(super) fn parse(text: &str) -> Result<Vec<Manifest>, String> {
    let mut manifests = Vec::new();
    for (number, document) in Deserializer::from_str(text).enumerate() {
        let of_document = |error: String| format!("document {}: {error}", number + 1);
        let value = Value::deserialize(document).map_err(|error| of_document(error.to_string()))?;
        if !value.is_null() {
            manifests.push(manifest(value).map_err(of_document)?);
        }
    }
    Ok(manifests)
}

const KINDS: &str = "Pool, NamespacePool, ServicePool, Namespace or Service";

fn manifest(mut value: Value) -> Result<Manifest, String> {
    let fields = value.as_mapping_mut().ok_or_else(|| format!("it must have fields, and a kind: {KINDS}"))?;
    let kind = fields.remove("kind").ok_or_else(|| format!("kind is missing: {KINDS}"))?;
    match kind.as_str() {
        Some("Pool") => typed(value).map(Manifest::Pool),
        Some("NamespacePool") => typed(value).map(Manifest::NamespacePool),
        Some("ServicePool") => typed(value).map(Manifest::ServicePool),
        Some("Namespace") => typed(value).map(Manifest::Namespace),
        Some("Service") => typed(value).map(Manifest::Service),
        _ => Err(format!("kind must be {KINDS}")),
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        if path == "." { error.into_inner().to_string() } else { format!("{path}: {}", error.into_inner()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "kind: Pool\nname: default\nsubnets: [10.0.0.0/16]\n";

    #[test]
    fn documents() {
        let text = format!("---\n# nothing\n---\n{POOL}---\n{POOL}disabled: true\n---\n");
        let manifests = parse(&text).expect("parsed");
        assert_eq!(manifests.len(), 2);
        assert!(matches!(&manifests[1], Manifest::Pool(Pool { disabled: Some(true), exclude: None, .. })));
        assert!(parse("").expect("parsed").is_empty());
    }

    #[test]
    fn errors_name_document_and_field() {
        let web = "kind: NamespacePool\nnamespace: a\nname: b\nsubnet: 10.0.0.0/24\ngateway: 10.0.0.1\n";
        for (text, reason) in [
            ("- a\n".to_owned(), "document 1: it must have fields"),
            ("name: a\n".to_owned(), "document 1: kind is missing: Pool, NamespacePool, ServicePool,"),
            (format!("{POOL}---\nkind: Pod\n"), "document 2: kind must be Pool,"),
            (format!("{POOL}blocksize: 28\n"), "document 1: blocksize: unknown field `blocksize`"),
            ("kind: Pool\nname: a\n".to_owned(), "document 1: missing field `subnets`"),
            (
                "kind: Pool\nname: A\nsubnets: []\n".to_owned(),
                "document 1: name: pool name \"A\" is malformed",
            ),
            (format!("{web}vlan: x\n"), "document 1: vlan: invalid type"),
            (format!("{web}start: 10.0.0\n"), "document 1: start: invalid IP address syntax"),
            (format!("{POOL}subnets: []\n"), "duplicate"),
            (format!("{POOL}---\n{{"), "document 2: "),
        ] {
            let error = parse(&text).expect_err(&text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
