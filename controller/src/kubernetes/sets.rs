//! Addresses that are kept for pods of StatefulSets. When a set is gone, and the pod too, nobody comes for its address any
//! more: it is given up.
//!
//! That is certain only if Kubernetes said so twice, and was asked after the store: whoever has an address kept had its set
//! by then. Any number of controllers may do this, as each address is given up in one transaction.

use super::{LookError, all_named, is_dns_name};
use crate::audit;
use crate::auth::Caller;
use common::clock;
use common::ipam::{Family, Unit};
use common::name::PodText;
use common::pool_id::Scoped;
use common::store::leases::addresses::{self, Kept};
use common::store::record::{self, Fixed, Lease, stateful_set};
use common::store::{Compare, Entry, Store, StoreError, Txn, keys, list_all};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Looks for sets that are gone.
pub(super) struct Sets {
    client: Client,
    store: Arc<dyn Store>,
    /// Those that were gone the last time.
    gone: BTreeSet<Scoped>,
}

/// What is kept for a pod.
struct OfPod {
    pod: Scoped,
    entry: Entry,
}

impl Sets {
    pub(super) fn new(client: Client, store: Arc<dyn Store>) -> Self {
        Self { client, store, gone: BTreeSet::new() }
    }

    pub(super) async fn look(&mut self) -> Result<(), LookError> {
        let mut kept: BTreeMap<Scoped, Vec<OfPod>> = BTreeMap::new();
        for entry in list_all(self.store.as_ref(), &keys::all_fixed()).await?.items {
            let Some(pod) = keys::parse_fixed(&entry.key) else { continue };
            if let Some(set) = set_of(&pod) {
                kept.entry(set).or_default().push(OfPod { pod, entry });
            }
        }
        if !kept.is_empty() {
            let there = self.sets().await?;
            kept.retain(|set, _| !there.contains(set));
        }
        let before = std::mem::replace(&mut self.gone, kept.keys().cloned().collect());
        kept.retain(|set, _| before.contains(set));
        for OfPod { pod, entry } in kept.values().flatten() {
            if self.pod_exists(pod).await? {
                continue;
            }
            match self.give_up(pod, entry).await {
                // Somebody has it changed meanwhile.
                Ok(()) | Err(LookError::Store(StoreError::Conflict)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// All sets of the cluster.
    async fn sets(&self) -> Result<BTreeSet<Scoped>, kube::Error> {
        let name = |set: ObjectMeta| {
            let (namespace, name) = (PodText::new(set.namespace?).ok()?, PodText::new(set.name?).ok()?);
            Some(Scoped { namespace, name })
        };
        Ok(all_named::<StatefulSet, _, _>(&self.client, name).await?.0)
    }

    async fn pod_exists(&self, pod: &Scoped) -> Result<bool, LookError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), pod.namespace.as_str());
        Ok(pods.get_metadata_opt(pod.name.as_str()).await?.is_some())
    }

    /// An address that a node still holds for the pod goes with it; one that nobody holds is free at once.
    async fn give_up(&self, pod: &Scoped, index: &Entry) -> Result<(), LookError> {
        let store = self.store.as_ref();
        let fixed: Fixed = record::decode(&index.key, &index.value)?;
        let unit = Unit::containing(fixed.address, 0);
        let Some(entry) = store.get(&keys::lease(&fixed.pool, unit)).await? else { return Ok(()) };
        let lease: Lease = record::decode(&entry.key, &entry.value)?;
        let of_pod = Kept::key(&lease, Family::of(fixed.address)).is_some_and(|key| key == index.key);
        let kept = Kept::of(&fixed.pool, unit, &lease, Some(index.clone()), clock::now_millis())?;
        let Some(kept) = kept.filter(|_| of_pod) else { return Ok(()) };
        let txn = if lease.node.is_empty() {
            addresses::give_up(&entry, Some(&kept))
        } else {
            kept.give_up(Txn::new().when(Compare::ModRevision(entry.key.clone(), entry.mod_revision)))
        };
        store.txn(txn).await?;
        let what = format!("address {}: given up, as the StatefulSet of pod {pod} is gone", fixed.address);
        audit::changed(&Caller::itself("kubernetes"), &what, &fixed, &());
        Ok(())
    }
}

/// The set of a pod, if Kubernetes can have either.
fn set_of(pod: &Scoped) -> Option<Scoped> {
    let set = stateful_set(pod.name.as_str())?;
    let valid = [pod.namespace.as_str(), set].into_iter().all(is_dns_name);
    let name = PodText::new(set).ok().filter(|_| valid)?;
    Some(Scoped { namespace: pod.namespace.clone(), name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kubernetes_can_have_is_asked_for() {
        let set = |namespace: &str, pod: &str| {
            let text = |text: &str| PodText::new(text).expect("text");
            set_of(&Scoped { namespace: text(namespace), name: text(pod) }).map(|set| set.to_string())
        };
        assert_eq!(set("shop", "web-0").as_deref(), Some("shop/web"));
        assert_eq!(set("shop", "a.b-c-17").as_deref(), Some("shop/a.b-c"));
        for (namespace, pod) in
            [("shop", "web"), ("../x", "web-0"), ("shop", "../web-0"), ("Shop", "web-0"), ("shop", "-a-0")]
        {
            assert_eq!(set(namespace, pod), None, "{namespace} {pod}");
        }
    }
}
