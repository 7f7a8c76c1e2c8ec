//! Pools of namespaces over the controller's API, and single addresses of a pool that is nearly full.

use super::{Effort, timed};
use crate::counters::{Counters, READS, TRANSACTIONS};
use crate::filler::{lease_all, scatter};
use crate::keep_alive::{KeepAlive, container_id, post_of};
use crate::report::{Bound, Section, Unit, millis};
use crate::rig::Cluster;
use crate::samples::Samples;
use crate::simulated;
use anyhow::{Result, ensure};
use coil_tests::coild::request;
use coil_tests::http::Http;
use common::ipam::{NamespacePool, RangeSpec};
use common::name::PodText;
use common::pool_id::{PoolId, Scoped};
use serde_json::{Value, json};

/// All pools, those of the one large namespace, and those of each other one.
const POOLS: usize = 10_000;
const LARGE: usize = 1_000;
const SMALL: usize = 10;
/// How often one is read, and a namespace's are listed.
const READINGS: usize = 500;
/// How often those of the large namespace are listed.
const LISTINGS: usize = 50;
/// Milliseconds of one create, get or list.
const REQUEST: f64 = 5.0;
/// Milliseconds of the list of the large namespace.
const LIST: f64 = 50.0;

/// The nearly full pool: 2^16 addresses of a /15.
const BITS: u32 = 16;
const SUBNET: &str = "172.16.0.0/15";
const GATEWAY: &str = "172.16.0.1";
const START: &str = "172.16.128.0";
const END: &str = "172.17.127.255";
/// Addresses leased in a hundred.
const LEASED: u64 = 99;
const ADDRESSES: usize = 200;
/// Milliseconds of an address, and round trips to the store for it.
const ADDRESS: f64 = 10.0;
const ROUND_TRIPS: f64 = 3.0;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "Pools of namespaces",
        format!(
            "coil-controller on etcd, over HTTP, a connection for each request, one request after the other. {} \
             pools are made: the first {} in one namespace, {SMALL} in each of the others. Then some of them are \
             read, and listed by namespace. The nearly full pool has {} addresses, of which {LEASED} % are leased \
             to another node, scattered; a coild with the default settings is asked for {} of the rest, one after \
             the other, over a connection that is kept. Each is leased from the store before it is given. Round \
             trips are all reads and transactions that etcd counts meanwhile, so those of the mirror too.",
            effort.of(POOLS),
            effort.of(LARGE),
            1_u32 << BITS,
            effort.of(ADDRESSES),
        ),
    );
    let cluster = Cluster::start()?;
    eprintln!("    {} pools", effort.of(POOLS));
    many_pools(&mut section, &cluster.controller.http(), effort)?;
    eprintln!("    a pool of {} addresses", 1_u32 << BITS);
    nearly_full(&mut section, &cluster, effort)?;
    Ok(section)
}

fn many_pools(section: &mut Section, http: &Http, effort: Effort) -> Result<()> {
    let (pools, large) = (effort.of(POOLS), effort.of(LARGE));
    let namespace =
        |number: usize| if number < large { "large".into() } else { format!("n{}", number / SMALL) };
    let [mut creates, mut gets, mut lists, mut long] = [const { Samples::new() }; 4];
    for number in 0..pools {
        let body = pool(&namespace(number), number);
        timed(&mut creates, || http.post("/nsippool", &body)?.expect(200))?;
    }
    for reading in 0..effort.of(READINGS) {
        // All over the pools; those of the large namespace are not listed here.
        let number = large + reading * 7_919 % (pools - large);
        let namespace = namespace(number);
        timed(&mut gets, || http.get(&format!("/nsippool/{namespace}/pool-{number}"))?.expect(200))?;
        let listed = timed(&mut lists, || list(http, &namespace))?;
        ensure!(listed == SMALL, "{listed} pools in {namespace}, expected {SMALL}");
    }
    for _ in 0..effort.of(LISTINGS) {
        let listed = timed(&mut long, || list(http, "large"))?;
        ensure!(listed == large, "{listed} pools in the large namespace, expected {large}");
    }
    for (what, samples, limit) in [
        (format!("create of a pool beside up to {pools}"), creates, REQUEST),
        (format!("get of one of {pools} pools"), gets, REQUEST),
        (format!("list of {SMALL} of {pools} pools"), lists, REQUEST),
        (format!("list of {large} of {pools} pools"), long, LIST),
    ] {
        let p50 = millis(samples.median());
        section.goal(format!("{what}, p50"), Bound::AtMost(limit), p50, Unit::Milliseconds);
        section.times(what, samples);
    }
    Ok(())
}

fn pool(namespace: &str, number: usize) -> Value {
    let net = format!("10.{}.{}", number / 256, number % 256);
    json!({
        "name": format!("pool-{number}"), "namespace": namespace, "subnet": format!("{net}.0/24"),
        "start": format!("{net}.5"), "end": format!("{net}.250"), "gateway": format!("{net}.1"), "vlanid": 100,
    })
}

fn list(http: &Http, namespace: &str) -> Result<usize> {
    let listed: Vec<Value> = http.get(&format!("/getAllPool/{namespace}"))?.expect(200)?.parse()?;
    Ok(listed.len())
}

fn nearly_full(section: &mut Section, cluster: &Cluster, effort: Effort) -> Result<()> {
    let body = json!({
        "name": "full", "namespace": "ns", "subnet": SUBNET, "start": START, "end": END, "gateway": GATEWAY,
        "vlanid": 0,
    });
    cluster.controller.http().post("/nsippool", &body)?.expect(200)?;
    let range = RangeSpec { start: Some(START.parse()?), end: Some(END.parse()?), cidr: None };
    let pool = NamespacePool::new(SUBNET.parse()?, range, GATEWAY.parse()?, 0)?;
    let id = PoolId::Namespace(Scoped { namespace: PodText::new("ns")?, name: PodText::new("full")? });
    let leased = (0..(1_u64 << BITS) * LEASED / 100).map(|number| scatter(number, BITS));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = simulated::store(&cluster.etcd.endpoint())?;
    runtime.block_on(lease_all(store.as_ref(), &id, &pool.space(), leased))?;
    let mut coild = cluster.node("node")?;
    coild.run()?;
    let mut connection = KeepAlive::connect(&coild.socket())?;
    let mut samples = Samples::new();
    let before = Counters::read(&cluster.etcd)?;
    for number in 0..effort.of(ADDRESSES) {
        let mut body = request(&container_id(1, number));
        body["annotations"] = json!({"hcipam_ns_ippool": "full"});
        let post = post_of(&body);
        timed(&mut samples, || connection.exchange(&post).map(|_| ()))?;
    }
    let after = Counters::read(&cluster.etcd)?;
    let mut calls = 0.0;
    for (metric, label) in [READS, TRANSACTIONS] {
        calls += after.grown(&before, metric, label)?;
    }
    let each = calls / f64::from(u32::try_from(samples.len())?);
    let what = format!("an address of a pool with {LEASED} % leased");
    section.goal(format!("{what}: round trips"), Bound::AtMost(ROUND_TRIPS), each, Unit::Count);
    let p50 = millis(samples.median());
    section.goal(format!("{what}, p50"), Bound::AtMost(ADDRESS), p50, Unit::Milliseconds);
    section.times(what, samples);
    Ok(())
}
