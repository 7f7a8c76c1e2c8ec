//! `coilctl`: a thin client of the controller's admin API.
//!
//! * [`client`]: HTTP to the controller, and why it failed
//! * [`identity`]: tokens and certificates
//! * [`output`], [`table`], [`map`]: what is printed
//! * [`mod@watch`]: what is shown again when it has changed
//! * [`cmd`]: the commands, one file for each noun

mod client;
mod cmd;
mod exit;
mod identity;
mod map;
mod output;
mod table;
mod watch;

use clap::Parser;
use client::{Client, Server};
use cmd::Command;
use common::error::chain;
use exit::Failure;
use identity::IdentityArgs;
use output::Output;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Shows and changes the pools, nodes, blocks and addresses of Coil, by way of its controller.
///
/// Every flag can also be set by the environment variable shown with it, or in a TOML file named by --config, under
/// the flag's name without the dashes. Flags win over the environment, and the environment over the file.
#[derive(Debug, Parser)]
#[command(
    name = "coilctl",
    version,
    disable_help_subcommand = true,
    after_help = "Examples:\n  coilctl pool create default --subnet 10.64.0.0/16 --subnet fd00:64::/64\n  coilctl pool \
                  list\n  coilctl address show 10.64.0.17\n  coilctl --server unix:/run/coil-controller.sock -o json node \
                  list\n\nExit codes: 0 done, 1 refused or failed by the controller, 2 wrong usage, 3 the controller can't be reached, 4 \
                  its answer is not understood, 5 accepted but not done yet, 6 a dry run \
                  found differences, or a check something abnormal."
)]
struct Args {
    /// Where the controller is: http://HOST:PORT, https://HOST:PORT, or unix: and the path of its socket
    #[arg(
        long,
        global = true,
        env = "COIL_SERVER",
        value_name = "URL|unix:PATH",
        default_value = "http://127.0.0.1:9898"
    )]
    server: Server,
    /// Who this is.
    #[command(flatten)]
    identity: IdentityArgs,
    /// How to print
    #[arg(
        short,
        long,
        global = true,
        env = "COIL_OUTPUT",
        value_name = "FORM",
        value_enum,
        default_value = "table"
    )]
    output: Output,
    /// How long to wait for an answer: a number with ms, s or m behind it
    #[arg(
        long,
        global = true,
        env = "COIL_TIMEOUT",
        value_name = "TIME",
        default_value = "60s",
        value_parser = parse_time
    )]
    timeout: Duration,
    /// TOML file with values for the flags above
    #[arg(long, global = true, env = "COIL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let args: Args = match common::config::parse() {
        Ok(args) => args,
        Err(error) => return exit::report(&Failure::Usage(chain(&error))),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&Failure::Io(error)),
    };
    let identity = match args.identity.read(&args.server) {
        Ok(identity) => identity,
        Err(failure) => return exit::report(&failure),
    };
    let client = Client::new(args.server, args.timeout, identity);
    match runtime.block_on(args.command.run(&client, args.output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => exit::report(&failure),
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err("a time is a number with ms, s or m behind it".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a time starts with a number".to_owned())?;
    match number.checked_mul(millis) {
        Some(0) => Err("the time must not be zero".to_owned()),
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => Err("the time is too long".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn times() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_mins(2)));
        for bad in ["", "5", "s", "0s", "-1s", "1h", "99999999999999999999s", "18446744073709551615m"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
