//! The central service.
//!
//! * [`error`]: why a use case does not do what it was asked
//! * [`paging`]: pages of lists, and the tokens that continue them
//! * [`auth`]: who sends a request, and what it may do
//! * [`audit`]: a line in the log for each change
//! * [`blocks`]: which node leases which block, and what their mirrors show
//! * [`plan`]: whose every address is, so that no two have the same
//! * [`pools`]: pools are made, changed, shown and deleted here, and nowhere else
//! * [`ip_pools`]: likewise the pools of namespaces and services
//! * [`lastbackend`]: namespaces, and services whose containers run
//! * [`melange`]: likewise the blocks, addresses, policies and routes of tenants
//! * [`nodes`], [`reclaim`]: nodes, and what goes back to the pools when one is removed
//! * [`addresses`]: who holds an address, and freeing one by force
//! * [`import`]: a cluster of version 1 becomes one of this version
//! * [`check`]: what is abnormal in the store, and mending it
//! * [`kubernetes`]: what follows from what Kubernetes knows (feature `kubernetes`)
//! * [`metrics`]: the numbers for Prometheus
//! * [`api`]: HTTP over the use cases
//! * `turn`: that one controller of several does something
//! * [`reload`]: files that are read anew when they change
//! * [`time`]: times as people read them
//! * [`server`], [`config`]: the service and its configuration
//!
//! The use cases keep no state: everything is in the store, so that any number of controllers may run.

pub mod addresses;
pub mod api;
pub mod audit;
pub mod auth;
pub mod blocks;
pub mod check;
pub mod config;
pub mod error;
pub mod import;
pub mod ip_pools;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod lastbackend;
pub mod melange;
pub mod metrics;
pub mod nodes;
pub mod paging;
pub mod plan;
pub mod pools;
pub mod reclaim;
pub mod reload;
pub mod server;
pub mod time;
mod turn;
