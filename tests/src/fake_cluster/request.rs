//! What is asked, parsed strictly.

use super::TOKEN;
use super::apply::{Apply, apply};
use super::log::log;
use super::state::{Key, Kind, World, is_doomed};
use super::watch::{list, watch};
use crate::strict;
use anyhow::{Context, Result, bail, ensure};
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) type Parameters = BTreeMap<String, String>;

/// Why something is refused, as an API server says it.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str, pub(super) String);

impl Refusal {
    pub(super) fn body(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": self.1,
            "message": self.2, "code": self.0,
        })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (code, Json(self.body())).into_response()
    }
}

/// What is asked for.
enum Asked {
    List(Kind, Parameters),
    Watch(Kind, Parameters),
    Get(Key),
    Patch(Key, Apply),
    Delete(Key, Option<String>),
    Log(String, String, Parameters),
}

impl Asked {
    /// Verb and resource.
    fn what(&self) -> String {
        match self {
            Self::List(kind, _) => format!("LIST {}", kind.plural()),
            Self::Watch(kind, _) => format!("WATCH {}", kind.plural()),
            Self::Get(key) => format!("GET {}", key.0.plural()),
            Self::Patch(key, _) => format!("PATCH {}", key.0.plural()),
            Self::Delete(key, _) => format!("DELETE {}", key.0.plural()),
            Self::Log(..) => "GET log".to_owned(),
        }
    }
}

pub(super) async fn serve(
    State(world): State<Arc<World>>,
    method: Method,
    uri: Uri,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked = match parse(&method, uri.path(), parameters, &headers, &body) {
        Ok(asked) => asked,
        Err(error) => {
            let wrong = format!("{method} {uri}: {error:#}: {}", String::from_utf8_lossy(&body));
            world.change(|state| state.wrong.push(wrong.clone()));
            return Refusal(400, "BadRequest", wrong).into_response();
        }
    };
    let what = asked.what();
    if let Some(code) = world.change(|state| state.fault(&what)) {
        let reason = if code == 409 { "Conflict" } else { "InternalError" };
        return Refusal(code, reason, format!("{what} fails")).into_response();
    }
    match asked {
        Asked::List(kind, parameters) => {
            Json(world.read(|state| list(state, kind, &parameters))).into_response()
        }
        Asked::Watch(kind, parameters) => watch(world, kind, &parameters),
        Asked::Get(key) => answer(world.read(|state| {
            let found = state.get(&key).map(metadata);
            found.ok_or_else(|| Refusal(404, "NotFound", format!("{} not found", key.2)))
        })),
        Asked::Patch(key, wanted) => answer(world.change(|state| apply(state, &key, wanted))),
        Asked::Delete(key, uid) => answer(world.change(|state| {
            let Some(object) = state.get(&key) else {
                return Err(Refusal(404, "NotFound", format!("{} not found", key.2)));
            };
            if uid.is_some_and(|uid| object["metadata"]["uid"] != *uid) {
                return Err(Refusal(409, "Conflict", "the UID in the precondition is another".to_owned()));
            }
            // A namespace goes by and by.
            if key.0 == Kind::Namespace {
                state.doom(&key);
            } else {
                state.remove(&key);
            }
            Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
        })),
        Asked::Log(namespace, pod, parameters) => log(world, &namespace, &pod, &parameters),
    }
}

