//! The lease keeper on a store of which a backup was restored.

use async_trait::async_trait;
use coild::allocator::Allocator;
use coild::journal::Journal;
use coild::lease_keeper::{LeaseError, LeaseKeeper, Want};
use coild::metrics::Metrics;
use coild::state::{Need, Settings};
use common::ipam::{Family, Pool};
use common::name::{NodeName, PoolName};
use common::store::embedded::Embedded;
use common::store::{
    Entry, KeyRange, Op, Page, Revision, Store, StoreError, TtlId, Txn, Watch, keys, record,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A store of which another task hears, while a transaction is on its way, that it went back.
struct Restored {
    store: Embedded,
    rewinds: AtomicU64,
    goes_back: AtomicBool,
}

#[async_trait]
impl Store for Restored {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(key).await
    }

    async fn list(&self, range: &KeyRange, limit: usize) -> Result<Page<Entry>, StoreError> {
        self.store.list(range, limit).await
    }

    async fn list_keys(&self, range: &KeyRange, limit: usize) -> Result<Page<String>, StoreError> {
        self.store.list_keys(range, limit).await
    }

    async fn count(&self, range: &KeyRange) -> Result<u64, StoreError> {
        self.store.count(range).await
    }

    async fn txn(&self, txn: Txn) -> Result<Revision, StoreError> {
        let outcome = self.store.txn(txn).await;
        self.rewinds.fetch_add(u64::from(self.goes_back.swap(false, Ordering::Relaxed)), Ordering::Relaxed);
        outcome
    }

    async fn watch(&self, range: &KeyRange, from: Revision) -> Result<Watch, StoreError> {
        self.store.watch(range, from).await
    }

    async fn grant_ttl(&self, ttl: Duration) -> Result<TtlId, StoreError> {
        self.store.grant_ttl(ttl).await
    }

    async fn renew_ttl(&self, id: TtlId) -> Result<(), StoreError> {
        self.store.renew_ttl(id).await
    }

    async fn revoke_ttl(&self, id: TtlId) -> Result<(), StoreError> {
        self.store.revoke_ttl(id).await
    }

    fn rewinds(&self) -> u64 {
        self.rewinds.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn nothing_is_given_from_a_lease_of_the_moment_of_a_restore() {
    let store = Embedded::in_memory().await.expect("store");
    let pool = Pool::of_subnets(vec!["10.0.0.0/24".parse().expect("net")]);
    let put = Op::Put(keys::pool(&PoolName::default_pool()), record::encode(&pool));
    store.txn(Txn::new().then(put)).await.expect("written");
    let store = Arc::new(Restored { store, rewinds: AtomicU64::new(0), goes_back: AtomicBool::new(true) });
    let dir = tempfile::tempdir().expect("directory");
    let settings = Settings { cooldown: Duration::ZERO, low_water: 1 };
    let journal = Journal::open(&dir.path().join("journal")).expect("journal");
    let state = journal.load(settings, 0).expect("state");
    let (allocator, worker) = Allocator::new(journal, state, settings);
    tokio::spawn(worker.run());
    let (keeper, leases, inbox) = LeaseKeeper::new(
        NodeName::new("n1").expect("name"),
        Arc::clone(&store) as Arc<dyn Store>,
        allocator.clone(),
        Arc::new(Metrics::default()),
        settings.low_water,
    );
    tokio::spawn(keeper.run(inbox));
    let want = Want::Any(Need { pool: PoolName::default_pool(), family: Family::V4 });
    let held = async || allocator.run(|state, _| state.leases().len()).await.expect("it runs");
    let in_store = async || store.count(&keys::leases(&PoolName::default_pool())).await.expect("read");

    let refused = leases.want(want.clone()).await.expect_err("whose the block is must be found out first");
    assert!(matches!(refused, LeaseError::Restored), "{refused}");
    assert_eq!(held().await, 0);
    // It is announced, and the lease goes as one that nobody uses.
    let refused = leases.want(want.clone()).await.expect_err("others claim theirs");
    assert!(matches!(refused, LeaseError::Restored), "{refused}");
    assert!(store.get(keys::RESTORED).await.expect("read").is_some());
    assert_eq!((held().await, in_store().await), (0, 0));
    store.txn(Txn::new().then(Op::Delete(keys::RESTORED.to_owned()))).await.expect("as if expired");
    leases.want(want).await.expect("leased");
    assert_eq!((held().await, in_store().await), (1, 1));
}
