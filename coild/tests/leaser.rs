//! Leasing of blocks, without anything of a node but its name.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use coild::lease_keeper::LeaseError;
use coild::lease_keeper::leaser::{Leased, Leaser};
use coild::state::{BlockId, Need};
use common::ipam::{Family, Pool, Unit};
use common::name::{NodeName, PoolName};
use common::store::embedded::Embedded;
use common::store::{Op, Store, Txn, keys, record};
use std::collections::BTreeSet;
use std::sync::Arc;

async fn store(pool: &Pool) -> Arc<dyn Store> {
    let store = Embedded::in_memory().await.expect("store");
    write(&store, pool).await;
    Arc::new(store)
}

async fn write(store: &dyn Store, pool: &Pool) {
    let put = Op::Put(keys::pool(&PoolName::default_pool()), record::encode(pool));
    store.txn(Txn::new().then(put)).await.expect("written");
}

fn pool(subnet: &str) -> Pool {
    Pool::of_subnets(vec![subnet.parse().expect("subnet")])
}

fn leaser(store: &Arc<dyn Store>, node: &str) -> Leaser {
    Leaser::new(NodeName::new(node).expect("name"), Arc::clone(store))
}

fn need() -> Need {
    Need { pool: PoolName::default_pool(), family: Family::V4 }
}

fn units(leased: &[Leased]) -> BTreeSet<Unit> {
    leased.iter().map(|leased| leased.unit).collect()
}

#[tokio::test]
async fn several_blocks_are_one_transaction_and_lie_together() {
    let store = store(&pool("10.0.0.0/16")).await;
    let mut node = leaser(&store, "n1");
    let before = store.list_keys(&keys::pools(), 0).await.expect("read").revision;
    let (_, leased) = node.lease_any(&need(), 3, &BTreeSet::new()).await.expect("leased");
    assert!(leased.iter().all(|leased| leased.token == before + 1), "{leased:?} after {before}");
    let firsts: Vec<u128> = leased.iter().map(|leased| leased.unit.first_number()).collect();
    assert_eq!(firsts, [firsts[0], firsts[0] + 16, firsts[0] + 32]);
    let name = NodeName::new("n1").expect("name");
    assert_eq!(store.count(&keys::leases(&need().pool)).await.expect("read"), 3);
    assert_eq!(store.count(&keys::blocks(&name)).await.expect("read"), 3);
    for Leased { unit, token } in leased {
        assert!(node.release(&BlockId { pool: need().pool.into(), unit }, token).await.expect("released"));
    }
    assert_eq!(store.count(&keys::leases(&need().pool)).await.expect("read"), 0);
    assert_eq!(store.count(&keys::blocks(&name)).await.expect("read"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_take_several_at_once_share_a_pool_out() {
    let store = store(&pool("10.0.0.0/22")).await;
    let nodes = (1..=8_usize).map(|number| {
        let mut node = leaser(&store, &format!("n{number}"));
        tokio::spawn(async move {
            let mut all = Vec::new();
            loop {
                match node.lease_any(&need(), number, &BTreeSet::new()).await {
                    Ok((_, leased)) => {
                        assert!((1..=number).contains(&leased.len()), "{leased:?}");
                        all.extend(leased);
                    }
                    Err(LeaseError::PoolFull { .. }) => return all,
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
    });
    let mut all = Vec::new();
    for node in futures_util::future::join_all(nodes).await {
        all.extend(node.expect("ends"));
    }
    assert_eq!((all.len(), units(&all).len()), (64, 64));
}

#[tokio::test]
async fn what_the_node_holds_is_left_out() {
    let store = store(&pool("10.0.0.0/25")).await;
    let unit = |last: u8| Unit::containing([10, 0, 0, last].into(), 4);
    let held: BTreeSet<Unit> = (0..8).filter(|block| *block != 5).map(|block| unit(block * 16)).collect();
    let mut node = leaser(&store, "n1");
    let (_, leased) = node.lease_any(&need(), 4, &held).await.expect("leased");
    assert_eq!(units(&leased), BTreeSet::from([unit(80)]));
    let full = node.lease_any(&need(), 1, &held).await;
    assert!(matches!(full, Err(LeaseError::PoolFull { .. })), "{full:?}");
}

#[tokio::test]
async fn a_pool_that_changed_since_it_was_read_is_read_anew() {
    let store = store(&pool("10.0.0.0/28")).await;
    let mut node = leaser(&store, "n1");
    node.lease_any(&need(), 1, &BTreeSet::new()).await.expect("leased");
    let full = node.lease_any(&need(), 1, &BTreeSet::new()).await;
    assert!(matches!(full, Err(LeaseError::PoolFull { .. })), "{full:?}");
    write(store.as_ref(), &pool("10.0.0.0/27")).await;
    let second = Unit::containing([10, 0, 0, 16].into(), 4);
    let (_, leased) = node.lease_any(&need(), 1, &BTreeSet::new()).await.expect("the new block");
    assert_eq!(units(&leased), BTreeSet::from([second]));
    write(store.as_ref(), &Pool { disabled: true, ..pool("10.0.0.0/26") }).await;
    let third = Unit::containing([10, 0, 0, 32].into(), 4);
    let closed = node.lease_any(&need(), 1, &BTreeSet::new()).await;
    assert!(matches!(closed, Err(LeaseError::NoPool(_))), "{closed:?}");
    let closed = node.lease_exactly(&need().pool, third, false).await;
    assert!(matches!(closed, Err(LeaseError::NoPool(_))), "{closed:?}");
    // What containers have already is leased of it all the same.
    let fourth = Unit::containing([10, 0, 0, 48].into(), 4);
    assert_eq!(node.lease_exactly(&need().pool, fourth, true).await.expect("adopted").1.unit, fourth);
    write(store.as_ref(), &pool("10.0.0.0/26")).await;
    assert_eq!(node.lease_exactly(&need().pool, third, false).await.expect("leased").1.unit, third);
    let taken = node.lease_exactly(&need().pool, second, false).await;
    assert!(matches!(taken, Err(LeaseError::BlockTaken(..))), "{taken:?}");
}