fn answer(outcome: Result<Value, Refusal>) -> Response {
    match outcome {
        Ok(object) => Json(object).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

pub(super) fn metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn parse(
    method: &Method,
    path: &str,
    parameters: Parameters,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Asked> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ensure!(header(header::AUTHORIZATION) == format!("Bearer {TOKEN}"), "unauthorized");
    let segments: Vec<&str> = path.strip_prefix('/').context("a path")?.split('/').collect();
    let of = |api: &[&str], plural: &str| {
        let group = if api == ["api", "v1"] { "v1" } else { "apps/v1" };
        let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == plural && kind.api() == group);
        kind.with_context(|| format!("no resource {plural} in {group}"))
    };
    let allow = |names: &[&str]| {
        let odd = parameters.keys().find(|name| !names.contains(&name.as_str()));
        odd.map_or(Ok(()), |name| bail!("parameter {name}"))
    };
    let (api, rest) = match &*segments {
        ["api", "v1", rest @ ..] => (&segments[..2], rest),
        ["apis", "apps", "v1", rest @ ..] => (&segments[..3], rest),
        _ => bail!("no such path"),
    };
    let key = match rest {
        [plural] => {
            ensure!(method == Method::GET, "a verb that is not expected");
            let kind = of(api, plural)?;
            is_narrow(kind, &parameters, header(header::ACCEPT))?;
            if parameters.get("watch").is_some_and(|watch| watch == "true") {
                let names =
                    ["watch", "timeoutSeconds", "labelSelector", "allowWatchBookmarks", "resourceVersion"];
                allow(&names)?;
                return Ok(Asked::Watch(kind, parameters));
            }
            ensure!(parameters.contains_key("limit"), "all at once");
            allow(&["labelSelector", "limit", "continue"])?;
            return Ok(Asked::List(kind, parameters));
        }
        ["namespaces", namespace, "pods", pod, "log"] => {
            ensure!(method == Method::GET, "a verb that is not expected");
            allow(&["container", "follow"])?;
            return Ok(Asked::Log((*namespace).to_owned(), (*pod).to_owned(), parameters));
        }
        ["namespaces", name] => (of(api, "namespaces")?, String::new(), (*name).to_owned()),
        ["namespaces", namespace, plural @ ("deployments" | "services"), name] => {
            (of(api, plural)?, (*namespace).to_owned(), (*name).to_owned())
        }
        _ => bail!("no such path"),
    };
    match *method {
        Method::GET => {
            allow(&[])?;
            ensure!(header(header::ACCEPT).contains("as=PartialObjectMetadata;"), "more than metadata");
            Ok(Asked::Get(key))
        }
        Method::PATCH => {
            allow(&["fieldManager", "force", "fieldValidation"])?;
            ensure!(header(header::CONTENT_TYPE) == "application/apply-patch+yaml", "no apply");
            Ok(Asked::Patch(key.clone(), Apply::parse(&key, &parameters, body)?))
        }
        Method::DELETE => {
            allow(&[])?;
            Ok(Asked::Delete(key, doomed(body)?))
        }
        _ => bail!("a verb that is not expected"),
    }
}

/// Whether only what is the controller's own is asked for; or, of all Namespaces, which may choose pools, the metadata.
fn is_narrow(kind: Kind, parameters: &Parameters, accept: &str) -> Result<()> {
    let metadata = kind == Kind::Namespace && accept.contains("as=PartialObjectMetadata");
    ensure!(metadata != parameters.contains_key("labelSelector"), "more than its own, or than metadata");
    Ok(())
}

/// The `uid` of the only object that may be deleted.
fn doomed(body: &[u8]) -> Result<Option<String>> {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;
    let options: DeleteOptions = strict::parsed(&serde_json::from_slice(body)?)?;
    ensure!(options.propagation_policy.as_deref() == Some("Background"), "{options:?}");
    let uid = options.preconditions.and_then(|preconditions| preconditions.uid);
    ensure!(uid.is_some(), "whatever has that name is deleted");
    Ok(uid)
}

/// Whether a namespace takes something new.
pub(super) fn takes(namespace: Option<&Value>, name: &str) -> Result<(), Refusal> {
    match namespace {
        None => Err(Refusal(404, "NotFound", format!("namespaces {name:?} not found"))),
        Some(namespace) if is_doomed(namespace) => {
            Err(Refusal(403, "Forbidden", format!("namespace {name} is being terminated")))
        }
        Some(_) => Ok(()),
    }
}
