//! What Kubernetes knows and the store does not, and what it is told. Nothing here runs without `--kubernetes`.
//!
//! * [`Access`], [`Cluster`]: how its API server is reached
//! * [`sets`]: addresses that are kept for pods of StatefulSets which are gone
//! * [`nodes`]: nodes that are gone
//! * [`choices`]: pools that namespaces choose
//! * [`tell`]: that one controller tells Kubernetes something
//! * [`events`]: pods that get no address
//! * [`node_objects`]: how many addresses nodes have free, and that they are ready for pods

mod choices;
mod events;
mod node_objects;
mod nodes;
mod sets;
mod tell;

use common::error::chain;
use common::store::record::RecordError;
use common::store::{Store, StoreError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Who changes objects, for the API server.
const MANAGER: &str = "coil-controller";

/// Time to connect to the API server.
const CONNECT: Duration = Duration::from_secs(5);

/// How the API server of Kubernetes is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// As the pod that this runs in: by its service account.
    InCluster,
    /// As a kubeconfig's current context says.
    Kubeconfig(PathBuf),
}

impl FromStr for Access {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "in-cluster" => Self::InCluster,
            path => Self::Kubeconfig(path.into()),
        })
    }
}

/// Why Kubernetes can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// This does not run in a pod with a service account.
    #[error("--kubernetes in-cluster: this does not run in a pod that has a service account")]
    InCluster(#[source] kube::config::InClusterError),
    /// A kubeconfig is of no use.
    #[error("--kubernetes: can't use the kubeconfig {0}")]
    Kubeconfig(PathBuf, #[source] kube::config::KubeconfigError),
    /// What they say is of no use.
    #[error("--kubernetes: can't make a client")]
    Client(#[source] kube::Error),
}

/// The API server of a cluster.
#[derive(Clone)]
pub struct Cluster {
    /// What asks it. It does not try again by itself.
    pub client: Client,
    /// Its URL.
    pub url: String,
}

impl Cluster {
    /// Reads what is needed to ask Kubernetes. The API server itself is not asked yet.
    pub async fn new(access: &Access) -> Result<Self, AccessError> {
        let mut config = match access {
            Access::InCluster => Config::incluster().map_err(AccessError::InCluster)?,
            Access::Kubeconfig(path) => {
                let options = KubeConfigOptions::default();
                let failed = |error| AccessError::Kubeconfig(path.clone(), error);
                let file = Kubeconfig::read_from(path).map_err(failed)?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(failed)?
            }
        };
        config.connect_timeout = Some(CONNECT);
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        Ok(Self { client: Client::try_from(config).map_err(AccessError::Client)?, url })
    }
}

/// Objects in one answer of the API server.
const PAGE: u32 = 500;

/// Why something could not be looked at.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("the API server of Kubernetes")]
    Kubernetes(#[from] kube::Error),
    #[error("the store")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Whether what a watch was to go on from is too long ago.
pub(crate) fn is_too_old(status: &Status) -> bool {
    status.code == 410
}

/// Names of Kubernetes' objects are subdomains of DNS (RFC 1123).
fn is_dns_name(name: &str) -> bool {
    let is_edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= 253
        && bytes.first().is_some_and(is_edge)
        && bytes.last().is_some_and(is_edge)
        && bytes.iter().all(|byte| is_edge(byte) || matches!(byte, b'-' | b'.'))
}

/// What is wanted of the metadata of all objects of a kind in the cluster, and of which version that is; objects of which
/// nothing is wanted are left out.
async fn all_named<K, T, C>(
    client: &Client,
    name: impl Fn(ObjectMeta) -> Option<T>,
) -> Result<(C, String), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    C: Default + Extend<T>,
{
    let objects: Api<K> = Api::all(client.clone());
    let (mut there, mut page) = (C::default(), ListParams::default().limit(PAGE));
    loop {
        let list = objects.list_metadata(&page).await?;
        there.extend(list.items.into_iter().filter_map(|object| name(object.metadata)));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok((there, list.metadata.resource_version.unwrap_or_default())),
        }
    }
}

/// Looks every `interval` for sets and nodes that are gone, follows what namespaces choose, and tells Kubernetes what it is to
/// know, for ever.
pub async fn keep_up(cluster: Cluster, interval: Duration, store: Arc<dyn Store>) {
    let (client, store) = (&cluster.client, &store);
    let namespaces = choices::Namespaces::new(client.clone(), Arc::clone(store));
    let events = events::Events::new(client.clone(), Arc::clone(store));
    let nodes = node_objects::NodeObjects::new(client.clone(), Arc::clone(store), interval);
    tokio::join!(
        keep_clean(client, interval, store),
        namespaces.keep_up(interval),
        tell::keep_telling(store.as_ref(), &events),
        tell::keep_telling(store.as_ref(), &nodes)
    );
}

async fn keep_clean(client: &Client, interval: Duration, store: &Arc<dyn Store>) {
    let mut sets = sets::Sets::new(client.clone(), Arc::clone(store));
    let mut nodes = nodes::Nodes::new(client.clone(), Arc::clone(store));
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = sets.look().await {
            tracing::warn!(error = %chain(&error), "can't tell which StatefulSets are gone");
        }
        if let Err(error) = nodes.look().await {
            tracing::warn!(error = %chain(&error), "can't tell which nodes are gone");
        }
    }
}
