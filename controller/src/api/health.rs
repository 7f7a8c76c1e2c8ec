//! What monitors ask.

use super::route::{READ, Route, Rule};
use super::{ApiError, Context};
use crate::error::Error;
use crate::metrics;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use common::store::keys;

pub(super) fn routes() -> Vec<Route> {
    let text = "text/plain; charset=utf-8";
    vec![
        Route::get("/healthz", Rule::Public, healthz)
            .summary("Whether the process serves")
            .answers_with::<String>(text, "it does"),
        Route::get("/readyz", Rule::Public, readyz)
            .summary("Whether the store answers")
            .answers_with::<String>(text, "it does"),
        Route::get("/metrics", READ, metrics)
            .summary("Numbers for Prometheus")
            .answers_with::<String>(metrics::CONTENT_TYPE, "the numbers"),
    ]
}

/// `GET /healthz`: the process serves.
async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the store answers.
async fn readyz(State(context): State<Context>) -> Result<&'static str, ApiError> {
    context.store.get(keys::SCHEMA).await.map_err(Error::from)?;
    Ok("ok\n")
}

/// `GET /metrics`
async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    let text = metrics::render(context.store.as_ref()).await;
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
}
