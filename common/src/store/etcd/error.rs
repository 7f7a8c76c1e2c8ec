//! What an etcd error means for the one who called.

use crate::store::{Revision, StoreError};
use etcd_client::Error;
use std::time::Duration;
use tonic::{Code, ConnectError, Status};

/// What to do about a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The request was never sent: any other member will do as well.
    NotSent,
    /// The member did not answer, or can't: what it did with the request is unknown.
    Unknown,
    /// The token has expired or is older than the last change of users: authenticate, and try again.
    Unauthenticated,
    /// The cluster has answered.
    Final,
}

/// What etcd says when a token is missing, unknown, expired, or older than the last change of users.
const STALE: [&str; 3] = [
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
    "etcdserver: user name is empty",
];
const NO_SUCH_LEASE: &str = "etcdserver: requested lease not found";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const NO_AUTH: &str = "etcdserver: authentication is not enabled";
const BUSY: &str = "etcdserver: too many requests";

pub(super) fn verdict(error: &Error) -> Verdict {
    let Error::GRpcStatus(status) = error else {
        return match error {
            Error::IoError(_) => Verdict::Unknown,
            _ => Verdict::Final,
        };
    };
    if is_stale(status) {
        return Verdict::Unauthenticated;
    }
    match status.code() {
        _ if caused_by_connect(status) => Verdict::NotSent,
        _ if status.message().starts_with(BUSY) => Verdict::Unknown,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => Verdict::Unknown,
        // What hyper says of a connection that broke.
        Code::Unknown | Code::Internal if std::error::Error::source(status).is_some() => Verdict::Unknown,
        _ => Verdict::Final,
    }
}

fn is_stale(status: &Status) -> bool {
    status.code() == Code::Unauthenticated || STALE.iter().any(|text| status.message().starts_with(text))
}

/// Whether the cluster asks nobody for a password.
pub(super) fn is_auth_disabled(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().starts_with(NO_AUTH))
}

fn caused_by_connect(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The answer of a call at a revision (0 if it names none), as the trait says it.
pub(super) fn store_error(endpoint: &str, error: &Error, revision: Revision) -> StoreError {
    if let Error::LeaseKeepAliveError(text) = error
        && text.contains("not found")
    {
        return StoreError::UnknownTtl;
    }
    if let Error::GRpcStatus(status) = error {
        if status.message().starts_with(NO_SUCH_LEASE) {
            return StoreError::UnknownTtl;
        }
        if status.message().starts_with(COMPACTED) {
            return StoreError::Compacted(revision);
        }
    }
    // In one line, as most of the errors in between only say that there is an error.
    let reason = format!("{endpoint}: {}", cause(error));
    match verdict(error) {
        Verdict::NotSent | Verdict::Unknown => StoreError::Unavailable { reason, source: None },
        Verdict::Unauthenticated | Verdict::Final => StoreError::Refused { reason, source: None },
    }
}

/// What it is, and what it comes from.
fn cause(error: &Error) -> String {
    let (text, source) = match error {
        Error::GRpcStatus(status) => (status.message().to_owned(), std::error::Error::source(status)),
        Error::TransportError(error) => (error.to_string(), std::error::Error::source(error)),
        other => (other.to_string(), None),
    };
    let root = std::iter::successors(source, |error| error.source()).last().map(ToString::to_string);
    match root.filter(|root| !text.contains(root.as_str())) {
        Some(root) => format!("{text}: {root}"),
        None => text,
    }
}

pub(super) fn timed_out(endpoint: &str, after: Duration) -> StoreError {
    StoreError::Unavailable { reason: format!("{endpoint}: no answer within {after:?}"), source: None }
}
