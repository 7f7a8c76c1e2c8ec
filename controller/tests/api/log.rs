//! The log of the thread that runs a test, line by line. There is one subscriber for all tests: several that come and
//! go at the same time would hide each other's lines.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Everything that this thread logs from here on, at any level.
pub(crate) struct Log;

impl Log {
    pub(crate) fn capture() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let subscriber = tracing_subscriber::fmt().json().flatten_event(true);
            subscriber.with_max_level(tracing::Level::TRACE).with_writer(|| Writer).init();
        });
        Self
    }

    /// What was logged since it was last taken.
    #[expect(clippy::unused_self, reason = "nothing is logged before there is one")]
    pub(crate) fn take(&self) -> String {
        String::from_utf8(LINES.take()).expect("text")
    }

    /// The audit lines in a log.
    pub(crate) fn audit(text: &str) -> Vec<serde_json::Value> {
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        lines.filter(|line| line["target"] == controller::audit::TARGET).collect()
    }
}

struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
