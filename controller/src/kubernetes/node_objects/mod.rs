//! What Kubernetes is told of nodes: how many addresses each has free, as an annotation, and that its coild is there, by taking
//! away the taint that it was registered with.
//!
//! Both follow from the store and from the Node, and from nothing that is remembered. Only a Node that was never told
//! anything may still have the taint; so a taint that somebody sets later stays. What is written names the Node's `uid`: one that
//! is registered anew has the taint anew. A Node is written to when its numbers are
//! others than what it has, no more often than once in a period, and one Node after the other.
//!
//! * [`mod@follow`]: which Nodes there are, and what they were told
//! * [`free`]: the numbers, pure
//! * [`taint`]: the taint

mod follow;
mod free;
mod taint;

use super::MANAGER;
use super::tell::{TellError, Telling, answer};
use common::error::chain;
use common::name::NodeName;
use common::store::{Event, KeyRange, Pages, Revision, Store, keys};
use follow::{Change, Seen, follow};
use free::Stock;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// The annotation: `{"default":{"ipv4":14}}`.
const FREE: &str = "coil.io/free";
/// A Node is not written to more often than once in this time.
const PERIOD: Duration = Duration::from_secs(30);
/// Between two writes, whatever Nodes they are of.
const PACE: Duration = Duration::from_millis(20);
/// Entries that are read at once.
const READ: usize = 200;
/// Changes of Nodes that may wait.
const QUEUE: usize = 1_000;

/// Tells Kubernetes of nodes.
pub(super) struct NodeObjects {
    client: Client,
    store: Arc<dyn Store>,
    period: Duration,
}

impl Telling for NodeObjects {
    const TURN: &str = keys::KUBERNETES_NODES;
    const WHAT: &str = "Kubernetes is not told of its nodes";

    async fn tell(&self) -> Result<Infallible, TellError> {
        let (sender, changes) = mpsc::channel(QUEUE);
        tokio::select! {
            outcome = follow(&self.client, &sender) => outcome,
            outcome = self.keep(changes) => outcome,
        }
    }
}

impl NodeObjects {
    /// `period` is for how long a Node is left alone at least, if it is less than it would be otherwise.
    pub(super) fn new(client: Client, store: Arc<dyn Store>, period: Duration) -> Self {
        Self { client, store, period: period.min(PERIOD) }
    }

    async fn keep(&self, mut changes: mpsc::Receiver<Change>) -> Result<Infallible, TellError> {
        let ranges = [keys::pools(), keys::all_blocks(), keys::all_alive()];
        let mut view = View::default();
        let revision = self.read(&ranges, &mut view).await?;
        let mut watch = self.store.watch(&ranges, revision + 1).await?;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut period = interval(self.period);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = Instant::now();
        loop {
            tokio::select! {
                event = watch.recv() => view.hear(&event.ok_or(TellError::Ended)??),
                change = changes.recv() => view.change(change.ok_or(TellError::Ended)?),
                _ = period.tick(), if view.queue.is_empty() => view.queue_all(),
                () = sleep_until(next), if view.has_next() => {
                    if let Some((name, free)) = view.next() {
                        tell_one(&nodes, &mut view, name, free).await?;
                        next = Instant::now() + PACE;
                    }
                }
            }
        }
    }

    /// Reads what there is, part by part: of mirrors only the numbers are kept. What changes meanwhile is watched from the
    /// revision on that this answers.
    async fn read(&self, ranges: &[KeyRange], view: &mut View) -> Result<Revision, TellError> {
        let mut revision = Revision::MAX;
        for range in ranges {
            let mut pages = Pages::of(self.store.as_ref(), range.clone(), READ);
            while let Some(page) = pages.next().await? {
                revision = revision.min(page.revision);
                page.items.into_iter().for_each(|entry| view.hear(&Event::Put(entry)));
            }
        }
        Ok(revision)
    }
}

