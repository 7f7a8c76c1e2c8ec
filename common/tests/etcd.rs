//! The store on etcd when things go wrong: outages, dead members, expired tokens, bad certificates.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "etcd/auth.rs"]
mod auth;
mod cluster;
#[path = "etcd/outage.rs"]
mod outage;
#[path = "etcd/tls.rs"]
mod tls;

use common::store::etcd::{Etcd, EtcdConfig};
use common::store::{Op, Revision, Store, StoreError, Txn};

/// A store on these endpoints.
fn store(endpoints: &[String]) -> Etcd {
    let config = EtcdConfig { endpoints: endpoints.to_vec(), ..EtcdConfig::default() };
    Etcd::connect(&config).expect("a valid configuration")
}

async fn put(store: &Etcd, key: &str, value: &str) -> Result<Revision, StoreError> {
    store.txn(Txn::new().then(Op::Put(key.to_owned(), value.to_owned().into()))).await
}
