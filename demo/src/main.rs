//! What `make demo` shows: controller and node daemon in one process, a pool, three containers that get
//! their addresses from the real plugin and reach each other, and everything free again.
//!
//! * [`sandbox`]: namespaces of its own, so that the machine is not touched and nothing can be left behind
//! * [`netns`]: the containers' network namespaces
//! * [`ping`]: ICMP echo over IPv4 and IPv6
//! * [`programs`]: the programs that are shown
//! * [`narrator`]: what the reader sees
//! * [`story`]: what happens, in order
//!
//! It needs no other program, and no root where user namespaces are allowed.

mod narrator;
mod netns;
mod ping;
mod programs;
mod sandbox;
mod story;

use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        None => sandbox::run(),
        Some(sandbox::INSIDE) => sandbox::enter().and_then(|()| story::tell()).map(|()| ExitCode::SUCCESS),
        Some(other) => Err(anyhow::anyhow!("{other:?}: the demo takes no arguments")),
    };
    result.unwrap_or_else(|error| {
        eprintln!("\nThe demo failed: {error:#}");
        ExitCode::FAILURE
    })
}
