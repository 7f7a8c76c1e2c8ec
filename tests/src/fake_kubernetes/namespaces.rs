//! The Namespaces.

use super::watched::{Parameters, Watched, serve as serve_watched};
use super::{Objects, Shared};
use crate::strict;
use anyhow::Result;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::json;
use std::collections::BTreeMap;

/// Makes one, or gives it these annotations and no others.
pub(super) fn set(all: &mut Watched, name: &str, annotations: &[(&str, &str)]) -> Result<()> {
    let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {
        "name": name, "uid": format!("uid-{name}"), "labels": {"kubernetes.io/metadata.name": name},
        "annotations": annotations,
    }});
    strict::parsed::<Namespace>(&namespace)?;
    all.put(name, namespace);
    Ok(())
}

pub(super) async fn serve(
    State(objects): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<Parameters>,
) -> Response {
    serve_watched(&objects, |objects: &mut Objects| &mut objects.namespaces, &headers, &query)
}
