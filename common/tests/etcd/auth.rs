//! Users, passwords and tokens.

use crate::cluster::{Server, eventually};
use crate::put;
use common::store::etcd::{Etcd, EtcdConfig};
use common::store::{KeyRange, Store, StoreError};
use etcd_client::{Client, ConnectOptions, Permission};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, interval};

const PASSWORD: &str = "correct horse";

/// Makes the users `root` and `coil`, who may only touch the prefix `/coil/`.
async fn enable_auth(server: &Server) -> Client {
    let mut client = server.client().await;
    client.role_add("root").await.expect("role");
    client.user_add("root", "root", None).await.expect("user");
    client.user_grant_role("root", "root").await.expect("granted");
    client.role_add("coil").await.expect("role");
    let prefix = Permission::read_write("/coil/").with_prefix();
    client.role_grant_permission("coil", prefix).await.expect("granted");
    client.user_add("coil", PASSWORD, None).await.expect("user");
    client.user_grant_role("coil", "coil").await.expect("granted");
    client.auth_enable().await.expect("enabled");
    let root = ConnectOptions::new().with_user("root", "root").with_auto_token_refresh(true);
    Client::connect([server.endpoint()], Some(root)).await.expect("root")
}

fn config(server: &Server, password: &str) -> EtcdConfig {
    let file = server.directory().join(format!("password {password}"));
    std::fs::write(&file, format!("{password}\n")).expect("written");
    EtcdConfig {
        endpoints: vec![server.endpoint()],
        user: Some("coil".to_owned()),
        password_file: Some(file),
        ..EtcdConfig::default()
    }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::Refused { reason, .. }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_knows_the_password_gets_in() {
    let mut server = Server::start().await;
    let early = Etcd::connect(&config(&server, PASSWORD)).expect("valid");
    put(&early, "early", "x").await.expect("a password does no harm where none is asked for");
    let mut root = enable_auth(&server).await;
    put(&early, "early", "y").await.expect("nor does it harm that one is asked for later");

    let good = config(&server, PASSWORD);
    let store = Etcd::connect(&good).expect("valid");
    put(&store, "key", "1").await.expect("written");
    assert!(store.get("key").await.expect("read").is_some());
    let mut watch = store.watch(&[KeyRange::prefix("key")], 1).await.expect("watches");
    assert!(matches!(watch.recv().await, Some(Ok(_))));
    let ttl = store.grant_ttl(Duration::from_mins(1)).await.expect("granted");
    store.renew_ttl(ttl).await.expect("renewed");
    store.revoke_ttl(ttl).await.expect("revoked");

    let wrong = Etcd::connect(&config(&server, "wrong")).expect("valid");
    let reason = refused(wrong.get("key").await);
    assert!(reason.contains("authentication failed"), "{reason}");
    let nobody =
        Etcd::connect(&EtcdConfig { user: None, password_file: None, ..good.clone() }).expect("valid");
    refused(nobody.get("key").await);
    refused(put(&nobody, "key", "2").await);
    refused(nobody.watch(&[KeyRange::prefix("key")], 1).await);
    let elsewhere = Etcd::connect(&EtcdConfig { prefix: "/else/".to_owned(), ..good }).expect("valid");
    let reason = refused(put(&elsewhere, "key", "1").await);
    assert!(reason.contains("permission denied"), "{reason}");
    refused(elsewhere.watch(&[KeyRange::prefix("key")], 1).await);

    // Any change of users makes all tokens old.
    root.user_add("somebody", "else", None).await.expect("user");
    put(&store, "key", "2").await.expect("authenticates anew");
    root.user_delete("somebody").await.expect("deleted");
    store.watch(&[KeyRange::prefix("key")], 1).await.expect("a watch does, too");
    // A server that was started anew knows no token.
    server.kill();
    server.run();
    server.answers().await;
    let again = async || match put(&store, "key", "3").await {
        Ok(revision) => Some(revision),
        Err(error) if error.is_unavailable() => None,
        Err(error) => panic!("{error:?}"),
    };
    eventually(Duration::from_secs(5), again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_expire() {
    let directory = tempfile::tempdir().expect("directory");
    let key = directory.path().join("key");
    std::fs::write(&key, "a secret of the server's").expect("written");
    let server = Server::prepare("http", &["--auth-token", &token_option(&key)]).started().await;
    enable_auth(&server).await;
    let store = Etcd::connect(&config(&server, PASSWORD)).expect("valid");
    let start = Instant::now();
    let mut ticks = interval(Duration::from_millis(100));
    while start.elapsed() < Duration::from_secs(4) {
        ticks.tick().await;
        put(&store, "key", "x").await.expect("written, with whatever token");
        assert!(store.get("key").await.expect("read").is_some());
        let mut watch = store.watch(&[KeyRange::prefix("key")], 1).await.expect("watches");
        assert!(matches!(watch.recv().await, Some(Ok(_))));
    }
}

/// Tokens that are good for a second.
fn token_option(key: &Path) -> String {
    format!("jwt,sign-method=HS256,priv-key={},ttl=1s", key.display())
}
