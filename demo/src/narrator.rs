//! What the reader sees: numbered steps, the commands as one would type them, and what they print.

use anyhow::Result;
use std::io::{IsTerminal, Stdout, Write, stdout};

/// Writes the story to standard output.
#[derive(Debug)]
pub(crate) struct Narrator {
    out: Stdout,
    step: u32,
    bold: (&'static str, &'static str),
}

impl Narrator {
    /// A narrator who has not said anything yet.
    pub(crate) fn new() -> Self {
        let bold = if stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        Self { out: stdout(), step: 0, bold }
    }

    /// The next step's title.
    pub(crate) fn step(&mut self, title: &str) -> Result<()> {
        self.step += 1;
        let (on, off) = self.bold;
        Ok(writeln!(&self.out, "\n{on}{}. {title}{off}", self.step)?)
    }

    /// A plain line.
    pub(crate) fn say(&self, line: &str) -> Result<()> {
        Ok(writeln!(&self.out, "{line}")?)
    }

    /// A command, as typed.
    pub(crate) fn command(&self, line: &str) -> Result<()> {
        let (on, off) = self.bold;
        Ok(writeln!(&self.out, "   {on}${off} {line}")?)
    }

    /// What a command printed.
    pub(crate) fn output(&self, text: &str) -> Result<()> {
        for line in text.lines() {
            writeln!(&self.out, "     {line}")?;
        }
        Ok(())
    }
}
