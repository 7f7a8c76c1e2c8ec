//! The node daemon.
pub mod allocator;
pub mod journal;
pub mod state;
