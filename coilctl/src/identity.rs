//! Who this is to the controller, and whom it takes for the controller: tokens and certificates.

use crate::client::{Server, Stream, bare};
use crate::exit::Failure;
use clap::Args;
use hyper::header::HeaderValue;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use tokio::net::TcpStream;

/// How to be known to a controller that asks.
#[derive(Debug, Args)]
pub(crate) struct IdentityArgs {
    /// File whose first line is a bearer token; the token itself may be in the variable `COIL_TOKEN`
    #[arg(long, global = true, env = "COIL_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the authority of the controller's certificate, needed for https://
    #[cfg(feature = "tls")]
    #[arg(long, global = true, env = "COIL_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file with a client certificate
    #[cfg(feature = "tls")]
    #[arg(long, global = true, env = "COIL_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file with the private key of the client certificate
    #[cfg(feature = "tls")]
    #[arg(long, global = true, env = "COIL_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
}

/// What a client shows and trusts.
#[derive(Default)]
pub(crate) struct Identity {
    /// The header `Authorization`.
    pub(crate) token: Option<HeaderValue>,
    #[cfg(feature = "tls")]
    tls: Option<tokio_rustls::TlsConnector>,
}

impl IdentityArgs {
    /// Reads the files that the server needs.
    pub(crate) fn read(self, server: &Server) -> Result<Identity, Failure> {
        let token = self.token()?;
        if let (Server::Tcp(host, _), Some(_)) = (server, &token) {
            let local = host == "localhost" || bare(host).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
            if !local {
                let reason = format!("a token is not sent to {server} in clear text: use https://");
                return Err(Failure::Usage(reason));
            }
        }
        #[cfg(not(feature = "tls"))]
        if let Server::Tls(..) = server {
            return Err(Failure::Usage("this coilctl was built without TLS".to_owned()));
        }
        Ok(Identity {
            token,
            #[cfg(feature = "tls")]
            tls: match server {
                Server::Tls(..) => Some(self.connector()?),
                Server::Tcp(..) | Server::Unix(_) => None,
            },
        })
    }

    fn token(&self) -> Result<Option<HeaderValue>, Failure> {
        let (token, from) = match &self.token_file {
            Some(path) => {
                let failed =
                    |error| Failure::Usage(format!("can't read the token file {}: {error}", path.display()));
                (std::fs::read_to_string(path).map_err(failed)?, path.display().to_string())
            }
            None => match std::env::var("COIL_TOKEN") {
                Ok(token) => (token, "COIL_TOKEN".to_owned()),
                Err(_) => return Ok(None),
            },
        };
        let token = token.lines().next().unwrap_or_default().trim();
        let header = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| !token.is_empty());
        let mut header = header.ok_or_else(|| Failure::Usage(format!("there is no token in {from}")))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    #[cfg(feature = "tls")]
    fn connector(&self) -> Result<tokio_rustls::TlsConnector, Failure> {
        use std::sync::Arc;
        use tokio_rustls::rustls::crypto::ring;
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
        use tokio_rustls::rustls::{ClientConfig, RootCertStore};

        let unusable = |flag: &str, error: &dyn std::error::Error| {
            Failure::Usage(format!("{flag}: {}", common::error::chain(error)))
        };
        let certificates = |flag: &str, path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, Failure> {
            let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let all = all.map_err(|error| unusable(flag, &error))?;
            if all.is_empty() {
                Err(Failure::Usage(format!("{flag}: no certificate in it")))
            } else {
                Ok(all)
            }
        };
        let Some(ca) = &self.ca else {
            let reason = "https:// needs --ca, the authority of the controller's certificate \
                          (/etc/ssl/certs/ca-certificates.crt for those that the system trusts)";
            return Err(Failure::Usage(reason.to_owned()));
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates("--ca", ca)? {
            roots.add(authority).map_err(|error| unusable("--ca", &error))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("--ca", &error))?
            .with_root_certificates(roots);
        let config = match (&self.cert, &self.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("--key", &error))?;
                let cert = certificates("--cert", cert)?;
                config.with_client_auth_cert(cert, key).map_err(|error| unusable("--cert", &error))?
            }
            _ => return Err(Failure::Usage("--cert and --key belong together".to_owned())),
        };
        Ok(Arc::new(config).into())
    }
}

impl Identity {
    /// Does the TLS handshake with a host.
    #[cfg(feature = "tls")]
    pub(crate) async fn secure(&self, host: &str, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let tls = self.tls.as_ref().ok_or_else(|| io::Error::other("no TLS is configured"))?;
        let name = tokio_rustls::rustls::pki_types::ServerName::try_from(host.to_owned());
        let name = name.map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with TLS, it waits")]
    pub(crate) async fn secure(&self, _: &str, _: TcpStream) -> io::Result<Box<dyn Stream>> {
        Err(io::Error::other("this coilctl was built without TLS"))
    }
}
