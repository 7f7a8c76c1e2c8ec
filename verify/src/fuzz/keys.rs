//! Keys of the store, names, and the tokens that continue lists.

use common::ipam::{Family, Unit};
use common::lastbackend::Name;
use common::name::{ContainerId, IfName, NodeName, PodText, PoolName};
use common::pool_list::PoolList;
use common::store::{KeyRange, keys as k};
use controller::paging::Place;

/// A key or token is somebody's exactly if it is what would be written for him; a name that is accepted can be
/// put into a key.
pub fn keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(pool) = k::parse_pool(text) {
        assert_eq!(k::pool(&pool), text);
    }
    if let Some(node) = k::parse_node(text) {
        assert_eq!(k::node(&node), text);
    }
    for bits in [0, 4, 10, 127, 128, 255] {
        if let Some((pool, unit)) = k::parse_lease(text, |_| bits) {
            assert_eq!(k::lease(&pool, unit), text);
            assert!(k::leases(&pool).contains(text));
        }
    }
    if let Some((node, pool, first)) = k::parse_block(text) {
        assert_eq!(k::block(&node, &pool, Unit::containing(first, 0)), text);
        assert!(k::blocks(&node).contains(text) && k::blocks_of_pool(&node, &pool).contains(text));
    }
    if let Some((node, address)) = k::parse_evict(text) {
        assert_eq!(k::evict(&node, address), text);
        assert!(k::evictions(&node).contains(text));
    }
    if let Some(pool) = k::parse_namespace_pool(text) {
        assert_eq!(k::namespace_pool(&pool), text);
        assert!(k::namespace_pools().contains(text) && k::pools_of_namespace(&pool.namespace).contains(text));
    }
    if let Some(pool) = k::parse_service_pool(text) {
        assert_eq!(k::service_pool(&pool), text);
        assert!(k::service_pools(&pool.namespace).contains(text));
    }
    if let Some(pod) = k::parse_fixed(text) {
        assert!(k::fixed_of_namespace(&pod.namespace).contains(text));
        assert!(Family::BOTH.iter().any(|family| k::fixed(&pod, *family) == text));
    }
    if let Some(namespace) = k::parse_namespace_choice(text) {
        assert_eq!(k::namespace_choice(&namespace), text);
        assert!(k::namespace_choices().contains(text));
    }
    if let Ok(Some(pools)) = PoolList::read(text) {
        let names: Vec<&str> = pools.iter().map(PoolName::as_str).collect();
        assert_eq!(PoolList::read(&names.join(",")), Ok(Some(pools.clone())));
    }
    platform(text);
    names(text);
    let everything = KeyRange { from: String::new(), to: "\u{10ffff}".to_owned() };
    if let Ok(place) = Place::parse(text, &everything) {
        assert_eq!(Place::parse(&place.token(), &everything).expect("its own token"), place);
    }
}

fn platform(text: &str) {
    use k::lastbackend as k;
    if let Some(namespace) = k::parse_namespace(text) {
        assert_eq!(k::namespace(&namespace), text);
        assert!(k::namespaces().contains(text));
    }
    if let Some(service) = k::parse_service(text) {
        assert_eq!(k::service(&service), text);
        assert!(k::services(&service.namespace).contains(text) && k::all_services().contains(text));
    }
    if let Some(service) = k::parse_run(text) {
        assert_eq!(k::run(&service), text);
        assert!(k::runs(&service.namespace).contains(text) && k::all_runs().contains(text));
    }
    if let Some((namespace, service, time)) = k::parse_activity(text) {
        assert_eq!(k::activity(&namespace, service.as_ref(), time), text);
        assert!(k::activities(&namespace, service.as_ref()).contains(text));
    }
    if let Ok(name) = Name::chosen(text) {
        assert_eq!(k::parse_namespace(&k::namespace(&name)), Some(name));
    }
}

fn names(text: &str) {
    if let Ok(pool) = PoolName::new(text) {
        assert_eq!(k::parse_pool(&k::pool(&pool)), Some(pool));
    }
    if let Ok(node) = NodeName::new(text) {
        assert_eq!(k::parse_node(&k::node(&node)).as_ref(), Some(&node));
        assert!(!node.as_str().contains('/'), "it would be another key");
    }
    if let Ok(interface) = IfName::new(text) {
        assert!(interface.as_str().len() < 16 && !interface.as_str().contains(['/', '\0']), "{text:?}");
    }
    for accepted in [ContainerId::new(text).map(String::from), PodText::new(text).map(String::from)] {
        match accepted {
            Ok(same) => assert_eq!(same, text),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
