//! What every reply of either API must be.

use serde_json::Value;

/// A failure has a body that says why, and none of them is the server's own.
pub(super) fn check(request: &str, status: u16, body: &str, may_be_unavailable: bool) {
    assert!(status < 500 || (status == 503 && may_be_unavailable), "{request}: {status} {body}");
    if status < 400 {
        return;
    }
    if body.starts_with("<?xml") {
        // The tenants' API was asked for it.
        assert!(body.contains(&format!("code=\"{status}\"")), "{request}: {body}");
        return;
    }
    let failure: Value = serde_json::from_str(body)
        .unwrap_or_else(|_| panic!("{request}: the body of a {status} is not JSON: {body:?}"));
    let (code, reason) = told(&failure).unwrap_or_else(|| panic!("{request}: no reason in {body}"));
    assert!(code.is_none_or(|code| code == u64::from(status)), "{request}: {status} {body}");
    assert!(!reason.is_empty(), "{request}: {body}");
}

/// The code, where the body has one, and the reason: each API has a form of its own.
fn told(failure: &Value) -> Option<(Option<u64>, &str)> {
    let text = |object: &Value, key: &str| object.get(key).and_then(Value::as_str).is_some();
    if text(failure, "error") {
        return Some((Some(failure["status"].as_u64()?), failure["error"].as_str()?));
    }
    if text(failure, "Error") {
        return Some((None, failure["Error"].as_str()?));
    }
    if text(failure, "message") {
        return Some((Some(failure["code"].as_u64()?), failure["message"].as_str()?));
    }
    let (_, fault) = failure.as_object()?.iter().next()?;
    Some((Some(fault["code"].as_u64()?), fault["detail"].as_str()?))
}
