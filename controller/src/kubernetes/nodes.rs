//! Nodes that Kubernetes has deleted: their blocks go back to the pools.
//!
//! What counts is that the Node is gone, and never that it is not ready: a node that is away keeps what its pods have. It is
//! certain only if Kubernetes said so twice, and was asked after the store. A node that still renews its liveness is not
//! removed, nor is one that Kubernetes never had: those that it has are remembered in the store.

use super::{LookError, all_named};
use crate::auth::Caller;
use crate::error::Error;
use crate::reclaim;
use common::error::chain;
use common::name::NodeName;
use common::store::record::{self, KubernetesNode};
use common::store::{Compare, KeyRange, Op, Pages, Store, StoreError, Txn, keys};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many keys are read at once.
const READ: usize = 1_000;

/// Looks for nodes that are gone.
pub(super) struct Nodes {
    client: Client,
    store: Arc<dyn Store>,
    /// Those that were gone the last time.
    gone: BTreeSet<NodeName>,
}

impl Nodes {
    pub(super) fn new(client: Client, store: Arc<dyn Store>) -> Self {
        Self { client, store, gone: BTreeSet::new() }
    }

    pub(super) async fn look(&mut self) -> Result<(), LookError> {
        let registered = self.named(keys::nodes(), keys::parse_node).await?;
        let remembered = self.named(keys::kubernetes_nodes(), keys::parse_kubernetes_node).await?;
        if registered.is_empty() && remembered.is_empty() {
            return Ok(());
        }
        let there = self.nodes().await?;
        for node in registered.intersection(&there).filter(|node| !remembered.contains(*node)) {
            self.remember(node).await?;
        }
        let gone: BTreeSet<NodeName> = remembered.difference(&there).cloned().collect();
        let before = std::mem::replace(&mut self.gone, gone);
        for node in self.gone.intersection(&before) {
            self.reclaim(node).await?;
        }
        Ok(())
    }

    async fn named(
        &self,
        range: KeyRange,
        parse: fn(&str) -> Option<NodeName>,
    ) -> Result<BTreeSet<NodeName>, StoreError> {
        let (mut names, mut pages) = (BTreeSet::new(), Pages::of(self.store.as_ref(), range, READ));
        while let Some(page) = pages.next_keys().await? {
            names.extend(page.items.iter().filter_map(|key| parse(key)));
        }
        Ok(names)
    }

    /// All nodes of the cluster.
    async fn nodes(&self) -> Result<BTreeSet<NodeName>, kube::Error> {
        let name = |node: ObjectMeta| NodeName::new(node.name?).ok();
        Ok(all_named::<Node, _, _>(&self.client, name).await?.0)
    }

    async fn remember(&self, node: &NodeName) -> Result<(), StoreError> {
        let key = keys::kubernetes_node(node);
        let put = Op::Put(key.clone(), record::encode(&KubernetesNode {}));
        match self.store.txn(Txn::new().when(Compare::Absent(key)).then(put)).await {
            // Another controller was faster.
            Ok(_) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// It is forgotten last, so that a removal that was cut short is finished.
    async fn reclaim(&self, node: &NodeName) -> Result<(), StoreError> {
        match reclaim::remove(self.store.as_ref(), &Caller::itself("kubernetes"), node, false).await {
            Ok(_) | Err(Error::UnknownNode(_)) => {}
            Err(Error::Store(error)) => return Err(error),
            // It lives, or something of it is not understood: its blocks stay its own.
            Err(error) => {
                tracing::info!(%node, error = chain(&error), "Kubernetes has no such node any more, but it is not removed");
                return Ok(());
            }
        }
        self.store.txn(Txn::new().then(Op::Delete(keys::kubernetes_node(node)))).await.map(|_| ())
    }
}
