//! The audit log: one line for each change, with who made it, and what was there before and is there after it.

use crate::auth::Caller;
use serde::Serialize;

/// The target of these lines in the log.
pub const TARGET: &str = "audit";

/// Tells of a change, right after it was made. `before` and `after` are what was changed, `None` where there was or
/// is nothing; nothing in them may be secret.
pub fn changed(who: &Caller, what: &str, before: &impl Serialize, after: &impl Serialize) {
    tracing::info!(
        target: TARGET,
        who = who.name, from = %who.peer, request = who.request, what,
        before = json(before), after = json(after),
        "changed"
    );
}

/// JSON has no line breaks, whatever the texts in it.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("not JSON: {error}"))
}
