//! The CNI plugin `coil`: asks coild for addresses, and as main plugin makes the interface too.
//!
//! * [`version`]: the versions of the CNI specification and what each can do
//! * [`mod@env`]: what the runtime says in the environment
//! * [`field`]: JSON values that know their key, so that every complaint names it
//! * [`config`]: the network configuration on stdin
//! * [`prev_result`]: the result of an earlier ADD, as the runtime gives it back
//! * [`result`]: what ADD answers, in each version of the specification
//! * [`client`]: coild's REST API over its unix socket
//! * [`datapath`]: interfaces, addresses and routes
//! * [`error`]: everything that can go wrong, and its CNI code
//! * [`verbs`]: one file per CNI command
//! * [`help`]: what the program says to a person
//!
//! Each module uses only what stands before it. There is no runtime and no thread: the process does one thing
//! and ends, and its start is a good part of what an ADD costs.

pub mod client;
pub mod config;
pub mod datapath;
pub mod env;
pub mod error;
pub mod field;
pub mod help;
pub mod prev_result;
pub mod result;
pub mod verbs;
pub mod version;
