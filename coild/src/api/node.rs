//! The node as a whole: status, health, metrics, and garbage collection of a network.

use super::{ApiError, Context};
use crate::lease_keeper::Want;
use crate::metrics::CONTENT_TYPE;
use crate::state::{Need, PoolSummary, Summary};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Query, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Json};
use common::ipam::Family;
use common::name::PoolName;
use common::server::parse_object;
use common::wire::node::{AttachmentId, CollectReply, CollectRequest, StatusReply};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// `GET /status`
pub(super) async fn status(State(context): State<Context>) -> Result<Json<StatusReply>, ApiError> {
    Ok(Json(context.sources.allocator.run(|state, _| state.status()).await?))
}

/// `POST /gc`
pub(super) async fn collect(
    State(context): State<Context>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<CollectReply>, ApiError> {
    let request: CollectRequest = parse_object(&body?).map_err(ApiError::Malformed)?;
    let valid: HashSet<AttachmentId> = request.valid_attachments.into_iter().collect();
    let network = request.network.clone();
    let freed = context.sources.allocator.run(move |state, now| state.collect(&network, &valid, now)).await?;
    tracing::info!(network = request.network, freed = freed.len(), "garbage collected");
    Ok(Json(CollectReply { freed, status: 200 }))
}

/// `GET /healthz`: the process serves.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Readiness {
    pool: Option<PoolName>,
    address_type: Option<String>,
}

/// `GET /readyz` where nothing may be asked for: the journal works.
pub(super) async fn answers(State(context): State<Context>) -> Result<&'static str, ApiError> {
    context.sources.allocator.run(|state, now| state.summary(now)).await?;
    Ok("ok\n")
}

/// `GET /readyz`: the journal works. With `pool` or `address-type` (families, separated by commas): and there
/// is an address to give.
pub(super) async fn readyz(State(context): State<Context>, uri: Uri) -> Result<&'static str, ApiError> {
    let Query(asked) = Query::<Readiness>::try_from_uri(&uri)
        .map_err(|error| ApiError::Malformed(format!("the query is invalid: {}", error.body_text())))?;
    let summary = context.sources.allocator.run(|state, now| state.summary(now)).await?;
    if asked.pool.is_none() && asked.address_type.is_none() {
        return Ok("ok\n");
    }
    for family in asked.address_type.as_deref().unwrap_or("ipv4").split(',') {
        let family = match family {
            "ipv4" => Family::V4,
            "ipv6" => Family::V6,
            other => {
                return Err(ApiError::Malformed(format!("address-type: {other:?} is neither ipv4 nor ipv6")));
            }
        };
        can_give(&context, &summary, asked.pool.clone(), family).await?;
    }
    Ok("ok\n")
}

async fn can_give(
    context: &Context,
    summary: &Summary,
    pool: Option<PoolName>,
    family: Family,
) -> Result<(), ApiError> {
    let default = PoolName::default_pool();
    let named = pool.is_some();
    let chosen = |name: &PoolName| match &pool {
        Some(pool) => name == pool,
        // Without a name any pool will do, as the namespaces may have pools of their own.
        None => true,
    };
    let mut candidates: Vec<(&PoolName, &PoolSummary)> = summary
        .pools
        .iter()
        .filter_map(|((id, of), counts)| Some((id.coil().filter(|_| *of == family)?, counts)))
        .filter(|(name, _)| chosen(name))
        .collect();
    if !named && candidates.iter().any(|(name, _)| **name == default) {
        candidates.retain(|(name, _)| **name == default);
    }
    let give = |counts: &PoolSummary| counts.available + counts.resting > 0;
    if candidates.iter().any(|(_, counts)| give(counts)) {
        return Ok(());
    }
    let mut reason = format!("no pool has {family} addresses");
    for (name, _) in candidates {
        let want = Want::Any(Need { pool: name.clone(), family });
        match tokio::time::timeout(LEASE_TIME, context.sources.leases.want(want)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => reason = common::error::chain(&error),
            Err(_) => reason = format!("no block of pool {name} could be leased in time"),
        }
    }
    Err(ApiError::NotReady(pool.map_or(reason.clone(), |pool| format!("pool {pool}: {reason}"))))
}

/// How long readiness waits for a block to be leased.
const LEASE_TIME: Duration = Duration::from_secs(2);

/// `GET /metrics`
pub(super) async fn metrics(State(context): State<Context>) -> Result<impl IntoResponse, ApiError> {
    let allocator = &context.sources.allocator;
    let summary = allocator.run(|state, now| state.summary(now)).await?;
    let signals = allocator.signals();
    let commits = signals.commits.load(Ordering::Relaxed);
    let failed = signals.failed_commits.load(Ordering::Relaxed);
    let text = context.metrics.render(&summary, commits, failed);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}
