//! What a policy forbids, against a model that looks at every address.

use super::{addresses, embedded, text};
use crate::fixture::Api;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const T: &str = "/v0.1/ipam/tenants/t";

impl Api {
    pub(super) async fn policy(&self, ranges: &[(i64, u64)], octets: &[u8]) -> String {
        let made = self.m(201, "POST", &format!("{T}/policies"), &json!({"policy": {"name": "p"}})).await;
        let id = text(&made["policy"]["id"]);
        for (offset, length) in ranges {
            let range = json!({"ip_range": {"offset": offset, "length": length}});
            self.m(201, "POST", &format!("{T}/policies/{id}/unusable_ip_ranges"), &range).await;
        }
        for octet in octets {
            let octet = json!({"ip_octet": {"octet": octet}});
            self.m(201, "POST", &format!("{T}/policies/{id}/unusable_ip_octets"), &octet).await;
        }
        id
    }
}

/// Every address of a block, as a list, with what is forbidden crossed out.
fn model(first: u32, size: u32, ranges: &[(i64, u64)], octets: &[u8]) -> BTreeSet<Ipv4Addr> {
    let mut usable: Vec<bool> = vec![true; size as usize];
    for (offset, length) in ranges {
        let start = if *offset < 0 { i64::from(size) + offset } else { *offset };
        for at in start..start.saturating_add(i64::try_from(*length).expect("small")) {
            if let Some(place) = usize::try_from(at).ok().and_then(|at| usable.get_mut(at)) {
                *place = false;
            }
        }
    }
    let ends = [first + 1, first + size - 1];
    (0..size)
        .filter(|at| usable[*at as usize])
        .map(|at| first + at)
        .filter(|number| !ends.contains(number))
        .map(Ipv4Addr::from_bits)
        .filter(|address| !octets.contains(&address.octets()[3]))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_left_is_given_and_nothing_else(
        bits in 1_u32..7,
        place in 0_u32..16,
        ranges in prop::collection::vec((-70_i64..70, 1_u64..40), 0..4),
        octets in prop::collection::vec(any::<u8>().prop_map(|octet| octet % 80), 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let (first, size) = (0x0a00_0000 + (place << bits), 1 << bits);
        let expected = model(first, size, &ranges, &octets);
        let outcome: Result<(), TestCaseError> = runtime.block_on(async {
            let api = Api::on(embedded().await);
            let policy = api.policy(&ranges, &octets).await;
            let cidr = format!("{}/{}", Ipv4Addr::from_bits(first), 32 - bits);
            let block = api.block("t", json!({"type": "private", "cidr": cidr, "policy_id": policy})).await;
            // What is forbidden is refused when it is asked for.
            for at in 0..size {
                let address = Ipv4Addr::from_bits(first + at);
                if !expected.contains(&address) {
                    let ends = [first + 1, first + size - 1].contains(&(first + at));
                    let body = json!({"ip_address": {"address": address}});
                    api.m(if ends { 409 } else { 422 }, "POST", &addresses("t", &block), &body).await;
                }
            }
            let mut given = Vec::new();
            for _ in 0..expected.len() {
                let made = api.m(201, "POST", &addresses("t", &block), &Value::Null).await;
                given.push(text(&made["ip_address"]["address"]).parse().expect("address"));
            }
            api.m(422, "POST", &addresses("t", &block), &Value::Null).await;
            prop_assert!(given.is_sorted(), "in order");
            prop_assert_eq!(given.into_iter().collect::<BTreeSet<Ipv4Addr>>(), expected);
            Ok(())
        });
        outcome?;
    }
}

#[tokio::test]
async fn a_change_of_a_policy_counts_at_once() {
    let api = Api::new().await;
    let policy = api.policy(&[], &[]).await;
    let block = api.block("t", json!({"type": "private", "cidr": "10.0.0.0/24", "policy_id": policy})).await;
    let path = addresses("t", &block);
    let next = async || text(&api.m(201, "POST", &path, &Value::Null).await["ip_address"]["address"]);
    assert_eq!(next().await, "10.0.0.0");
    let ranges = format!("{T}/policies/{policy}/unusable_ip_ranges");
    let range = api.m(201, "POST", &ranges, &json!({"ip_range": {"offset": 2, "length": 7}})).await;
    assert_eq!(next().await, "10.0.0.9");
    let range = format!("{ranges}/{}", text(&range["ip_range"]["id"]));
    api.m(200, "PUT", &range, &json!({"ip_range": {"offset": 3}})).await;
    assert_eq!(next().await, "10.0.0.2");
    // Another controller is told by the store.
    let other = Api::on(std::sync::Arc::clone(&api.store));
    other.m(200, "DELETE", &range, &Value::Null).await;
    assert_eq!(next().await, "10.0.0.3");
    let octet = json!({"ip_octet": {"octet": 4}});
    other.m(201, "POST", &format!("{T}/policies/{policy}/unusable_ip_octets"), &octet).await;
    assert_eq!(next().await, "10.0.0.5");
    api.m(422, "POST", &path, &json!({"ip_address": {"address": "10.0.0.4"}})).await;
    // Deleting it frees the block of it.
    api.m(200, "DELETE", &format!("{T}/policies/{policy}"), &Value::Null).await;
    let shown = api.read(&format!("{T}/ip_blocks/{block}")).await;
    assert_eq!(shown["ip_block"]["policy_id"], Value::Null);
    api.m(201, "POST", &path, &json!({"ip_address": {"address": "10.0.0.4"}})).await;
    api.m(404, "GET", &range, &Value::Null).await;
}
