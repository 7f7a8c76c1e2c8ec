//! Nodes: who they are, whether they are alive, and how many blocks they lease.

use crate::blocks::{self, Filter};
use crate::error::Error;
use crate::paging::{MAX_LIMIT, PageRequest, Place, read_all, start};
use common::name::NodeName;
use common::store::record::{self, Node};
use common::store::{Entry, KeyRange, Pages, Store, StoreError, keys};
use common::wire::admin::{List, NodeDetail, NodeView};
use std::collections::BTreeSet;

/// The nodes, by name.
pub async fn list(store: &dyn Store, page: &PageRequest) -> Result<List<NodeView>, Error> {
    let range = start(&keys::nodes(), page.after.as_deref())?;
    let found = store.list(&range, page.limit).await?;
    let next = found.last_of_more().map(|last| Place::after(&last.key).token());
    let nodes: Vec<(NodeName, &Entry)> =
        found.items.iter().filter_map(|entry| Some((keys::parse_node(&entry.key)?, entry))).collect();
    let alive = match (nodes.first(), nodes.last()) {
        (Some((first, _)), Some((last, _))) => alive_between(store, first, last).await?,
        _ => BTreeSet::new(),
    };
    let views = nodes.into_iter().map(|(name, entry)| {
        let alive = alive.contains(&keys::alive(&name));
        view(store, name, entry, alive)
    });
    let items = read_all(views).await?;
    Ok(List { items, next })
}

/// A node with its blocks.
pub async fn show(store: &dyn Store, name: &NodeName) -> Result<NodeDetail, Error> {
    let entry = store.get(&keys::node(name)).await?.ok_or_else(|| Error::UnknownNode(name.clone()))?;
    let alive = is_alive(store, name).await?;
    let node = view(store, name.clone(), &entry, alive).await?;
    let filter = Filter { node: Some(name.clone()), pool: None };
    let mut page = PageRequest { limit: MAX_LIMIT, after: None };
    let mut leases = Vec::new();
    loop {
        let found = blocks::list(store, &filter, &page).await?;
        leases.extend(found.items);
        page.after = found.next;
        if page.after.is_none() {
            return Ok(NodeDetail { node, leases });
        }
    }
}

/// Whether the node was heard of within the liveness TTL.
pub(crate) async fn is_alive(store: &dyn Store, name: &NodeName) -> Result<bool, StoreError> {
    Ok(store.get(&keys::alive(name)).await?.is_some())
}

async fn view(store: &dyn Store, name: NodeName, entry: &Entry, alive: bool) -> Result<NodeView, Error> {
    let Node { instance, started, .. } = record::decode(&entry.key, &entry.value)?;
    let blocks = store.count(&keys::blocks(&name)).await?;
    Ok(NodeView { name, alive, instance, started, blocks })
}

/// The liveness keys of the nodes between two names, both included.
async fn alive_between(
    store: &dyn Store,
    first: &NodeName,
    last: &NodeName,
) -> Result<BTreeSet<String>, StoreError> {
    let range = KeyRange { from: keys::alive(first), to: format!("{}\0", keys::alive(last)) };
    let (mut pages, mut alive) = (Pages::of(store, range, MAX_LIMIT), BTreeSet::new());
    while let Some(page) = pages.next_keys().await? {
        alive.extend(page.items);
    }
    Ok(alive)
}
