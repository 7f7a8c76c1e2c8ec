//! Flags of the etcd cluster.

/// Where the etcd cluster is.
#[derive(Debug, Clone, clap::Args)]
pub struct EtcdArgs {}
