//! TLS, with a certificate authority of the test's own.

use crate::cluster::Server;
use crate::put;
use common::store::Store;
use common::store::etcd::{Etcd, EtcdConfig};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

/// Files of a certificate authority, and of what it signs.
struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(directory: &Path) -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::create_dir_all(directory).expect("directory");
        let certificate = params.self_signed(&key).expect("certificate");
        std::fs::write(directory.join("ca.pem"), certificate.pem()).expect("written");
        Self { directory: directory.to_owned(), issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Certificate and key for a name.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        let place = |kind: &str| self.directory.join(format!("{name}.{kind}.pem"));
        std::fs::write(place("cert"), certificate.pem()).expect("written");
        std::fs::write(place("key"), key.serialize_pem()).expect("written");
        (place("cert"), place("key"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_show_certificates() {
    let directory = tempfile::tempdir().expect("directory");
    let authority = Authority::new(&directory.path().join("ours"));
    let (cert, key) = authority.sign("server");
    let [cert, key, ca] = [cert, key, authority.ca()].map(|path| path.display().to_string());
    let server = Server::prepare(
        "https",
        &["--cert-file", &cert, "--key-file", &key, "--client-cert-auth", "--trusted-ca-file", &ca],
    )
    .started()
    .await;

    let (cert, key) = authority.sign("client");
    let good = EtcdConfig {
        endpoints: vec![server.endpoint()],
        ca: Some(authority.ca()),
        cert: Some(cert),
        key: Some(key),
        ..EtcdConfig::default()
    };
    let store = Etcd::connect(&good).expect("valid");
    put(&store, "key", "1").await.expect("written");
    assert!(store.get("key").await.expect("read").is_some());

    let stranger = Authority::new(&directory.path().join("stranger"));
    let (strange_cert, strange_key) = stranger.sign("client");
    for (what, bad) in [
        ("no certificate", EtcdConfig { cert: None, key: None, ..good.clone() }),
        (
            "a stranger's certificate",
            EtcdConfig { cert: Some(strange_cert), key: Some(strange_key), ..good.clone() },
        ),
        ("the server is not of our authority", EtcdConfig { ca: Some(stranger.ca()), ..good.clone() }),
        (
            "no TLS",
            EtcdConfig {
                endpoints: vec![server.endpoint().replace("https", "http")],
                ca: None,
                cert: None,
                key: None,
                ..EtcdConfig::default()
            },
        ),
    ] {
        let store = Etcd::connect(&bad).expect("valid");
        let error = store.get("key").await.expect_err(what);
        assert!(error.is_unavailable(), "{what}: {error:?}");
    }
}

#[test]
fn what_is_no_certificate_is_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let authority = Authority::new(directory.path());
    let nonsense = directory.path().join("nonsense");
    std::fs::write(&nonsense, "not PEM").expect("written");
    let (cert, key) = authority.sign("client");
    let good = EtcdConfig {
        endpoints: vec!["https://127.0.0.1:1".to_owned()],
        ca: Some(authority.ca()),
        cert: Some(cert),
        key: Some(key),
        ..EtcdConfig::default()
    };
    Etcd::connect(&good).expect("valid");
    for (what, bad) in [
        ("CA", EtcdConfig { ca: Some(nonsense.clone()), ..good.clone() }),
        ("certificate", EtcdConfig { cert: Some(nonsense.clone()), ..good.clone() }),
        ("key", EtcdConfig { key: Some(nonsense.clone()), ..good.clone() }),
    ] {
        let error = Etcd::connect(&bad).err().expect(what).to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
}
