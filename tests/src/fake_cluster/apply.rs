//! Server-side apply: one manager, whose objects are as it says, and nobody else's by mistake.

use super::request::{Parameters, Refusal, takes};
use super::state::{Key, Kind, State};
use crate::strict;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Namespace, Service};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Who applies.
const MANAGER: &str = "coil-controller";
/// Where it is noted who applied an object.
const MANAGED: &str = "managedFields";

/// An object that is to be.
pub(super) struct Apply {
    object: Value,
    force: bool,
}

impl Apply {
    pub(super) fn parse(key: &Key, parameters: &Parameters, body: &[u8]) -> Result<Self> {
        let parameter = |name| parameters.get(name).map(String::as_str);
        ensure!(parameter("fieldManager") == Some(MANAGER), "the manager");
        ensure!(parameter("fieldValidation") == Some("Strict"), "unknown fields would be dropped");
        let object: Value = serde_json::from_slice(body)?;
        ensure!(object["apiVersion"] == key.0.api() && object["kind"] == key.0.word(), "another kind");
        let meta = &object["metadata"];
        ensure!(meta["name"] == *key.2, "another name");
        ensure!(key.1.is_empty() || meta["namespace"] == *key.1, "another namespace");
        ensure!(meta[MANAGED].is_null() && object["status"].is_null(), "nobody may apply that");
        check_labels(&meta["labels"])?;
        match key.0 {
            Kind::Namespace => strict::parsed::<Namespace>(&object).map(drop)?,
            Kind::Service => check_service(&strict::parsed(&object)?)?,
            Kind::Deployment => check_deployment(&strict::parsed(&object)?)?,
            Kind::Pod => unreachable!("the path names none"),
        }
        Ok(Self { object, force: parameter("force") == Some("true") })
    }
}

fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

fn check_labels(labels: &Value) -> Result<()> {
    for (label, value) in labels.as_object().context("labels")? {
        let (prefix, name) = label.split_once('/').context("a prefix")?;
        let value = value.as_str().context("a text")?;
        ensure!(
            is_label(prefix) && is_label(name) && (value.is_empty() || is_label(value)),
            "{label}={value}"
        );
    }
    ensure!(labels["coil/owner"].is_string(), "nobody's");
    Ok(())
}

fn check_service(service: &Service) -> Result<()> {
    let spec = service.spec.as_ref().context("a spec")?;
    ensure!(spec.cluster_ip.as_deref() == Some("None"));
    ensure!(spec.selector.as_ref().is_some_and(|selector| selector.contains_key("coil/uid")));
    let ports = spec.ports.as_deref().unwrap_or_default();
    let keys: BTreeSet<_> = ports.iter().map(|port| (port.port, &port.protocol)).collect();
    let names: BTreeSet<_> = ports.iter().filter_map(|port| port.name.as_deref()).collect();
    ensure!(keys.len() == ports.len() && names.len() == ports.len(), "a port twice");
    ensure!(names.iter().all(|name| name.len() <= 15), "the name of a port is too long");
    Ok(())
}

fn check_deployment(deployment: &Deployment) -> Result<()> {
    let spec = deployment.spec.as_ref().context("a spec")?;
    ensure!(spec.replicas.is_some_and(|count| count > 0), "no replicas");
    let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.as_ref()).context("labels")?;
    let selector = spec.selector.match_labels.as_ref().context("a selector")?;
    ensure!(
        selector.contains_key("coil/uid")
            && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
    );
    let pod = spec.template.spec.as_ref().context("a pod")?;
    ensure!(pod.automount_service_account_token == Some(false), "it may ask the cluster");
    let names: BTreeSet<&str> = pod.containers.iter().map(|container| container.name.as_str()).collect();
    ensure!(!names.is_empty() && names.len() == pod.containers.len(), "containers: {names:?}");
    pod.containers.iter().try_for_each(|container| check_container(container).context(container.name.clone()))
}

fn check_container(container: &Container) -> Result<()> {
    let dns = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ensure!(is_label(&container.name) && container.name.bytes().all(dns), "its name");
    ensure!(container.image.as_deref().is_some_and(|image| !image.is_empty()), "no image");
    let env: Vec<&str> = container.env.iter().flatten().map(|env| env.name.as_str()).collect();
    ensure!(env.iter().collect::<BTreeSet<_>>().len() == env.len(), "a variable twice");
    let ports = container.ports.as_deref().unwrap_or_default();
    let keys: BTreeSet<_> = ports.iter().map(|port| (port.container_port, &port.protocol)).collect();
    ensure!(keys.len() == ports.len(), "a port twice");
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    ensure!(limits.is_some_and(|limits| limits.contains_key("memory")), "no limit of memory");
    Ok(())
}

/// Makes an object, or changes it.
pub(super) fn apply(state: &mut State, key: &Key, wanted: Apply) -> Result<Value, Refusal> {
    let conflict = |message: &str| Err(Refusal(409, "Conflict", message.to_owned()));
    let Apply { mut object, force } = wanted;
    if !key.1.is_empty() {
        takes(state.get(&(Kind::Namespace, String::new(), key.1.clone())), &key.1)?;
    }
    match state.get(key) {
        None if !object["metadata"]["uid"].is_null() => {
            return conflict("uid mismatch: there is no such object");
        }
        None => {}
        Some(before) => {
            let uid = &object["metadata"]["uid"];
            if !uid.is_null() && *uid != before["metadata"]["uid"] {
                return conflict("uid mismatch");
            }
            let others = before["metadata"][MANAGED][0]["manager"] != MANAGER;
            if others && !force {
                return conflict("conflict with another manager");
            }
            let selector = |object: &Value| object["spec"]["selector"]["matchLabels"].clone();
            if key.0 == Kind::Deployment && selector(before) != selector(&object) {
                let message = "spec.selector: field is immutable".to_owned();
                return Err(Refusal(422, "Invalid", message));
            }
            object["status"] = before["status"].clone();
        }
    }
    object["metadata"][MANAGED] = json!([{"manager": MANAGER, "operation": "Apply"}]);
    state.put(key, object);
    Ok(state.get(key).cloned().unwrap_or_default())
}
