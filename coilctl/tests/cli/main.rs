//! The built program against a real controller on a unix socket.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod apply;
mod failures;
mod fixture;
#[cfg(feature = "tls")]
mod identity;
mod ip_pools;
mod melange;
mod platform;
mod tables;
