//! What is shown once, or again whenever it has changed.

use crate::exit::Failure;
use crate::output::Output;
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};
use std::time::Duration;

/// How often the controller is asked.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

/// Whether to go on showing something.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Watch {
    /// Show it again whenever it has changed, until interrupted
    #[arg(short, long)]
    watch: bool,
}

impl Watch {
    /// Asks for something and prints it; `table` writes it for people.
    pub(crate) async fn show<T: Serialize + PartialEq>(
        self,
        output: Output,
        ask: impl AsyncFn() -> Result<T, Failure>,
        table: impl Fn(&mut dyn Write, &T) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut shown = None;
        loop {
            let now = ask().await?;
            if shown.as_ref() != Some(&now) {
                if shown.is_some() {
                    output.separate()?;
                }
                output.print(&now, |out| table(out, &now))?;
                shown = Some(now);
            }
            if !self.watch {
                return Ok(());
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}
