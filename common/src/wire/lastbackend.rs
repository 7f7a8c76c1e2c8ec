//! The controller's platform API (`docs/api/lastbackend.md`): namespaces, and services that run in them.
//!
//! | route | body | reply |
//! |---|---|---|
//! | `POST /namespace` | [`CreateNamespace`] | [`NamespaceView`] |
//! | `GET /namespace` | | [`NamespaceView`]s |
//! | `GET`, `PUT /namespace/{namespace}` | [`UpdateNamespace`] | [`NamespaceView`] |
//! | `GET /namespace/{namespace}/activity` | | [`ActivityView`]s |
//! | `POST /namespace/{namespace}/service` | [`CreateService`] | [`ServiceView`] |
//! | `GET /namespace/{namespace}/service` | | [`ServiceView`]s |
//! | `GET`, `PUT …/service/{service}` | [`UpdateService`] | [`ServiceView`] |
//! | `POST …/service/{service}/spec`, `PUT …/spec/{id}` | [`SpecBody`] | [`ServiceView`] |
//! | `GET …/service/{service}/activity` | | [`ActivityView`]s |
//! | `GET …/service/{service}/logs` | | the output of a container |
//!
//! Success is 200, and without a body where something is removed. A failure is a [`Failure`]. Of a request, a field that
//! is null counts as not given, and unknown fields are ignored, so that what was shown can be sent again.

use crate::lastbackend::{Port, RunState};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Body of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PlatformFailure))]
pub struct Failure {
    /// The HTTP status.
    pub code: u16,
    /// What went wrong, for programs: `NAMESPACE_NOT_FOUND`, `BAD_PARAMETER_NAME`, …
    pub status: String,
    /// What went wrong, for a person.
    pub message: String,
}

/// A whole number. One that is too great or too small for 64 bits is the greatest or smallest, so that it can be refused
/// for its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Count(pub i64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(from)?;
        let huge = |number: f64| number.abs() >= 9e18;
        match (number.as_i64(), number.as_f64()) {
            (Some(count), _) => Ok(Self(count)),
            (None, Some(float)) if huge(float) => Ok(Self(if float > 0.0 { i64::MAX } else { i64::MIN })),
            _ => Err(D::Error::custom(format!("{number} is not a whole number"))),
        }
    }
}

/// An object. (serde by itself would take an array for the fields in their order.)
fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let fields: Option<Fields> = Option::deserialize(from)?;
    fields.map(typed).transpose().map_err(D::Error::custom)
}

/// An array of objects.
fn objects<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<Vec<T>>, D::Error> {
    let all: Option<Vec<Fields>> = Option::deserialize(from)?;
    let typed = |all: Vec<Fields>| all.into_iter().map(typed).collect();
    all.map(typed).transpose().map_err(D::Error::custom)
}

type Fields = serde_json::Map<String, serde_json::Value>;

fn typed<T: DeserializeOwned>(fields: Fields) -> Result<T, serde_json::Error> {
    serde_json::from_value(fields.into())
}

/// Body of `POST /namespace`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"name": "demo", "description": "to try things"}))))]
pub struct CreateNamespace {
    /// The name, unique; kept in lower case.
    pub name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The namespace pool that its pods have their addresses from.
    #[serde(rename = "nsIPPool", default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// Body of `PUT /namespace/{namespace}`. What is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"description": "to try other things"}))))]
pub struct UpdateNamespace {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The namespace pool; an empty text for none.
    #[serde(rename = "nsIPPool", default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PlatformNamespace))]
pub struct NamespaceView {
    /// All of it.
    pub meta: NamespaceMeta,
}

/// What a namespace is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NamespaceMeta {
    /// The name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The namespace pool that its pods have their addresses from, if it names one.
    #[serde(rename = "nsIPPool", default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// When it was made, as RFC 3339 with nanoseconds.
    pub created: String,
    /// When it was changed last.
    pub updated: String,
}

/// Body of `POST /namespace/{namespace}/service`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"name": "web", "image": "nginx", "replicas": 3, "spec": {"memory": 64}}))))]
pub struct CreateService {
    /// The name, unique within the namespace; kept in lower case. That of the image if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many pods it is to have: 1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Count>,
    /// The image of its containers; it may be given in `spec` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A template to make it of. There are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Sources to build it of. Nothing is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The registry of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Where it is to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The service pool that its pods have their addresses from.
    #[serde(rename = "serviceIPPool", default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// What its containers are.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub spec: Option<SpecBody>,
}

/// Body of `PUT …/service/{service}`. What is not given stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"replicas": 5}))))]
pub struct UpdateService {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many pods it is to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Count>,
    /// A template to make it of. There are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The service pool; an empty text for none.
    #[serde(rename = "serviceIPPool", default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// A change of its first spec.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub spec: Option<SpecBody>,
}

/// What a container is, in the bodies of requests. What is not given has its default, or stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(examples(json!({"memory": 64, "entrypoint": "/bin/busybox httpd", "command": "-f -p 80"}))))]
pub struct SpecBody {
    /// Most memory that it may use, in MiB: 32 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Count>,
    /// The program, in the words of a shell; empty for the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// Its arguments, in the words of a shell; empty for the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Environment, each `NAME=VALUE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Where it listens.
    #[serde(default, deserialize_with = "objects", skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortBody>>,
}

/// A port, in the bodies of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortBody {
    /// `tcp` unless given, `udp` or `sctp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The port of the machine: that of the container unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<Count>,
    /// The port in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<Count>,
    /// Whether the machine's port leads to the container: no unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<bool>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PlatformService))]
pub struct ServiceView {
    /// What it is.
    pub meta: ServiceMeta,
    /// What runs of it.
    pub state: ServiceState,
    /// The containers of each pod.
    pub spec: Vec<SpecView>,
    /// Its pods; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodView>,
}

/// What a service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceMeta {
    /// The name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How many pods it is to have.
    pub replicas: u32,
    /// The namespace.
    pub namespace: String,
    /// Where it is to run; absent if nothing was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// The service pool that its pods have their addresses from, if it names one.
    #[serde(rename = "serviceIPPool", default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// When it was made, as RFC 3339 with nanoseconds.
    pub created: String,
    /// When it was changed last.
    pub updated: String,
}

