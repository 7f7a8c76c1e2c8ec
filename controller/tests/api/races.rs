//! Changes at the same instant. Each task has a router of its own on the one store, as several controllers do.

use crate::fixture::{Api, pool};
use common::store::embedded::Embedded;
use common::store::{Store, keys};
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;

async fn store() -> Arc<dyn Store> {
    Arc::new(Embedded::in_memory().await.expect("store"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_overlapping_pools_one_wins() {
    for round in 0..5 {
        let store = store().await;
        let mut tasks = JoinSet::new();
        for number in 0..32 {
            let api = Api::on(Arc::clone(&store));
            // Every one of them contains 10.0.0.0/24.
            let body =
                json!({"name": format!("p{number}"), "subnets": [format!("10.0.0.0/{}", 16 + number % 9)]});
            tasks.spawn(async move { api.call("POST", "/v1/pools", &body.to_string()).await });
        }
        let outcomes = tasks.join_all().await;
        let won = outcomes.iter().filter(|(status, _)| *status == 201).count();
        assert_eq!(won, 1, "round {round}: {outcomes:?}");
        for (status, body) in outcomes.iter().filter(|(status, _)| *status != 201) {
            assert_eq!(*status, 409, "{body}");
            assert!(body["error"].as_str().expect("error").contains("overlaps 10.0.0.0/"), "{body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pools_beside_each_other_are_all_created() {
    let store = store().await;
    let mut tasks = JoinSet::new();
    for number in 0..32 {
        let api = Api::on(Arc::clone(&store));
        tasks
            .spawn(async move { api.create(&format!("p{number}"), &[&format!("10.{number}.0.0/16")]).await });
    }
    tasks.join_all().await;
    assert_eq!(Api::on(store).pages("/v1/pools", 500).await.len(), 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subnet_goes_to_one_pool() {
    let store = store().await;
    let api = Api::on(Arc::clone(&store));
    for number in 0..16 {
        api.create(&format!("p{number}"), &[&format!("10.{number}.0.0/16")]).await;
    }
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        let api = Api::on(Arc::clone(&store));
        let path = format!("/v1/pools/p{number}/subnets");
        tasks.spawn(async move { api.call("POST", &path, r#"{"subnet":"10.200.0.0/16"}"#).await });
    }
    let outcomes = tasks.join_all().await;
    let statuses: Vec<u16> = outcomes.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{outcomes:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 15, "{outcomes:?}");
}

const ROUNDS: u32 = 200;

/// A node leases a block of 10.65.0.0/24 while `path` is deleted. In the first round the lease comes first, in the last
/// one the deletion; in between they race. Answers how often the deletion won.
async fn race(path: &str, body: &str) -> u32 {
    let mut won = 0;
    for round in 0..ROUNDS {
        let store = store().await;
        let api = Api::on(Arc::clone(&store));
        api.create("default", &["10.64.0.0/24", "10.65.0.0/24"]).await;
        let node = Api::on(Arc::clone(&store));
        let leasing = async move { node.lease("n1", "default", "10.65.0.16").await.is_ok() };
        let deleting = api.call("DELETE", path, body);
        let (leased, (status, answer)) = match round {
            0 => (leasing.await, deleting.await),
            last if last == ROUNDS - 1 => {
                let deleted = deleting.await;
                (leasing.await, deleted)
            }
            _ => {
                let leasing = tokio::spawn(leasing);
                let deleted = deleting.await;
                (leasing.await.expect("no panic"), deleted)
            }
        };
        let count = store.count(&keys::leases(&pool("default"))).await.expect("count");
        assert_eq!(count, u64::from(leased));
        match status {
            200 => {
                assert!(!leased, "round {round}: a lease in what was deleted: {answer}");
                won += 1;
            }
            409 => assert!(leased, "round {round}: refused for nothing: {answer}"),
            other => panic!("{other}: {answer}"),
        }
    }
    won
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lease_in_a_deleted_pool() {
    let won = race("/v1/pools/default", "").await;
    assert!((1..ROUNDS).contains(&won), "{won}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lease_in_a_removed_subnet() {
    let won = race("/v1/pools/default/subnets", r#"{"subnet":"10.65.0.0/24"}"#).await;
    assert!((1..ROUNDS).contains(&won), "{won}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn removals_of_one_node_at_the_same_time_release_each_block_once() {
    let store = store().await;
    let api = Api::on(Arc::clone(&store));
    api.create("default", &["10.64.0.0/16"]).await;
    api.register("n1", false).await;
    for number in 0..150_u32 {
        let address = format!("10.64.{}.{}", number / 16, number % 16 * 16);
        api.lease("n1", "default", &address).await.expect("leased");
    }
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let api = Api::on(Arc::clone(&store));
        tasks.spawn(async move { api.call("DELETE", "/v1/nodes/n1", "").await });
    }
    let mut released = 0;
    for (status, body) in tasks.join_all().await {
        assert!(matches!(status, 200 | 404), "{body}");
        released += body["released"].as_array().map_or(0, Vec::len);
    }
    assert_eq!(released, 150);
    assert_eq!(store.count(&keys::leases(&pool("default"))).await.expect("count"), 0);
}
