//! Lists, and watches that go on from them.

use super::request::{Parameters, Refusal, metadata};
use super::state::{Kind, State, World};
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, timeout_at};

/// Objects in one answer, however many are asked for.
const PAGE: usize = 2;

fn is_chosen(object: &Value, parameters: &Parameters) -> bool {
    let Some(selector) = parameters.get("labelSelector") else { return true };
    selector.split_once('=').is_some_and(|(label, value)| object["metadata"]["labels"][label] == *value)
}

/// Of what is not chosen by a label only the metadata is told.
fn is_whole(parameters: &Parameters) -> bool {
    parameters.contains_key("labelSelector")
}

fn told(object: &Value, parameters: &Parameters) -> Value {
    if is_whole(parameters) { object.clone() } else { metadata(object) }
}

/// A page of a list. All its pages are of the first one's revision: what has happened since is told by a watch.
pub(super) fn list(state: &State, kind: Kind, parameters: &Parameters) -> Value {
    let token = parameters.get("continue").and_then(|token| token.split_once(' '));
    let (revision, after) =
        token.map_or((state.revision.to_string(), ""), |(at, after)| (at.to_owned(), after));
    let name = |(_, namespace, name): &(Kind, String, String)| format!("{namespace}/{name}");
    let mut rest = state.of(kind).filter(|(key, _)| *name(key) > *after);
    let mut chosen = rest.by_ref().filter(|(_, object)| is_chosen(object, parameters)).peekable();
    let (mut items, mut last) = (Vec::new(), String::new());
    while items.len() < PAGE
        && let Some((key, object)) = chosen.next()
    {
        last = name(key);
        let mut object = told(object, parameters);
        if let Some(object) = object.as_object_mut().filter(|_| is_whole(parameters)) {
            object.retain(|field, _| field != "kind" && field != "apiVersion");
        }
        items.push(object);
    }
    let next = if chosen.peek().is_some() { format!("{revision} {last}") } else { String::new() };
    let (word, api) = if is_whole(parameters) {
        (format!("{}List", kind.word()), kind.api())
    } else {
        ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1")
    };
    json!({
        "kind": word, "apiVersion": api, "items": items,
        "metadata": {"resourceVersion": revision, "continue": next},
    })
}

struct Watcher {
    world: Arc<World>,
    changes: Receiver<()>,
    kind: Kind,
    parameters: Parameters,
    /// What was told.
    at: u64,
    end: Instant,
    ended: bool,
}

pub(super) fn watch(world: Arc<World>, kind: Kind, parameters: &Parameters) -> Response {
    let number = |name| parameters.get(name).and_then(|text: &String| text.parse::<u64>().ok());
    let watcher = Watcher {
        changes: world.changes(),
        world,
        kind,
        parameters: parameters.clone(),
        at: number("resourceVersion").unwrap_or_default(),
        end: Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(300)),
        ended: false,
    };
    let events = unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        let line = Bytes::from(format!("{event}\n"));
        Some((Ok::<_, Infallible>(line), watcher))
    });
    Body::from_stream(events).into_response()
}

impl Watcher {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if self.ended {
                return None;
            }
            // What changes from here on is waited for.
            self.changes.mark_unchanged();
            match self.world.read(|state| self.look(state)) {
                Next::Event(revision, event, delay) => {
                    self.at = revision;
                    sleep(delay).await;
                    return Some(event);
                }
                Next::Gone => {
                    self.ended = true;
                    self.world.change(|state| state.expired += 1);
                    let gone = Refusal(410, "Expired", "too old resource version".to_owned());
                    return Some(json!({"type": "ERROR", "object": gone.body()}));
                }
                Next::Nothing => {}
            }
            if !matches!(timeout_at(self.end, self.changes.changed()).await, Ok(Ok(()))) {
                return None;
            }
        }
    }

    fn look(&self, state: &State) -> Next {
        if state.stuck.contains(&self.kind) {
            return Next::Nothing;
        }
        if self.at < state.compacted {
            return Next::Gone;
        }
        let mut news =
            state.history.iter().filter(|event| event.revision > self.at && event.kind == self.kind);
        let event = news.find(|event| is_chosen(&event.object, &self.parameters));
        event.map_or(Next::Nothing, |event| {
            let told = json!({"type": event.what, "object": told(&event.object, &self.parameters)});
            Next::Event(event.revision, told, state.delay)
        })
    }
}

/// What a watch tells next.
enum Next {
    /// Of which revision, and how long that takes.
    Event(u64, Value, Duration),
    Gone,
    Nothing,
}
