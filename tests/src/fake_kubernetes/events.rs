//! Events, which are applied as a whole.

use super::{Shared, lock, status};
use crate::strict;
use anyhow::{Context, Result, ensure};
use axum::body::Bytes;
use axum::extract::{Path as PathOf, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use k8s_openapi::api::core::v1::Event;
use serde_json::Value;
use std::collections::BTreeMap;

/// Applies an Event.
pub(super) async fn patch(
    State(objects): State<Shared>,
    PathOf((namespace, name)): PathOf<(String, String)>,
    Query(parameters): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut objects = lock(&objects);
    let parsed = || -> Result<Value> {
        let kind = headers.get(header::CONTENT_TYPE).context("a type")?;
        ensure!(kind == "application/apply-patch+yaml", "no apply");
        let wanted = [("fieldManager", "coil-controller"), ("fieldValidation", "Strict"), ("force", "true")];
        ensure!(parameters.iter().map(|(name, value)| (&**name, &**value)).eq(wanted), "{parameters:?}");
        let event: Value = serde_json::from_slice(&body)?;
        check(&strict::parsed(&event)?, &namespace, &name)?;
        Ok(event)
    };
    match parsed() {
        Ok(event) => {
            objects.applied_events += 1;
            objects.events.insert((namespace, name), event.clone());
            Json(event).into_response()
        }
        Err(error) => {
            objects.wrong.push(format!("{error:#}: {}", String::from_utf8_lossy(&body)));
            status(StatusCode::BAD_REQUEST, "BadRequest")
        }
    }
}

/// What an API server asks of an Event of `v1`, and whoever describes a pod.
fn check(event: &Event, namespace: &str, name: &str) -> Result<()> {
    ensure!(event.metadata.name.as_deref() == Some(name) && name.len() <= 253, "its name");
    ensure!(event.metadata.namespace.as_deref() == Some(namespace), "its namespace");
    let pod = &event.involved_object;
    ensure!(pod.namespace.as_deref() == Some(namespace), "of another namespace than the pod");
    ensure!(pod.kind.as_deref() == Some("Pod") && pod.uid.is_some() && pod.name.is_some(), "nobody finds it");
    ensure!(event.event_time.is_none() && event.series.is_none(), "it is one of the newer kind");
    ensure!(event.type_.as_deref() == Some("Warning"), "its type");
    ensure!(event.message.as_ref().is_some_and(|text| text.len() <= 1_024), "its message");
    let (first, last) = (event.first_timestamp.as_ref(), event.last_timestamp.as_ref());
    ensure!(event.count.is_some_and(|count| count > 0) && first.is_some() && first <= last, "when");
    Ok(())
}
