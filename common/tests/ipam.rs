//! The allocator core against naive models of itself.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "ipam/block.rs"]
mod block;
#[path = "ipam/search.rs"]
mod search;
#[path = "ipam/space.rs"]
mod space;
