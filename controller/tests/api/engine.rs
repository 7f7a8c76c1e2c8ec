//! An engine that runs nothing, and has the log of one container.

use async_trait::async_trait;
use controller::lastbackend::engine::{Engine, EngineError, Look, Plan, Running, Source};
use controller::lastbackend::logs::{LogFile, Output, follow_file};
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct OneLog {
    pub(crate) container: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) ended: AtomicBool,
}

#[async_trait]
impl Engine for OneLog {
    fn kind(&self) -> &'static str {
        "test"
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn look(&self, _: &str) -> Result<Vec<Running>, EngineError> {
        Ok(Vec::new())
    }

    async fn changed(&self) {
        pending::<()>().await;
    }

    fn plan(self: Arc<Self>, _: &Look<'_>) -> Plan {
        Plan::default()
    }

    async fn output(self: Arc<Self>, of: &Source, follow: bool) -> Result<Option<Output>, EngineError> {
        let log = (of.container == self.container).then(|| LogFile::new(&self.path));
        Ok(log.map(|log| {
            follow_file(&log, follow, move || {
                let ended = self.ended.load(Ordering::SeqCst);
                Box::pin(async move { ended })
            })
        }))
    }
}
