//! What monitors ask.

use super::{ApiError, Context};
use crate::error::Error;
use crate::metrics;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use common::store::keys;

/// `GET /healthz`: the process serves.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the store answers.
pub(super) async fn readyz(State(context): State<Context>) -> Result<&'static str, ApiError> {
    context.store.get(keys::SCHEMA).await.map_err(Error::from)?;
    Ok("ok\n")
}

/// `GET /metrics`
pub(super) async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    let text = metrics::render(context.store.as_ref()).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
