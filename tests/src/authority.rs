//! A certificate authority of the test's own.

use crate::tools::directory;
use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::PathBuf;
use tempfile::TempDir;

/// An authority with its files, and those of what it signs.
pub struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one.
    pub fn new() -> Result<Self> {
        let dir = directory()?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key)?.pem())?;
        Ok(Self { dir, issuer: Issuer::new(params, key) })
    }

    /// Its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Certificate and key of a server on 127.0.0.1, or of a client.
    pub fn sign(&self, name: &str, organization: &str) -> Result<(PathBuf, PathBuf)> {
        self.sign_for(name, organization, &["127.0.0.1"])
    }

    /// Certificate and key of a server that has these names and addresses.
    pub fn sign_for(&self, name: &str, organization: &str, hosts: &[&str]) -> Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let mut params =
            CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, organization);
        let place = |kind: &str| self.dir.path().join(format!("{name}.{kind}.pem"));
        std::fs::write(place("cert"), params.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(place("key"), key.serialize_pem())?;
        Ok((place("cert"), place("key")))
    }
}
