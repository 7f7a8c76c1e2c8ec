//! Tenants' addresses: given one after the other and by many clients, and listed, in a block with a million of them.

use super::{Effort, timed};
use crate::at_once::at_once;
use crate::counters::{COMMITS, Counters, LOG_SYNCS, READS, TRANSACTIONS};
use crate::filler::{give_all, given_id, scatter, settle};
use crate::memory::memory;
use crate::processor::Spending;
use crate::report::{Bound, Section, Unit, millis};
use crate::rig::Cluster;
use crate::samples::{Samples, median};
use crate::simulated;
use anyhow::{Context, Result, bail, ensure};
use coil_tests::http::Http;
use common::name::TenantId;
use ipnet::Ipv4Net;
use serde_json::json;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use uuid::Uuid;

const TENANT: &str = "acme";
/// The block with a million addresses, and where they are: all over its lower half.
const LARGE: &str = "10.0.0.0/8";
const BITS: u32 = 23;
const HELD: usize = 1_000_000;
/// Addresses that are given of each block, one after the other; of this many the small block is a new one.
const GIVEN: usize = 500;
const OF_SMALL: usize = 50;
/// How often a page is listed, so that the collection of etcd's garbage does not decide, and how many items it has.
const LISTINGS: usize = 500;
const PAGE: usize = 200;
/// Clients at once, and for how long.
const CLIENTS: usize = 32;
const TIME: Duration = Duration::from_secs(6);
/// More than etcd has for its database by default.
const QUOTA: &str = "--quota-backend-bytes=8589934592";

/// Round trips to the store for an address; how much more one of the large block may take; addresses in a second;
/// milliseconds of a page; megabytes of the controller.
const ROUND_TRIPS: f64 = 2.0;
const FLAT: f64 = 1.3;
const RATE: f64 = 500.0;
const LIST: f64 = 15.0;
const MEMORY: f64 = 150.0;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let held = effort.of(HELD);
    let mut section = Section::new(
        "Tenants' addresses",
        format!(
            "coil-controller on etcd (with `{QUOTA}`: these keys are more than it has room for by default), over HTTP, \
             a connection for each request. Of a {LARGE}, {held} addresses are held, scattered over its lower half, and \
             etcd has given up the room that this many writes at once needed (3.4 copies it for each read, until it \
             commits something of which nothing is a key). \
             Addresses are asked for by turns: the next one of this block, and the next one of a new /24. Round \
             trips are all reads and transactions that etcd counts meanwhile. Then {CLIENTS} clients at once take \
             addresses of the large block for {:.1} s. Pages have {PAGE} items, and the three places take turns.",
            effort.time(TIME).as_secs_f64(),
        ),
    );
    let mut cluster = Cluster::start()?;
    cluster.etcd.restart_with(&[QUOTA])?;
    let tenant = Tenant(cluster.controller.http());
    let large = tenant.block(LARGE)?;
    eprintln!("    {held} addresses");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = simulated::store(&cluster.etcd.endpoint())?;
    let first = LARGE.parse::<Ipv4Net>()?.network();
    let address = |number| Ok(Ipv4Addr::from_bits(first.to_bits() | u32::try_from(scatter(number, BITS))?));
    let addresses = (0..u64::try_from(held)?).map(address).collect::<Result<Vec<_>>>()?;
    let (tenant_id, block) = (TenantId::new(TENANT)?, large.parse()?);
    runtime.block_on(give_all(store.as_ref(), &tenant_id, block, &addresses))?;
    settle(&cluster.etcd)?;
    eprintln!("    the next address");
    by_turns(&mut section, &cluster, &tenant, &large, effort)?;
    eprintln!("    {CLIENTS} clients");
    at_the_same_time(&mut section, &mut cluster, &tenant, &large, effort)?;
    eprintln!("    pages");
    let mut ids: Vec<Uuid> = (0..held).map(given_id).collect();
    ids.sort_unstable();
    let places = [
        ("first page", None),
        ("page in the middle", Some(ids[held / 2])),
        ("page near the end", Some(ids[held - PAGE - 1])),
    ];
    pages(&mut section, &tenant, &large, places, effort)?;
    let process = cluster.controller.process()?;
    section.figure("coil-controller, at most", memory(process, "VmHWM")?, Unit::Megabytes);
    let what = format!("coil-controller in memory, a tenant with {held} addresses");
    section.goal(what, Bound::AtMost(MEMORY), memory(process, "VmRSS")?, Unit::Megabytes);
    Ok(section)
}

/// A tenant's part of the API.
struct Tenant(Http);

impl Tenant {
    /// Makes a block, and answers its id.
    fn block(&self, cidr: &str) -> Result<String> {
        let body = json!({"ip_block": {"cidr": cidr, "type": "private"}});
        let made =
            self.0.post(&format!("/v0.1/ipam/tenants/{TENANT}/ip_blocks"), &body)?.expect(201)?.json()?;
        Ok(made["ip_block"]["id"].as_str().context("the id of a block")?.to_owned())
    }

    fn addresses(block: &str) -> String {
        format!("/v0.1/ipam/tenants/{TENANT}/ip_blocks/{block}/ip_addresses")
    }

    /// Takes the next address of a block.
    fn next(&self, block: &str) -> Result<()> {
        self.0.post(&Self::addresses(block), &json!({"ip_address": {}}))?.expect(201).map(|_| ())
    }

