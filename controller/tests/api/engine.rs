//! An engine that runs nothing, and has the log of one container.

use async_trait::async_trait;
use controller::lastbackend::engine::{Engine, EngineError, Pod, Step};
use controller::lastbackend::logs::LogFile;
use std::path::PathBuf;
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

    async fn pods(&self, _: &str) -> Result<Vec<Pod>, EngineError> {
        Ok(Vec::new())
    }

    async fn take(&self, _: &str, _: &Step) -> Result<(), EngineError> {
        Ok(())
    }

    async fn tidy(&self, _: &[Pod]) {}

    async fn log(&self, container: &str) -> Result<Option<LogFile>, EngineError> {
        Ok((container == self.container).then(|| LogFile::new(&self.path)))
    }

    async fn has_ended(&self, _: &str) -> Result<bool, EngineError> {
        Ok(self.ended.load(Ordering::SeqCst))
    }
}
