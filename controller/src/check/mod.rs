//! What is abnormal in the store: found by reading all leases, and mended where it is certain that nobody needs it.
//!
//! * [`scan`]: what there is
//! * [`rules`]: what of it should not be, pure
//!
//! The store changes while it is read. So it is read twice, and what both times is the same, in the same life, was so in
//! between too.

mod rules;
mod scan;

use crate::audit;
use crate::auth::Caller;
use crate::error::Error;
use common::clock;
use common::store::{Store, StoreError};
use common::wire::check::{Finding, Report};
use rules::{Found, findings};
use scan::Scan;
use std::time::Duration;

/// So long an address may be kept for a pod that is away before that is worth a look, unless something else is asked for.
pub const UNUSED: Duration = Duration::from_hours(7 * 24);
/// Findings of one report.
const MAX: usize = 10_000;

/// What is abnormal.
pub async fn check(store: &dyn Store, unused: Duration) -> Result<Report, Error> {
    let (leases, found) = look(store, unused).await?;
    Ok(report(leases, found.into_iter().map(|found| found.finding).collect()))
}

/// Mends what is certain, and reports all that was abnormal.
pub async fn mend(store: &dyn Store, who: &Caller, unused: Duration) -> Result<Report, Error> {
    let (leases, found) = look(store, unused).await?;
    let mut reported = Vec::new();
    let mut outcome = Ok(());
    for Found { mut finding, mend, .. } in found {
        if let Some(txn) = mend.filter(|_| outcome.is_ok()) {
            match store.txn(txn).await {
                Ok(_) => finding.mended = true,
                // It has changed meanwhile.
                Err(StoreError::Conflict) => {}
                Err(error) => outcome = Err(error),
            }
        }
        reported.push(finding);
    }
    let mended: Vec<&Finding> = reported.iter().filter(|finding| finding.mended).collect();
    if !mended.is_empty() {
        audit::changed(who, &format!("check: mended {}", mended.len()), &mended, &());
    }
    outcome?;
    Ok(report(leases, reported))
}

/// What two looks find alike, and how many leases there are.
async fn look(store: &dyn Store, unused: Duration) -> Result<(u64, Vec<Found>), Error> {
    let now = clock::now_millis();
    let scan = Scan::read(store).await?;
    let leases = scan.leases.len() as u64;
    let first = findings(&scan, now, unused);
    if first.is_empty() {
        return Ok((leases, first));
    }
    let mut again = findings(&Scan::read(store).await?, now, unused);
    again.retain(|found| first.contains(found));
    Ok((leases, again))
}

fn report(leases: u64, mut findings: Vec<Finding>) -> Report {
    let found = findings.len() as u64;
    findings.truncate(MAX);
    Report { leases, findings, found }
}
