//! Fixtures of the end-to-end tests: real processes, started with directories, ports and namespaces of their
//! own, and gone without a trace when the value is dropped.
//!
//! * [`wait`]: the only place where time passes
//! * [`tools`]: programs that a test needs, and the package that has them; temporary directories
//! * [`place`]: where a process runs: on the machine itself or in a [`machine`] of the test's own
//! * [`guest`]: a machine with a kernel of its own
//! * [`process`]: a child process with its log
//! * [`proxy`]: a slow network
//! * [`authority`]: an authority that signs certificates for a test
//! * [`binaries`]: the workspace's programs, built once per run
//! * [`http`]: a client that can also speak badly
//! * [`etcd`], [`coild`], [`controller`], [`plugin`]: the programs of the story
//! * [`cluster`]: etcd and a controller, for nodes to share
//! * [`load`]: many clients at once
//! * [`client`], [`history`]: what clients asked and were told, and whether it keeps the invariants
//! * [`faults`]: stories that try to break the invariants
//! * [`containerd`], [`podman`]: container runtimes, with an [`image`] of their own
//! * [`platform`]: services on one machine
//! * [`guide`], [`host`]: a document as something to follow, and a machine on which that is done
//! * [`bird`]: a routing daemon
//! * [`fake_runtime`]: one that answers what a real one should not
//! * [`fake_kubernetes`]: an API server without a cluster
//! * [`fake_cluster`]: one with a cluster, but without nodes
//! * [`strict`]: objects as strictly as an API server takes them
//!
//! A missing tool is a failure which names the package; nothing is ever skipped.

pub mod authority;
pub mod binaries;
pub mod bird;
mod cgroup;
pub mod client;
pub mod cluster;
pub mod coild;
pub mod containerd;
pub mod controller;
mod cri;
pub mod etcd;
pub mod fake_cluster;
pub mod fake_kubernetes;
pub mod fake_runtime;
pub mod faults;
pub mod guest;
pub mod guide;
pub mod history;
pub mod host;
pub mod http;
pub mod image;
pub mod load;
pub mod machine;
pub mod place;
pub mod platform;
pub mod plugin;
pub mod podman;
pub mod process;
pub mod proxy;
mod runtime;
pub mod strict;
pub mod tools;
pub mod wait;
