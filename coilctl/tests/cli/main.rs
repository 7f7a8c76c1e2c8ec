//! The built program against a real controller on a unix socket.

mod failures;
mod fixture;
mod tables;
