//! What every reply of either API must be.

use serde_json::Value;

/// A failure has a body that says why, and none of them is the server's own.
pub(super) fn check(request: &str, status: u16, body: &str, may_be_unavailable: bool) {
    assert!(status < 500 || (status == 503 && may_be_unavailable), "{request}: {status} {body}");
    if status < 400 {
        return;
    }
    let failure: Value = serde_json::from_str(body)
        .unwrap_or_else(|_| panic!("{request}: the body of a {status} is not JSON: {body:?}"));
    assert_eq!(failure["status"], status, "{request}: {body}");
    assert!(failure["error"].as_str().is_some_and(|error| !error.is_empty()), "{request}: {body}");
}
