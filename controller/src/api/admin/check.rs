//! `/v1/check`

use crate::api::request::Parameters;
use crate::api::route::{FORCE, READ, Route};
use crate::api::{ApiError, Context};
use crate::auth::Caller;
use crate::check::{self, UNUSED};
use axum::extract::State;
use axum::response::Json;
use common::wire::check::Report;
use std::time::Duration;

pub(super) fn routes() -> Vec<Route> {
    let unused = |route: Route| {
        route.query::<u64>(
            "unused",
            "seconds after which an address that is kept is reported; 7 days if not given",
        )
    };
    vec![
        unused(Route::get("/v1/check", READ, check))
            .summary("Reports what is abnormal: reads all leases for it")
            .answers::<Report>(200, "what was found"),
        unused(Route::post("/v1/check", FORCE, mend))
            .summary("Mends what is abnormal where it is certain that nobody needs it")
            .answers::<Report>(200, "what was found, and what of it was mended"),
    ]
}

async fn check(State(context): State<Context>, mut parameters: Parameters) -> Result<Json<Report>, ApiError> {
    let unused = unused(&mut parameters)?;
    parameters.finish()?;
    Ok(Json(check::check(context.store.as_ref(), unused).await?))
}

async fn mend(
    State(context): State<Context>,
    caller: Caller,
    mut parameters: Parameters,
) -> Result<Json<Report>, ApiError> {
    let unused = unused(&mut parameters)?;
    parameters.finish()?;
    Ok(Json(check::mend(context.store.as_ref(), &caller, unused).await?))
}

fn unused(parameters: &mut Parameters) -> Result<Duration, ApiError> {
    Ok(parameters.take::<u64>("unused")?.map_or(UNUSED, Duration::from_secs))
}
