//! `coilctl completions`

use crate::exit::Failure;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;

/// Print a script that completes coilctl's commands in a shell.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  coilctl completions bash > /etc/bash_completion.d/coilctl\n  coilctl completions fish > \
                        ~/.config/fish/completions/coilctl.fish"
)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        // The generator ends the program when it can't write, so that it writes to memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Args::command(), "coilctl", &mut script);
        Ok(std::io::stdout().write_all(&script)?)
    }
}
