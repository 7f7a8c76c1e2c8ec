//! The CNI plugin `coil`. A runtime says what it wants in the environment and on standard input.

use cni_plugin::env::Call;
use cni_plugin::{help, verbs};
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let argument = arguments.next();
    match argument.as_ref().map(|argument| argument.to_string_lossy()).as_deref() {
        None => {}
        Some("--help" | "-h" | "help") => return print(&help::help()),
        Some("--version" | "-V") => return print(&help::version()),
        Some(other) => return complain(&format!("coil: unknown argument {other:?}. See coil --help.\n")),
    }
    if std::env::var_os("CNI_COMMAND").is_none_or(|command| command.is_empty()) {
        return complain(&help::not_a_runtime());
    }
    let call = Call::parse(|name| std::env::var_os(name));
    let stdin = std::io::stdin();
    // A person at a terminal who tries VERSION is not made to wait.
    let input: Box<dyn Read> = match call {
        Ok(Call::Version) if stdin.is_terminal() => Box::new(std::io::empty()),
        _ => Box::new(stdin.lock()),
    };
    match verbs::run(call, input, &name_of(&program)) {
        Ok(output) => print(&output),
        Err(failure) => {
            print(&failure.error.to_json(failure.version));
            ExitCode::FAILURE
        }
    }
}

fn name_of(program: &OsString) -> String {
    Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn print(text: &str) -> ExitCode {
    if text.is_empty() || std::io::stdout().write_all(text.as_bytes()).is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A person is at the other end, or somebody who does not know what this program is.
fn complain(text: &str) -> ExitCode {
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(2)
}
