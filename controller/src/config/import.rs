//! `coil-controller import`

use clap::{Args, Subcommand};
use coild::config::LogConfig;
use coild::etcd::EtcdArgs;
use std::path::PathBuf;

/// From what is imported.
#[derive(Debug, Subcommand)]
pub enum ImportSource {
    /// A cluster of Coil version 1, from its keys in etcd
    CoilV1(CoilV1),
}

/// Take over a cluster of Coil version 1: its pools, the blocks of its nodes, and the addresses of its containers, which
/// keep them.
///
/// Stop version 1 on all nodes first, and start this version's coild on none before it is done. The pools are made disabled:
/// enable them when coild runs on all nodes. It may be cut short at any point and run again. The keys of version 1 are
/// read, and never written.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coil-controller import coil-v1 --etcd-endpoints http://10.0.0.1:2379 --dry-run\n  \
                        coil-controller import coil-v1 --etcd-endpoints http://10.0.0.1:2379\n  coilctl pool enable default"
)]
pub struct CoilV1 {
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// What all keys of version 1 begin with
    #[arg(long, env = "COIL_V1_PREFIX", value_name = "PREFIX", default_value = "/coil/")]
    pub v1_prefix: String,
    /// URLs of the etcd cluster that has the keys of version 1, separated by commas; if it is another one
    #[arg(long, env = "COIL_V1_ENDPOINTS", value_name = "URL", value_delimiter = ',')]
    pub v1_endpoints: Vec<String>,
    /// PEM file with the CA of that cluster's certificates
    #[arg(long, env = "COIL_V1_CA", value_name = "FILE", requires = "v1_endpoints")]
    pub v1_ca: Option<PathBuf>,
    /// PEM file with the client's certificate for it
    #[arg(long, env = "COIL_V1_CERT", value_name = "FILE", requires_all = ["v1_key", "v1_endpoints"])]
    pub v1_cert: Option<PathBuf>,
    /// PEM file with the private key of that certificate
    #[arg(long, env = "COIL_V1_KEY", value_name = "FILE", requires = "v1_cert")]
    pub v1_key: Option<PathBuf>,
    /// User of that cluster
    #[arg(long, env = "COIL_V1_USER", value_name = "NAME", requires_all = ["v1_password_file", "v1_endpoints"])]
    pub v1_user: Option<String>,
    /// File whose first line is that user's password
    #[arg(long, env = "COIL_V1_PASSWORD_FILE", value_name = "FILE", requires = "v1_user")]
    pub v1_password_file: Option<PathBuf>,
    /// The etcd cluster of this version.
    #[command(flatten)]
    pub etcd: EtcdArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogConfig,
}

impl CoilV1 {
    /// Where version 1 is: in the same cluster, unless another one is named.
    pub fn source(&self) -> EtcdArgs {
        let etcd = EtcdArgs { etcd_prefix: self.v1_prefix.clone(), ..self.etcd.clone() };
        if self.v1_endpoints.is_empty() {
            return etcd;
        }
        EtcdArgs {
            etcd_endpoints: self.v1_endpoints.clone(),
            etcd_ca: self.v1_ca.clone(),
            etcd_cert: self.v1_cert.clone(),
            etcd_key: self.v1_key.clone(),
            etcd_user: self.v1_user.clone(),
            etcd_password_file: self.v1_password_file.clone(),
            ..etcd
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ImportSource, Mode};
    use clap::Parser;
    use coild::etcd::EtcdArgs;

    fn source(args: &[&str]) -> Result<EtcdArgs, String> {
        let all = ["coil-controller", "import", "coil-v1"].iter().chain(args);
        match Config::try_parse_from(all).map_err(|error| error.to_string())?.mode {
            Mode::Import(ImportSource::CoilV1(config)) => Ok(config.source()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn version_1_is_in_the_same_cluster_or_in_another_one() {
        let same = source(&["--etcd-endpoints", "https://a:1", "--etcd-ca", "ca"]).expect("enough");
        assert_eq!(
            (same.etcd_prefix.as_str(), same.etcd_endpoints),
            ("/coil/", vec!["https://a:1".to_owned()])
        );
        assert!(same.etcd_ca.is_some());
        let other = ["--v1-endpoints", "http://b:1,http://c:1", "--v1-prefix", "/old/", "--etcd-ca", "ca"];
        let other = source(&other).expect("enough");
        assert_eq!((other.etcd_prefix.as_str(), other.etcd_endpoints.len()), ("/old/", 2));
        assert!(other.etcd_ca.is_none(), "the CA is of this version's cluster");
        for (alone, missing) in [("--v1-ca", "--v1-endpoints"), ("--v1-user", "--v1-password-file")] {
            let error = source(&[alone, "x"]).expect_err(alone);
            assert!(error.contains(missing), "{error}");
        }
    }
}
