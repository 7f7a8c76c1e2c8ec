//! The contract, on every kind of store; etcd is a real server.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod cluster;

use async_trait::async_trait;
use cluster::Server;
use common::store::contract::{self, Subject};
use common::store::embedded::Embedded;
use common::store::etcd::{Etcd, EtcdConfig};
use common::store::{Op, Revision, Store, Txn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// An embedded store forgets as it goes on.
async fn compact_embedded(store: &dyn Store) {
    for _ in 0..70 {
        let txn =
            (0..Txn::MAX).fold(Txn::new(), |txn, n| txn.then(Op::Put(format!("filler/{n}"), "x".into())));
        store.txn(txn).await.expect("written");
    }
}

struct Memory;

#[async_trait]
impl Subject for Memory {
    async fn empty(&self) -> Arc<dyn Store> {
        Arc::new(Embedded::in_memory().await.expect("a store"))
    }

    async fn compact(&self, store: &dyn Store, _: Revision) {
        compact_embedded(store).await;
    }
}

struct File(tempfile::TempDir, AtomicU32);

#[async_trait]
impl Subject for File {
    async fn empty(&self) -> Arc<dyn Store> {
        let name = self.1.fetch_add(1, Ordering::Relaxed).to_string();
        Arc::new(Embedded::open(self.0.path().join(name)).await.expect("a store"))
    }

    async fn compact(&self, store: &dyn Store, _: Revision) {
        compact_embedded(store).await;
    }
}

/// Each store has a prefix of its own on one server.
struct Cluster(Server, AtomicU32);

#[async_trait]
impl Subject for Cluster {
    async fn empty(&self) -> Arc<dyn Store> {
        let n = self.1.fetch_add(1, Ordering::Relaxed);
        let config = EtcdConfig {
            endpoints: vec![self.0.endpoint()],
            prefix: format!("/test/{n}/"),
            ..EtcdConfig::default()
        };
        Arc::new(Etcd::connect(&config).expect("valid"))
    }

    async fn compact(&self, _: &dyn Store, revision: Revision) {
        let revision = revision.try_into().expect("a small number");
        self.0.client().await.compact(revision, None).await.expect("compacted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_in_memory() {
    contract::run(&Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_in_a_file() {
    contract::run(&File(tempfile::tempdir().expect("directory"), AtomicU32::new(0))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd() {
    contract::run(&Cluster(Server::start().await, AtomicU32::new(0))).await;
}
