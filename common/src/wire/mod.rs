//! Bodies of the REST APIs, shared by servers and clients.
//!
//! * [`node`]: coild's API, per node, over its socket
//! * [`admin`]: the controller's `/v1/` API for operators

pub mod admin;
pub mod node;
