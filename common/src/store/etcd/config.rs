//! How to reach an etcd cluster. Everything is checked, and every file read, before the first connection.

use crate::store::StoreError;
use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::Endpoint;

/// How to reach an etcd cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdConfig {
    /// URLs of the members, `http://host:port` or all of them `https://host:port`.
    pub endpoints: Vec<String>,
    /// What all keys begin with: starts and ends with `/`.
    pub prefix: String,
    /// PEM file with the certificates that the servers' are checked against. Needed with `https`.
    pub ca: Option<PathBuf>,
    /// PEM file with this client's certificate, for clusters that ask for one; comes with `key`.
    pub cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub key: Option<PathBuf>,
    /// User, for clusters with authentication; comes with `password_file`.
    pub user: Option<String>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// How long connecting to one member may take.
    pub connect_timeout: Duration,
    /// How long a call may take, with all its attempts.
    pub request_timeout: Duration,
    /// How often a connection with calls in flight is probed; one that does not answer within half that time
    /// is given up. An etcd server closes connections that probe more often than every 5 s.
    pub keep_alive: Duration,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            prefix: Self::PREFIX.to_owned(),
            ca: None,
            cert: None,
            key: None,
            user: None,
            password_file: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(6),
        }
    }
}

impl EtcdConfig {
    /// What all keys begin with unless told otherwise.
    pub const PREFIX: &str = "/coil/v2/";

    /// Checks the values against each other and reads the files; answers options without the user.
    pub(super) fn options(&self) -> Result<ConnectOptions, StoreError> {
        if self.endpoints.is_empty() {
            return Err(StoreError::refused("etcd endpoints: at least one is needed"));
        }
        let valid_prefix =
            self.prefix.len() > 1 && self.prefix.starts_with('/') && self.prefix.ends_with('/');
        if !valid_prefix || self.prefix.contains('\0') {
            return Err(StoreError::refused(format!(
                "etcd prefix {:?}: it must start and end with '/' and have something between",
                self.prefix
            )));
        }
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.connect_timeout)
            .with_keep_alive(self.keep_alive, self.keep_alive / 2)
            .with_require_leader(true);
        let tls = self.tls()?;
        for url in &self.endpoints {
            check_endpoint(url, tls.clone())?;
        }
        if let Some(tls) = tls {
            options = options.with_tls(tls);
        }
        Ok(options)
    }

    /// User and password, if there are any.
    pub(super) fn credentials(&self) -> Result<Option<(String, String)>, StoreError> {
        match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => {
                let text = read("etcd password file", file)?;
                Ok(Some((user.clone(), text.lines().next().unwrap_or_default().to_owned())))
            }
            (None, None) => Ok(None),
            _ => Err(StoreError::refused("etcd user and password file: one needs the other")),
        }
    }

    fn tls(&self) -> Result<Option<TlsOptions>, StoreError> {
        let secure = self.endpoints.iter().filter(|url| url.starts_with("https://")).count();
        if secure == 0 {
            return match (&self.ca, &self.cert, &self.key) {
                (None, None, None) => Ok(None),
                _ => Err(StoreError::refused("etcd CA, certificate and key need https endpoints")),
            };
        }
        if secure < self.endpoints.len() {
            return Err(StoreError::refused("etcd endpoints: http and https can't be mixed"));
        }
        let Some(ca) = &self.ca else {
            return Err(StoreError::refused("etcd CA: https endpoints need it"));
        };
        let text = read("etcd CA", ca)?;
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(StoreError::refused(format!("etcd CA {} has no certificate in it", ca.display())));
        }
        let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(text));
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let (cert, key) = (read("etcd certificate", cert)?, read("etcd key", key)?);
                tls = tls.identity(Identity::from_pem(cert, key));
            }
            (None, None) => {}
            _ => return Err(StoreError::refused("etcd certificate and key: one needs the other")),
        }
        Ok(Some(tls))
    }
}

/// Builds what will be built at the first call, to find what is wrong with it now.
fn check_endpoint(url: &str, tls: Option<TlsOptions>) -> Result<(), StoreError> {
    let authority = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let bare = authority.map(|authority| authority.strip_suffix('/').unwrap_or(authority));
    let endpoint = bare.filter(|bare| !bare.contains('/')).and_then(|_| url.parse::<Endpoint>().ok());
    let Some(endpoint) = endpoint else {
        return Err(StoreError::refused(format!(
            "etcd endpoint {url:?}: it must be http://host:port or https://host:port"
        )));
    };
    match tls.map(|tls| endpoint.tls_config(tls)) {
        Some(Err(error)) => Err(StoreError::Refused {
            reason: "etcd certificate and key: they can't be used".to_owned(),
            source: Some(error.into()),
        }),
        _ => Ok(()),
    }
}

fn read(what: &str, path: &Path) -> Result<String, StoreError> {
    std::fs::read_to_string(path).map_err(|error| StoreError::Refused {
        reason: format!("{what} {} can't be read", path.display()),
        source: Some(error.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused_by_name() {
        let path = || Some(PathBuf::from("/nonexistent/file"));
        let base = EtcdConfig::default;
        let https = || EtcdConfig { endpoints: vec!["https://h:1".to_owned()], ..base() };
        for (config, message) in [
            (EtcdConfig { endpoints: vec![], ..base() }, "endpoints"),
            (EtcdConfig { endpoints: vec!["h:2379".into()], ..base() }, "endpoint \"h:2379\""),
            (EtcdConfig { endpoints: vec!["http://".into()], ..base() }, "endpoint \"http://\""),
            (EtcdConfig { endpoints: vec!["http://h:1:2".into()], ..base() }, "endpoint \"http://h:1:2\""),
            (EtcdConfig { endpoints: vec!["http://h:1/v3".into()], ..base() }, "endpoint \"http://h:1/v3\""),
            (EtcdConfig { endpoints: vec!["http://h:1".into(), "https://h:1".into()], ..base() }, "mixed"),
            (EtcdConfig { prefix: "/".into(), ..base() }, "prefix \"/\""),
            (EtcdConfig { prefix: "coil/".into(), ..base() }, "prefix \"coil/\""),
            (EtcdConfig { prefix: "/coil".into(), ..base() }, "prefix \"/coil\""),
            (EtcdConfig { ca: path(), ..base() }, "need https"),
            (https(), "CA: https"),
            (EtcdConfig { ca: path(), ..https() }, "CA /nonexistent/file can't be read"),
            (EtcdConfig { user: Some("u".into()), ..base() }, "password file"),
            (EtcdConfig { user: Some("u".into()), password_file: path(), ..base() }, "can't be read"),
        ] {
            let error = config.options().and_then(|_| config.credentials()).err();
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(message), "{config:?}: {error}");
        }
        assert!(base().options().is_ok());
    }
}
