//! The allocator core against naive models of itself.

#[path = "ipam/block.rs"]
mod block;
#[path = "ipam/search.rs"]
mod search;
#[path = "ipam/space.rs"]
mod space;
