//! Tokens, certificates and TLS.

use crate::fixture::{Controller, coilctl, text};
use common::server::{Bind, TlsFiles};
use controller::auth::NewToken;
use controller::server::Listening;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Files of a certificate authority, and of what it signs.
struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("certificate");
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("written");
        Self { dir, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn sign(&self, name: &str, organization: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, organization);
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        let place = |kind: &str| self.dir.path().join(format!("{name}.{kind}.pem"));
        std::fs::write(place("cert"), certificate.pem()).expect("written");
        std::fs::write(place("key"), key.serialize_pem()).expect("written");
        (place("cert"), place("key"))
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    listener.local_addr().expect("address").port()
}

/// Runs `coilctl pool list`, and answers its exit code and what it says.
fn pool_list(server: &str, flags: &[(&str, &Path)]) -> (Option<i32>, String) {
    let mut command = coilctl();
    for (flag, file) in flags {
        command.arg(flag).arg(file);
    }
    let output = command.args(["--server", server, "pool", "list"]).output().expect("started");
    (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

#[test]
fn over_tls_by_token_or_certificate() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (cert, key) = ours.sign("server", "servers");
    let tokens = ours.dir.path().join("tokens.toml");
    let viewer = NewToken::make("reader", "viewer".parse().expect("role")).expect("made");
    viewer.add_to(&tokens).expect("added");
    let token = ours.dir.path().join("token");
    std::fs::write(&token, format!("{}\n", viewer.token)).expect("written");
    let port = free_port();
    let controller = Controller::start_with(Listening {
        binds: vec![Bind::Tcp(([127, 0, 0, 1], port).into())],
        tokens: Some(tokens),
        tls: Some(TlsFiles { cert, key, client_ca: Some(ours.ca()) }),
    });
    controller.ok("pool create default --subnet 10.64.0.0/16");
    let (ca, server) = (ours.ca(), format!("https://127.0.0.1:{port}"));
    let (admin, admin_key) = ours.sign("alice", "coil:admin");
    let (nobody, nobody_key) = ours.sign("bob", "other");
    let (strange, strange_key) = theirs.sign("eve", "coil:admin");
    let their_ca = theirs.ca();
    let nothing = ours.dir.path().join("nothing");
    for (code, reason, flags) in [
        (0, "default", &[("--ca", &*ca), ("--token-file", &*token)][..]),
        (0, "default", &[("--ca", &ca), ("--cert", &admin), ("--key", &admin_key)]),
        (1, "who are you?", &[("--ca", &ca)]),
        (1, "your role may not do this", &[("--ca", &ca), ("--cert", &nobody), ("--key", &nobody_key)]),
        (3, "can't reach the controller", &[("--ca", &ca), ("--cert", &strange), ("--key", &strange_key)]),
        (3, "invalid peer certificate", &[("--ca", &their_ca), ("--token-file", &token)]),
        (2, "needs --ca", &[("--token-file", &token)]),
        (2, "--cert and --key belong together", &[("--ca", &ca), ("--cert", &admin)]),
        (2, "--ca: ", &[("--ca", &token)]),
        (2, "can't read the token file", &[("--ca", &ca), ("--token-file", &nothing)]),
    ] {
        let (got, text) = pool_list(&server, flags);
        assert!(got == Some(code) && text.contains(reason), "{flags:?}: {got:?} {text}");
    }
    let (code, text) = pool_list(&server.replace("https", "http"), &[]);
    assert!(code == Some(3) || code == Some(4), "no TLS: {code:?} {text}");
}

#[test]
fn a_token_in_the_environment_does_what_its_role_may() {
    let dir = tempfile::tempdir().expect("directory");
    let tokens = dir.path().join("tokens.toml");
    let viewer = NewToken::make("reader", "viewer".parse().expect("role")).expect("made");
    viewer.add_to(&tokens).expect("added");
    let port = free_port();
    let bind = Bind::Tcp(([127, 0, 0, 1], port).into());
    let _controller =
        Controller::start_with(Listening { binds: vec![bind], tokens: Some(tokens), tls: None });
    let run = |line: &str| {
        let mut command = coilctl();
        command.env("COIL_SERVER", format!("http://127.0.0.1:{port}")).env("COIL_TOKEN", &viewer.token);
        let output = command.args(line.split_whitespace()).output().expect("started");
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(run("pool list"), (Some(0), String::new()));
    let (code, error) = run("pool create default --subnet 10.64.0.0/16");
    assert!(code == Some(1) && error.contains("it needs one of: admin or operator"), "{error}");
    let (code, error) = run("--server http://192.0.2.1:9898 pool list");
    assert!(code == Some(2) && error.contains("not sent to http://192.0.2.1:9898 in clear text"), "{error}");
}
