//! Flags of the etcd cluster, shared by the daemons that use one.

use clap::Args;
use common::store::etcd::{Etcd, EtcdConfig};
use common::store::{Store, StoreError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the etcd cluster is.
#[derive(Debug, Clone, Args)]
pub struct EtcdArgs {
    /// URLs of the etcd cluster's members, separated by commas
    #[arg(
        long,
        env = "COIL_ETCD_ENDPOINTS",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379"
    )]
    pub etcd_endpoints: Vec<String>,
    /// What all keys in etcd begin with
    #[arg(long, env = "COIL_ETCD_PREFIX", value_name = "PREFIX", default_value = EtcdConfig::PREFIX)]
    pub etcd_prefix: String,
    /// PEM file with the CA of etcd's certificates
    #[arg(long, env = "COIL_ETCD_CA", value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,
    /// PEM file with the client's certificate
    #[arg(long, env = "COIL_ETCD_CERT", value_name = "FILE", requires = "etcd_key")]
    pub etcd_cert: Option<PathBuf>,
    /// PEM file with the private key of the client's certificate
    #[arg(long, env = "COIL_ETCD_KEY", value_name = "FILE", requires = "etcd_cert")]
    pub etcd_key: Option<PathBuf>,
    /// etcd user
    #[arg(long, env = "COIL_ETCD_USER", value_name = "NAME", requires = "etcd_password_file")]
    pub etcd_user: Option<String>,
    /// File whose first line is the etcd user's password
    #[arg(long, env = "COIL_ETCD_PASSWORD_FILE", value_name = "FILE", requires = "etcd_user")]
    pub etcd_password_file: Option<PathBuf>,
    /// How long a call of etcd may take
    #[arg(long, env = "COIL_ETCD_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = crate::config::parse_time)]
    pub etcd_timeout: Duration,
}

impl EtcdArgs {
    /// The store in this cluster. The cluster need not be up yet.
    pub fn connect(self) -> Result<Arc<dyn Store>, StoreError> {
        let etcd = Etcd::connect(&EtcdConfig {
            endpoints: self.etcd_endpoints,
            prefix: self.etcd_prefix,
            ca: self.etcd_ca,
            cert: self.etcd_cert,
            key: self.etcd_key,
            user: self.etcd_user,
            password_file: self.etcd_password_file,
            request_timeout: self.etcd_timeout,
            ..EtcdConfig::default()
        })?;
        Ok(Arc::new(etcd))
    }
}