/// Tells a Node its numbers. One that the API server does not take is tried again in the next period.
async fn tell_one(nodes: &Api<Node>, view: &mut View, name: NodeName, free: String) -> Result<(), TellError> {
    let Some(seen) = view.nodes.get(&name) else { return Ok(()) };
    match write(nodes, &name, seen, &free).await {
        Ok(()) => view.told(&name, free),
        Err(error) if error.is_of_object() => {
            tracing::debug!(node = %name, error = chain(&error), "a Node is not told of");
            view.changed.insert(name);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A new Node may have the taint, and loses it first.
async fn write(nodes: &Api<Node>, name: &NodeName, seen: &Seen, free: &str) -> Result<(), TellError> {
    if seen.told.is_none() {
        taint::remove(nodes, name.as_str()).await?;
        common::fault::point("kubernetes.taint.removed");
    }
    let patch = json!({"metadata": {"uid": seen.uid, "annotations": {FREE: free}}});
    merge(nodes, name.as_str(), patch).await
}

/// Changes a Node by a merge patch (RFC 7396).
async fn merge(nodes: &Api<Node>, name: &str, patch: Value) -> Result<(), TellError> {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    answer(nodes.patch_metadata(name, &params, &Patch::Merge(patch))).await.map(drop)
}

/// What is known, and what is to be looked at.
#[derive(Default)]
struct View {
    stock: Stock,
    alive: BTreeSet<NodeName>,
    nodes: BTreeMap<NodeName, Seen>,
    /// New Nodes, which wait for pods: at once.
    urgent: BTreeSet<NodeName>,
    /// With the next period.
    changed: BTreeSet<NodeName>,
    /// In this one.
    queue: VecDeque<NodeName>,
}

impl View {
    fn hear(&mut self, event: &Event) {
        let Some(name) = keys::parse_alive(event.key()) else {
            self.changed.extend(self.stock.hear(event));
            return;
        };
        match event {
            Event::Put(_) => {
                self.alive.insert(name.clone());
                self.see(name);
            }
            Event::Delete(..) => {
                self.alive.remove(&name);
            }
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::All(nodes) => {
                self.nodes = nodes;
                self.nodes.keys().cloned().collect::<Vec<_>>().into_iter().for_each(|name| self.see(name));
            }
            Change::There(name, seen) => {
                self.nodes.insert(name.clone(), seen);
                self.see(name);
            }
            Change::Gone(name) => {
                self.nodes.remove(&name);
            }
        }
    }

    /// Something of a Node, or of its coild, is new.
    fn see(&mut self, name: NodeName) {
        if self.is_new(&name) && self.alive.contains(&name) {
            self.urgent.insert(name);
        } else {
            self.changed.insert(name);
        }
    }

    fn queue_all(&mut self) {
        self.queue = std::mem::take(&mut self.changed).into_iter().collect();
    }

    fn has_next(&self) -> bool {
        !(self.urgent.is_empty() && self.queue.is_empty())
    }

    /// The next Node that is to be told something, and what.
    fn next(&mut self) -> Option<(NodeName, String)> {
        while let Some(name) = self.urgent.pop_first().or_else(|| self.queue.pop_front()) {
            if let Some(free) = self.news(&name) {
                return Some((name, free));
            }
        }
        None
    }

    /// Whether a Node was never told anything.
    fn is_new(&self, name: &NodeName) -> bool {
        self.nodes.get(name).is_some_and(|seen| seen.told.is_none())
    }

    /// What a Node is to be told. One that is new is told something when its coild is there.
    fn news(&self, name: &NodeName) -> Option<String> {
        let seen = self.nodes.get(name)?;
        let free = self.stock.of(name);
        let is_news = match &seen.told {
            Some(told) => *told != free,
            None => self.alive.contains(name),
        };
        is_news.then_some(free)
    }

    fn told(&mut self, name: &NodeName, free: String) {
        if let Some(seen) = self.nodes.get_mut(name) {
            seen.told = Some(free);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::store::record::{self, Alive};
    use common::store::{Entry, Txn};

    fn node(name: &str) -> NodeName {
        NodeName::new(name).expect("name")
    }

    fn seen(told: Option<&str>) -> Seen {
        Seen { uid: "u".to_owned(), told: told.map(str::to_owned) }
    }

    fn alive(name: &str) -> Event {
        let value = record::encode(&Alive { instance: "i".to_owned() });
        Event::Put(Entry { key: keys::alive(&node(name)), value, create_revision: 1, mod_revision: 1 })
    }

    fn block(of: &str, revision: Revision, held: usize) -> Event {
        let held: Vec<_> = (0..held).map(|offset| json!({"o": offset})).collect();
        let value = json!({"v": 1, "prefix": 28, "held": held}).to_string().into();
        let key = format!("block/{of}/default/4-0a000010");
        Event::Put(Entry { key, value, create_revision: 1, mod_revision: revision })
    }

    fn view() -> View {
        let mut view = View::default();
        let pool = common::ipam::Pool::of_subnets(vec!["10.0.0.0/24".parse().expect("subnet")]);
        let key = "pool/default".to_owned();
        let entry = Entry { key, value: record::encode(&pool), create_revision: 1, mod_revision: 1 };
        view.hear(&Event::Put(entry));
        view
    }

    /// What is written to Nodes in one period, in order.
    fn period(view: &mut View) -> Vec<(String, String, bool)> {
        let mut written = Vec::new();
        while let Some((name, free)) = view.next() {
            let is_new = view.is_new(&name);
            view.told(&name, free.clone());
            written.push((name.to_string(), free, is_new));
        }
        view.queue_all();
        written
    }

    #[test]
    fn a_new_node_is_told_at_once_when_it_is_alive_and_there() {
        let one = |free: &str| vec![("n1".to_owned(), free.to_owned(), true)];
        let mut view = view();
        view.hear(&alive("n1"));
        assert!(period(&mut view).is_empty(), "Kubernetes has no such Node");
        view.change(Change::There(node("n1"), seen(None)));
        assert!(view.urgent.contains(&node("n1")));
        assert_eq!(period(&mut view), one("{}"));
        view.change(Change::Gone(node("n1")));
        view.change(Change::There(node("n1"), seen(None)));
        assert_eq!(period(&mut view), one("{}"), "it was registered anew");
        // The other way round.
        view.change(Change::All(BTreeMap::from([(node("n2"), seen(None))])));
        view.hear(&block("n2", 2, 1));
        assert!(period(&mut view).is_empty() && period(&mut view).is_empty(), "it is not alive");
        view.hear(&alive("n2"));
        assert_eq!(period(&mut view), [("n2".to_owned(), r#"{"default":{"ipv4":15}}"#.to_owned(), true)]);
    }

    #[test]
    fn what_has_not_changed_is_not_written() {
        let mut view = view();
        let told = r#"{"default":{"ipv4":16}}"#;
        let names: Vec<NodeName> = (0..5_000).map(|n| node(&format!("n{n}"))).collect();
        for name in &names {
            view.hear(&block(name.as_str(), 2, 0));
            view.hear(&alive(name.as_str()));
        }
        view.change(Change::All(names.iter().map(|name| (name.clone(), seen(Some(told)))).collect()));
        assert!(period(&mut view).is_empty() && period(&mut view).is_empty());
        // Heartbeats are no changes.
        view.change(Change::There(node("n7"), seen(Some(told))));
        // Three changes of one node are one write.
        (3..6).for_each(|revision| view.hear(&block("n8", revision, 1)));
        // What somebody else has written is put right.
        view.change(Change::There(node("n9"), seen(Some("x"))));
        assert!(period(&mut view).is_empty(), "not before the next period");
        let written = period(&mut view);
        let names: Vec<_> = written.iter().map(|(name, _, is_new)| (name.as_str(), *is_new)).collect();
        assert_eq!(names, [("n8", false), ("n9", false)], "{written:?}");
        assert_eq!(written[1].1, told);
    }

    #[tokio::test]
    async fn all_that_the_store_has_is_read() {
        let store = common::store::embedded::Embedded::in_memory().await.expect("store");
        for part in (0..2 * READ).collect::<Vec<_>>().chunks(Txn::MAX) {
            let put = |txn: Txn, n: &usize| {
                let Event::Put(entry) = block(&format!("n{n}"), 1, 0) else { unreachable!() };
                txn.then(common::store::Op::Put(entry.key, entry.value))
            };
            store.txn(part.iter().fold(Txn::new(), put)).await.expect("written");
        }
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().expect("URL")));
        let objects = NodeObjects::new(client.expect("client"), Arc::new(store), PERIOD);
        let mut view = view();
        let revision = objects.read(&[keys::all_blocks()], &mut view).await.expect("read");
        assert_eq!(view.changed.len(), 2 * READ);
        assert_eq!(revision, objects.store.list(&keys::pools(), 1).await.expect("read").revision);
    }
}
