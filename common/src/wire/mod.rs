//! Bodies of the REST APIs, shared by servers and clients.
//!
//! * [`node`]: coild's API, per node, over its socket
//! * [`admin`]: the controller's `/v1/` API for operators
//! * [`check`]: what the controller finds abnormal
//! * [`ip_pools`]: the controller's API for the pools of namespaces and services
//! * [`lastbackend`]: the controller's platform API: namespaces and services that run
//! * [`namespaces`]: what operators see of those, and change
//! * [`melange`]: the tenants' API

pub mod admin;
pub mod check;
pub mod ip_pools;
pub mod lastbackend;
pub mod melange;
pub mod namespaces;
pub mod node;
