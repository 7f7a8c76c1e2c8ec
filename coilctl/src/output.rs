//! What is printed, and in which form.

use crate::exit::Failure;
use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people
    Table,
    /// The API's own JSON; a list is an array
    Json,
    /// The same as YAML
    Yaml,
}

impl Output {
    /// Prints a value; `table` writes it for people.
    pub(crate) fn print<T: Serialize + ?Sized>(
        self,
        value: &T,
        table: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        match self {
            Self::Table => table(&mut out)?,
            Self::Json => {
                serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Self::Yaml => {
                let text = serde_yaml_ng::to_string(value).map_err(io::Error::other)?;
                out.write_all(text.as_bytes())?;
            }
        }
        Ok(out.flush()?)
    }

    /// Prints what stands between a value and the next one: on a terminal, the next table takes the place of the one
    /// before.
    pub(crate) fn separate(self) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match self {
            Self::Table if out.is_terminal() => write!(out, "\x1b[H\x1b[2J\x1b[3J")?,
            Self::Table => writeln!(out)?,
            Self::Json => {}
            Self::Yaml => writeln!(out, "---")?,
        }
        Ok(out.flush()?)
    }
}
