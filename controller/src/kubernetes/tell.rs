//! That one controller of several tells Kubernetes something, as long as the store and the API server let it.
//!
//! Whatever is told is told so that it does no harm to tell it twice: the turn only spares the others the work. A controller
//! that can't go on gives its turn up, as another one may be able to.

use super::is_too_old;
use crate::turn::Turn;
use common::error::chain;
use common::store::{Store, StoreError};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Time for an answer of the API server.
const ANSWER: Duration = Duration::from_secs(15);
/// How often a controller asks whether it is its turn.
const ASK: Duration = Duration::from_secs(2);
/// Shortest and longest pause after a failure.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];

/// Why nothing is told any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum TellError {
    #[error("the API server of Kubernetes")]
    Kubernetes(#[from] kube::Error),
    #[error("the API server of Kubernetes does not answer")]
    Silent,
    #[error("the store")]
    Store(#[from] StoreError),
    #[error("the watch has ended")]
    Ended,
}

impl TellError {
    /// Whether the API server answers, and it is only this object that it does not take.
    pub(super) fn is_of_object(&self) -> bool {
        let Self::Kubernetes(kube::Error::Api(status)) = self else { return false };
        matches!(status.code, 400..500) && !matches!(status.code, 401 | 403 | 429)
    }

    /// Whether what a watch was to go on from is too long ago.
    pub(super) fn is_too_old(&self) -> bool {
        matches!(self, Self::Kubernetes(kube::Error::Api(status)) if is_too_old(status))
    }

    /// Whether the API server does not allow it.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Kubernetes(kube::Error::Api(status)) if status.code == 403)
    }
}

/// What Kubernetes is told.
pub(super) trait Telling: Sync {
    /// The key of the turn.
    const TURN: &str;
    /// What goes without saying while it fails.
    const WHAT: &str;

    /// Tells it until that fails.
    fn tell(&self) -> impl Future<Output = Result<Infallible, TellError>> + Send;
}

/// Tells something whenever it is this controller's turn, for ever.
pub(super) async fn keep_telling<T: Telling>(store: &dyn Store, telling: &T) {
    let [shortest, longest] = PAUSES;
    let mut pause = shortest;
    loop {
        let started = Instant::now();
        let error = match Turn::take(store, T::TURN).await {
            Ok(Some(turn)) => {
                let error = tokio::select! {
                    outcome = telling.tell() => match outcome {
                        Ok(never) => match never {},
                        Err(error) => error,
                    },
                    error = turn.renewed() => error.into(),
                };
                turn.release().await;
                error
            }
            Ok(None) => {
                sleep(ASK).await;
                continue;
            }
            Err(error) => error.into(),
        };
        if started.elapsed() > longest {
            pause = shortest;
        }
        tracing::warn!(error = chain(&error), "{}", T::WHAT);
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// An answer of the API server, if it comes in time.
pub(super) async fn answer<T>(answer: impl Future<Output = Result<T, kube::Error>>) -> Result<T, TellError> {
    Ok(timeout(ANSWER, answer).await.map_err(|_| TellError::Silent)??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn what_is_of_one_object_and_what_of_all() {
        let of = |code: u16| {
            let status = Status { code, ..Status::failure("no", "No") };
            TellError::from(kube::Error::Api(Box::new(status)))
        };
        for code in [400, 404, 409, 413, 422] {
            assert!(of(code).is_of_object(), "{code}");
        }
        for code in [401, 403, 429, 500, 503, 504] {
            assert!(!of(code).is_of_object(), "{code}");
        }
        assert!(!TellError::Silent.is_of_object() && !TellError::Silent.is_forbidden());
        assert!(of(403).is_forbidden() && of(410).is_too_old() && !of(409).is_too_old());
    }
}
