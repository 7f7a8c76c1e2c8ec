//! What the programs are verified with, beyond the tests beside their code (`docs/testing.md`).
//!
//! * [`map`]: what a store means, as a value that can be copied and compared
//! * [`fuzz`]: the parsers, fed with arbitrary bytes
//! * [`samples`]: what a node is asked for
//!
//! `tests/model` explores every interleaving of the leases' transactions on the map, `tests/simulation` runs the
//! daemon's tasks on it by a seed.

#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a target panics if something is wrong, and its documentation says what must be right"
)]
pub mod fuzz;
pub mod map;
#[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "the texts are valid")]
pub mod samples;

use common::server::Peer;
use controller::auth::{Caller, Role};

/// Somebody who may do everything, at the end of a unix socket.
pub fn operator() -> Caller {
    let peer = Peer::Process { uid: 0, gid: 0, pid: None };
    Caller { name: "operator".to_owned(), peer, roles: vec![Role::Admin], request: String::new() }
}
