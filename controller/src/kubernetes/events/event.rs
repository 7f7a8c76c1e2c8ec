//! The Event that tells why a pod got no address.
//!
//! It is one of `v1` and not of `events.k8s.io/v1`, as kubelet's are: there count, time and text of an Event may become others
//! under one name. Of the newer kind nothing but a `series` may.

use common::hex;
use common::name::NodeName;
use common::store::record::Refused;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Who tells it.
const COMPONENT: &str = "coild";
/// The longest name of an object.
const MAX_NAME: usize = 253;
/// The longest message.
const MAX_MESSAGE: usize = 1_024;
/// Bytes of the hash in a name.
const HASH: usize = 8;

/// The Event; nothing if it is not this pod that the node refused, but one of its name on another node, or that came later.
pub(super) fn of(node: &NodeName, refused: &Refused, pod: &Pod) -> Option<Event> {
    let uid = pod.metadata.uid.clone()?;
    if pod.spec.as_ref()?.node_name.as_deref() != Some(node.as_str()) {
        return None;
    }
    let (first, last) = (time(refused.first)?, time(refused.last)?);
    if pod.metadata.creation_timestamp.as_ref().is_some_and(|created| created.0 > last) {
        return None;
    }
    let (namespace, name) = (Some(refused.namespace.to_string()), refused.pod.as_str());
    let mut message = refused.message.clone();
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    Some(Event {
        metadata: ObjectMeta {
            name: Some(event_name(name, &uid, refused)),
            namespace: namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace,
            name: Some(name.to_owned()),
            uid: Some(uid),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some(refused.reason.as_str().to_owned()),
        message: Some(message),
        count: Some(i32::try_from(refused.count).unwrap_or(i32::MAX)),
        first_timestamp: Some(Time(first)),
        last_timestamp: Some(Time(last)),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: Some(node.to_string()) }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_string()),
        ..Event::default()
    })
}

/// The pod's name and a hash: of that very pod, why it was refused, and since when.
fn event_name(pod: &str, uid: &str, refused: &Refused) -> String {
    let of = format!("{uid} {} {}", refused.reason.as_str(), refused.first);
    let hash = Sha256::digest(of);
    let room = pod.len().min(MAX_NAME - 1 - 2 * HASH);
    // A name ends with a letter or digit, and so must what comes before a dot.
    let pod = pod[..pod.floor_char_boundary(room)].trim_end_matches(['-', '.']);
    format!("{pod}.{}", hex::encode(&hash[..HASH]))
}

/// To the second, as API servers keep it.
fn time(millis: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(millis / 1_000).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::is_dns_name;
    use super::*;
    use common::name::PodText;
    use common::store::record::Reason;
    use serde_json::{Value, json};

    const FIRST: u64 = 1_700_000_000_999;

    fn refused(pod: &str) -> Refused {
        let text = |text: &str| PodText::new(text).expect("text");
        Refused {
            namespace: text("shop"),
            pod: text(pod),
            reason: Reason::NoFreeAddress,
            message: "all ipv4 blocks of pool default are leased".to_owned(),
            count: 3,
            first: FIRST,
            last: FIRST + 31_000,
        }
    }

    fn pod(node: &str, created: &str) -> Pod {
        let pod = json!({
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u-1", "creationTimestamp": created},
            "spec": {"nodeName": node, "containers": []},
        });
        serde_json::from_value(pod).expect("a pod")
    }

    fn event(refused: &Refused) -> Option<Value> {
        let node = NodeName::new("n1").expect("name");
        let event = of(&node, refused, &pod("n1", "2023-11-14T22:13:19Z"))?;
        Some(serde_json::to_value(&event).expect("JSON"))
    }

    #[test]
    fn what_it_says() {
        let event = event(&refused("web-0")).expect("an Event");
        let name = event["metadata"]["name"].as_str().expect("a name");
        assert!(name.starts_with("web-0.") && is_dns_name(name), "{name}");
        assert_eq!(
            event,
            json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": {"name": name, "namespace": "shop"},
                "involvedObject": {
                    "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-0", "uid": "u-1",
                },
                "type": "Warning", "reason": "NoFreeAddress",
                "message": "all ipv4 blocks of pool default are leased", "count": 3,
                "firstTimestamp": "2023-11-14T22:13:20Z", "lastTimestamp": "2023-11-14T22:13:51Z",
                "source": {"component": "coild", "host": "n1"},
                "reportingComponent": "coild", "reportingInstance": "n1",
            })
        );
    }

    #[test]
    fn the_name_is_of_the_pod_the_reason_and_the_first_time() {
        let name = |refused: &Refused| event(refused).expect("an Event")["metadata"]["name"].clone();
        let one = refused("web-0");
        let more = Refused { count: 9, last: FIRST + 60_000, message: "other".to_owned(), ..one.clone() };
        assert_eq!(name(&one), name(&more));
        assert_ne!(name(&one), name(&Refused { reason: Reason::NoUsablePool, ..one.clone() }));
        assert_ne!(name(&one), name(&Refused { first: FIRST + 1, ..one }));
        for long in ["x".repeat(253), format!("{}-.-{}", "x".repeat(234), "x".repeat(16))] {
            let name = event_name(&long, "u", &refused(&long));
            assert!(is_dns_name(&name) && name.len() > 200, "{name}");
        }
    }

    #[test]
    fn another_pod_of_the_name_is_not_meant() {
        let node = NodeName::new("n1").expect("name");
        let of = |pod: &Pod| of(&node, &refused("web-0"), pod);
        assert!(of(&pod("n1", "2023-11-14T22:13:51Z")).is_some());
        assert!(of(&pod("n1", "2023-11-14T22:13:52Z")).is_none(), "it came later");
        assert!(of(&pod("n2", "2023-11-14T22:13:19Z")).is_none());
        assert!(of(&Pod::default()).is_none());
        let refused = Refused { message: "ü".repeat(2_000), last: u64::MAX, ..refused("web-0") };
        assert!(event(&refused).is_none(), "no such time");
        let refused = Refused { last: FIRST, ..refused };
        assert_eq!(event(&refused).expect("one")["message"].as_str().map(str::len), Some(1_024));
    }
}