/// What runs of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceState {
    /// `provision`: on its way; `started`: all that should run does; `error`: something is wrong; `destroyed`: it is
    /// being removed.
    pub state: String,
    /// What is wrong, for a person; empty if nothing is.
    pub status: String,
    /// What it may use.
    pub resources: Resources,
    /// Its pods, counted.
    pub replicas: Replicas,
}

/// What a service may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resources {
    /// Memory of all its pods together, in MiB.
    pub memory: u64,
}

/// How many pods a service has: all, and of those each in one of the other states.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replicas {
    /// All of them.
    pub total: u32,
    /// Being made.
    pub provision: u32,
    /// With a network, and without a container.
    pub ready: u32,
    /// All of whose containers run.
    pub running: u32,
    /// Made, and not started.
    pub created: u32,
    /// With a container that has ended, and is started again.
    pub stopped: u32,
    /// With a container that has failed, or can't be made.
    pub errored: u32,
}

/// A container of a service's pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SpecView {
    /// Which one.
    pub meta: SpecMeta,
    /// Most memory that it may use, in MiB.
    pub memory: u32,
    /// The program; absent for the image's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entrypoint: String,
    /// Its arguments; empty for the image's.
    pub command: String,
    /// The image.
    pub image: String,
    /// Environment, each `NAME=VALUE`; null if none was given.
    pub env: Option<Vec<String>>,
    /// Where it listens.
    pub ports: Vec<Port>,
}

/// Which spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SpecMeta {
    /// Its id: another one after each change.
    pub id: String,
    /// The id that it had before its last change; empty if there was none.
    pub parent: String,
    /// How often it was changed.
    pub revision: u64,
    /// Nothing is labelled.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: String,
    /// When it was changed last.
    pub updated: String,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ServicePod))]
pub struct PodView {
    /// Which one.
    pub meta: PodMeta,
    /// What it does.
    pub state: PodState,
    /// Its addresses.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::openapi::Address>))]
    pub addresses: Vec<IpAddr>,
    /// Its containers, in the order of the specs.
    pub containers: Vec<ContainerView>,
}

/// Which pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PodMeta {
    /// Its name, unique within the namespace.
    pub name: String,
    /// When it was made; empty if it was not made yet.
    pub created: String,
}

/// What a pod or container does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ServicePodState))]
pub struct PodState {
    /// The state.
    pub state: RunState,
    /// Why, if something is wrong; else empty.
    pub status: String,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContainerView {
    /// Its id.
    pub id: String,
    /// Id of the spec that it was made of.
    pub spec: String,
    /// What it does.
    pub state: PodState,
    /// How often it was started again.
    pub restarts: u32,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActivityView {
    /// When, as RFC 3339 with nanoseconds.
    pub created: String,
    /// What, in a few words.
    pub action: String,
    /// Who did it.
    pub who: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size() {
        let count = |text: &str| serde_json::from_str::<Count>(text).map(|Count(count)| count);
        for (text, expected) in [
            ("3", 3),
            ("-1", -1),
            ("9223372036854775807", i64::MAX),
            ("18446744073709551615", i64::MAX),
            ("99999999999999999999999", i64::MAX),
            ("-99999999999999999999999", i64::MIN),
            ("1e300", i64::MAX),
        ] {
            assert_eq!(count(text).expect(text), expected);
        }
        for bad in ["1.5", "\"3\"", "true", "[]", "0.1", "1e400"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }
}
