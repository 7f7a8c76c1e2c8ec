//! Members and clusters that are away, come back, or hang.

use crate::cluster::{Server, eventually};
use crate::{put, store};
use common::store::etcd::{Etcd, EtcdConfig};
use common::store::{KeyRange, Store, StoreError};
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

/// How soon calls work again once the cluster is back.
const RECOVERY: Duration = Duration::from_secs(2);
/// How soon a call fails when nobody listens.
const QUICKLY: Duration = Duration::from_millis(500);

async fn unavailable(store: &Etcd) {
    let start = Instant::now();
    for outcome in [store.get("key").await.map(drop), put(store, "key", "x").await.map(drop)] {
        let error = outcome.expect_err("nobody listens");
        assert!(error.is_unavailable(), "{error:?}");
    }
    assert!(start.elapsed() < QUICKLY * 2, "calls fail at once: {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_may_be_away_at_the_start_and_later() {
    let server = Server::prepare("http", &[]);
    let store = store(&[server.endpoint()]);
    unavailable(&store).await;
    assert!(store.watch(&[KeyRange::prefix("key")], 1).await.is_err());

    let mut server = server.started().await;
    let (first, took) = eventually(RECOVERY, async || put(&store, "key", "1").await.ok()).await;
    assert!(took < RECOVERY, "{took:?}");
    for round in 0..3 {
        let mut watch = store.watch(&[KeyRange::prefix("key")], first).await.expect("watches");
        assert!(matches!(watch.recv().await, Some(Ok(_))));
        server.kill();
        let end = loop {
            match watch.recv().await {
                Some(Ok(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(end, Some(Err(StoreError::Unavailable { .. }))), "the watch ends: {end:?}");
        assert!(watch.recv().await.is_none());
        unavailable(&store).await;
        server.run();
        server.answers().await;
        let (entry, _) = eventually(RECOVERY, async || store.get("key").await.ok()).await;
        assert_eq!(entry.expect("what was written is there").create_revision, first);
        eventually(RECOVERY, async || put(&store, "key", &round.to_string()).await.ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_of_three_may_be_dead() {
    let mut servers = Server::start_cluster(3).await;
    let endpoints: Vec<_> = servers.iter().map(Server::endpoint).collect();
    let store = store(&endpoints);
    eventually(Duration::from_secs(10), async || put(&store, "key", "0").await.ok()).await;
    for (dead, server) in servers.iter_mut().enumerate() {
        server.kill();
        // While a leader is elected, the cluster as a whole is unavailable.
        let within = Duration::from_secs(10);
        eventually(within, async || put(&store, &format!("key/{dead}"), "x").await.ok()).await;
        for n in 0..50 {
            let key = format!("key/{dead}/{n}");
            put(&store, &key, "x").await.expect("two of three are enough");
            assert!(store.get(&key).await.expect("read").is_some());
        }
        // Another client meets the dead member first, and goes on to the next.
        let mut turned = endpoints.clone();
        turned.rotate_left(dead);
        let another = crate::store(&turned);
        assert!(another.get("key").await.expect("read").is_some());
        put(&another, "key", "1").await.expect("a request that was not sent goes to the next member");
        server.run();
        server.answers().await;
    }
}

/// A member that takes connections and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_hangs_costs_one_time_out() {
    let servers = Server::start_cluster(3).await;
    let config = EtcdConfig {
        endpoints: servers.iter().map(Server::endpoint).collect(),
        request_timeout: Duration::from_secs(1),
        ..EtcdConfig::default()
    };
    let store = Etcd::connect(&config).expect("valid");
    eventually(Duration::from_secs(10), async || put(&store, "key", "0").await.ok()).await;
    signal(&servers[0], "STOP");
    let start = Instant::now();
    let (_, took) = eventually(Duration::from_secs(10), async || put(&store, "key", "1").await.ok()).await;
    signal(&servers[0], "CONT");
    assert!(took < Duration::from_secs(6), "one time-out and at most an election: {:?}", start.elapsed());
}

fn signal(server: &Server, name: &str) {
    let status = Command::new("kill").args(["-s", name, &server.process_id().to_string()]).status();
    assert!(status.expect("kill").success());
}
