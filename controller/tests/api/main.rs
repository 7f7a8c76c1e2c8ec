//! The admin API over real stores: every route, status and race.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod addresses;
mod fixture;
mod http;
mod nodes;
mod pools;
mod races;
mod scale;
