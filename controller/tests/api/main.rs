//! The admin API over real stores: every route, status and race.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod addresses;
mod authorization;
mod check;
mod description;
mod engine;
#[cfg(feature = "etcd")]
mod etcd;
mod fixture;
mod http;
mod ip_pools;
mod lastbackend;
mod log;
#[cfg(feature = "etcd")]
mod melange;
mod namespaces;
mod nodes;
mod pools;
mod races;
mod scale;