    /// Lists a page, and answers how many items it has.
    fn page(&self, block: &str, marker: Option<&str>) -> Result<usize> {
        let marker = marker.map_or_else(String::new, |marker| format!("&marker={marker}"));
        let page =
            self.0.get(&format!("{}?limit={PAGE}{marker}", Self::addresses(block)))?.expect(200)?.json()?;
        Ok(page["ip_addresses"].as_array().map_or(0, Vec::len))
    }
}

/// The next address of either block, by turns.
fn by_turns(
    section: &mut Section,
    cluster: &Cluster,
    tenant: &Tenant,
    large: &str,
    effort: Effort,
) -> Result<()> {
    let [mut of_small, mut of_large] = [const { Samples::new() }; 2];
    let mut small = String::new();
    // The first one of a block is looked for, and others that are free are found with it.
    tenant.next(large)?;
    let mut calls = Vec::new();
    for number in 0..effort.of(GIVEN) {
        if number % OF_SMALL == 0 {
            small = tenant.block(&format!("192.168.{}.0/24", number / OF_SMALL))?;
        }
        for (block, samples) in [(small.as_str(), &mut of_small), (large, &mut of_large)] {
            let before = Counters::read(&cluster.etcd)?;
            timed(samples, || tenant.next(block))?;
            let after = Counters::read(&cluster.etcd)?;
            let mut of_this = 0.0;
            for (metric, label) in [READS, TRANSACTIONS] {
                of_this += after.grown(&before, metric, label)?;
            }
            calls.push(of_this);
        }
    }
    let what = "a tenant's next address: round trips, p50";
    section.goal(what, Bound::AtMost(ROUND_TRIPS), median(calls), Unit::Count);
    let ratio = of_large.ratio(&of_small);
    section.goal(
        "the next of a /8 with a million held / of a new /24",
        Bound::AtMost(FLAT),
        ratio,
        Unit::Ratio,
    );
    section.times("the next address of a new /24", of_small);
    section.times(format!("the next address of a {LARGE} with {} held", effort.of(HELD)), of_large);
    Ok(())
}

/// Clients that take addresses of the same block.
fn at_the_same_time(
    section: &mut Section,
    cluster: &mut Cluster,
    tenant: &Tenant,
    block: &str,
    effort: Effort,
) -> Result<()> {
    let time = effort.time(TIME);
    let before = Counters::read(&cluster.etcd)?;
    let [member] = cluster.etcd.members() else { bail!("more than one etcd") };
    let processes = [member.process()?.id(), cluster.controller.process()?.id(), std::process::id()];
    let spending = Spending::of(processes)?;
    let (taken, elapsed) = at_once(vec![(); CLIENTS], |()| {
        let (mut samples, start) = (Samples::new(), Instant::now());
        while start.elapsed() < time {
            timed(&mut samples, || tenant.next(block))?;
        }
        Ok(samples)
    })?;
    let spent = spending.seconds()?;
    let after = Counters::read(&cluster.etcd)?;
    let mut all = Samples::new();
    for samples in taken {
        all.append(samples);
    }
    section.note(note(all.len(), elapsed, spent, &before, &after)?);
    let rate = f64::from(u32::try_from(all.len())?) / elapsed.as_secs_f64();
    section.goal(format!("{CLIENTS} clients, addresses given"), Bound::AtLeast(RATE), rate, Unit::PerSecond);
    section.times(format!("the next address, {CLIENTS} clients"), all);
    Ok(())
}

/// Where the time of many clients goes.
fn note(
    given: usize,
    elapsed: Duration,
    [etcd, controller, clients]: [f64; 3],
    before: &Counters,
    after: &Counters,
) -> Result<String> {
    let mean = |(count, sum)| {
        let count = after.grown(before, count, "")?;
        Ok::<_, anyhow::Error>((count, after.grown(before, sum, "")? * 1e3 / count.max(1.0)))
    };
    let ((syncs, sync), (commits, commit)) = (mean(LOG_SYNCS)?, mean(COMMITS)?);
    Ok(format!(
        "{CLIENTS} clients: {given} addresses in {:.1} s of the clock; of processor time, etcd took {etcd:.1} s, \
         coil-controller {controller:.1} s and the clients {clients:.1} s. etcd synced its log {syncs} times, \
         {sync:.1} ms each, and its database {commits} times, {commit:.1} ms each. As its own profile says, most of \
         its time marks the index of all keys, in the search for garbage.",
        elapsed.as_secs_f64(),
    ))
}

/// Pages of the three places, by turns.
fn pages(
    section: &mut Section,
    tenant: &Tenant,
    block: &str,
    places: [(&str, Option<Uuid>); 3],
    effort: Effort,
) -> Result<()> {
    let mut places = places.map(|(place, marker)| (place, marker.map(|id| id.to_string()), Samples::new()));
    for _ in 0..effort.of(LISTINGS) {
        for (place, marker, samples) in &mut places {
            let listed = timed(samples, || tenant.page(block, marker.as_deref()))?;
            ensure!(listed == PAGE, "{listed} addresses on the {place}");
        }
    }
    for (place, _, samples) in places {
        let what = format!("the {place} of {}", effort.of(HELD));
        let p50 = millis(samples.median());
        section.goal(format!("{what}, p50"), Bound::AtMost(LIST), p50, Unit::Milliseconds);
        section.times(what, samples);
    }
    Ok(())
}
