//! The node daemon, as a library: `coil-controller standalone` runs it in its own process.
//!
//! * [`state`]: what the node holds, pure
//! * [`journal`]: the same, on disk
//! * [`allocator`]: the one task that changes it; [`answering`]: the thread that it shares with the sockets
//! * [`mirror`], [`lease_keeper`], [`watcher`], [`presence`]: the store's side
//! * [`reconcile`], [`sandboxes`], [`cri`], [`boot`], [`routes`]: what runs on the machine
//! * [`allocate`], [`annotations`]: the use case, and the pools that a pod chooses
//! * [`api`], [`metrics`], [`history`], [`refusals`]: what others see
//! * [`daemon`]: all of it together
//! * [`install`], [`probe`]: what the program does besides (feature `host`)

pub mod allocate;
pub mod allocator;
pub mod annotations;
pub mod answering;
pub mod api;
pub mod boot;
pub mod config;
pub mod cri;
pub mod daemon;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod history;
#[cfg(feature = "host")]
pub mod install;
pub mod journal;
pub mod lease_keeper;
pub mod logging;
pub mod metrics;
pub mod mirror;
pub mod presence;
#[cfg(feature = "host")]
pub mod probe;
pub mod reconcile;
pub mod refusals;
pub mod routes;
pub mod sandboxes;
pub mod state;
pub mod watcher;
