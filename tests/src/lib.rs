//! Fixtures of the end-to-end tests: real processes, started with directories, ports and namespaces of their
//! own, and gone without a trace when the value is dropped.
//!
//! * [`wait`]: the only place where time passes
//! * [`tools`]: programs that a test needs, and the package that has them
//! * [`place`]: where a process runs: on the machine itself or in a [`machine`] of the test's own
//! * [`process`]: a child process with its log
//! * [`binaries`]: the workspace's programs, built once per run
//! * [`http`]: a client that can also speak badly
//! * [`etcd`], [`coild`], [`controller`], [`plugin`]: the programs of the story
//! * [`load`], [`history`]: many clients at once, and the check that no acknowledged address was lost or given twice
//! * [`containerd`], [`podman`], [`image`], [`cri`]: container runtimes
//!
//! A missing tool is a failure which names the package; nothing is ever skipped.

pub mod binaries;
pub mod coild;
pub mod controller;
pub mod etcd;
pub mod history;
pub mod http;
pub mod machine;
pub mod place;
pub mod plugin;
pub mod process;
pub mod tools;
pub mod wait;
