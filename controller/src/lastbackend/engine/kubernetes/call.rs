//! Requests to the API server, each with a time limit, and what their failures mean.

use crate::lastbackend::engine::EngineError;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Time for an answer, or for the beginning of one that goes on.
const ANSWER: Duration = Duration::from_secs(15);

/// Asks an API server.
#[derive(Debug, Clone)]
pub(super) struct Call {
    server: Arc<str>,
}

type Answer<T> = Result<T, kube::Error>;

impl Call {
    pub(super) fn new(server: &str) -> Self {
        Self { server: server.into() }
    }

    /// The answer to a request; `what` says what it does.
    pub(super) async fn of<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Answer<T>>,
    ) -> Result<T, EngineError> {
        self.raw(what, answer).await?.map_err(|error| self.error(what, error))
    }

    /// The same, with the answer's own error, of which some are expected.
    pub(super) async fn raw<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Answer<T>>,
    ) -> Result<Answer<T>, EngineError> {
        timeout(ANSWER, answer).await.map_err(|_| self.silent(what))
    }

    pub(super) fn silent(&self, what: &str) -> EngineError {
        EngineError::Away(format!("the API server at {} does not answer: {what}", self.server))
    }

    /// What an error means: the API server refuses, or it can't be asked.
    pub(super) fn error(&self, what: &str, error: kube::Error) -> EngineError {
        let server = &self.server;
        match error {
            kube::Error::Api(status) if status.code >= 500 || status.code == 429 => EngineError::Away(
                format!("the API server at {server} fails: {what}: {} ({})", status.message, status.code),
            ),
            kube::Error::Api(status) => {
                EngineError::Refused(format!("{what}: {} ({})", status.message, status.code))
            }
            kube::Error::BuildRequest(error) => EngineError::Refused(format!("{what}: {error}")),
            kube::Error::SerdeError(error) => {
                EngineError::Refused(format!("{what}: the answer is not understood: {error}"))
            }
            error => EngineError::Away(format!(
                "the API server at {server} can't be reached: {what}: {}",
                root(&error)
            )),
        }
    }
}

/// The cause of all: what stands around it says it once more.
fn root<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}
