//! Services: what a store full of them costs to show, and how soon their pods run.

use super::{Effort, timed};
use crate::at_once::at_once;
use crate::processor::Spending;
use crate::report::{Bound, Section, Unit, millis};
use crate::rig::Cluster;
use crate::samples::Samples;
use anyhow::{Result, ensure};
use coil_tests::http::Http;
use coil_tests::platform::{Platform, Services, web};
use serde_json::{Value, json};
use std::time::Duration;

/// Namespaces that are stored, and services of each.
const NAMESPACES: usize = 1_000;
const SERVICES: usize = 10;
/// Clients that make them.
const CLIENTS: usize = 8;
/// How often one is read, and those of a namespace are listed.
const READINGS: usize = 300;
/// Pods of a service, and how often they are made.
const REPLICAS: u32 = 50;
const ROUNDS: usize = 3;
/// For how long nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// Milliseconds of a get, and of a list; how many times the bare loop the pods may take; share of one processor.
const GET: f64 = 5.0;
const LIST: f64 = 20.0;
const BARE: f64 = 1.3;
const AT_REST: f64 = 0.02;

/// Measures.
pub(super) fn run(effort: Effort) -> Result<Section> {
    let namespaces = effort.of(NAMESPACES);
    let replicas = REPLICAS;
    let mut section = Section::new(
        "Services",
        format!(
            "coil-controller on etcd, over HTTP, a connection for each request: {namespaces} namespaces with {SERVICES} \
             services each are stored; then services are read, and listed by namespace, all over. Pods: a standalone \
             controller, a containerd with runc and the plugin are in namespaces of their own. By turns, a service \
             with {replicas} replicas of a busybox web server is made, until the API tells that all of them run; and as many pods \
             are made by a bare loop of the same CRI calls (image, sandbox, container, start), one after the other. The controller's processor time is that of \
             {} s in which the {replicas} pods run and nothing happens.",
            effort.time(IDLE).as_secs(),
        ),
    );
    eprintln!("    {namespaces} namespaces");
    stored(&mut section, effort, namespaces)?;
    eprintln!("    {REPLICAS} replicas");
    started(&mut section, effort)?;
    Ok(section)
}

fn stored(section: &mut Section, effort: Effort, namespaces: usize) -> Result<()> {
    let cluster = Cluster::start()?;
    let http = cluster.controller.http();
    at_once((0..CLIENTS).collect(), |client| {
        (client..namespaces).step_by(CLIENTS).try_for_each(|number| fill(&http, number))
    })?;
    let [mut gets, mut lists] = [const { Samples::new() }; 2];
    for reading in 0..effort.of(READINGS) {
        let namespace = reading * 7_919 % namespaces;
        let path = format!("/namespace/n{namespace}/service");
        timed(&mut gets, || http.get(&format!("{path}/s{}", reading % SERVICES))?.expect(200))?;
        let listed: Vec<Value> = timed(&mut lists, || http.get(&path)?.expect(200))?.parse()?;
        ensure!(listed.len() == SERVICES, "{} services in a namespace", listed.len());
    }
    let all = namespaces * SERVICES;
    for (what, samples, limit) in [
        (format!("get of one of {all} services"), gets, GET),
        (format!("list of {SERVICES} of {all} services"), lists, LIST),
    ] {
        let p50 = millis(samples.median());
        section.goal(format!("{what}, p50"), Bound::AtMost(limit), p50, Unit::Milliseconds);
        section.times(what, samples);
    }
    Ok(())
}

/// Makes a namespace and its services.
fn fill(http: &Http, number: usize) -> Result<()> {
    http.post("/namespace", &json!({"name": format!("n{number}")}))?.expect(200)?;
    (0..SERVICES).try_for_each(|service| {
        let body = web(&format!("s{service}"), 3);
        http.post(&format!("/namespace/n{number}/service"), &body)?.expect(200).map(|_| ())
    })
}

fn started(section: &mut Section, effort: Effort) -> Result<()> {
    let mut platform = Platform::start()?;
    let [mut kept, mut bare] = [const { Samples::new() }; 2];
    let service = web("web", REPLICAS);
    let command: Vec<String> =
        ["/bin/busybox", "sh", "-c", "busybox mkdir /www; exec busybox httpd -f -p 80 -h /www"]
            .map(str::to_owned)
            .into();
    let mut at_rest = f64::NAN;
    for round in 0..effort.of(ROUNDS) {
        timed(&mut kept, || {
            platform.post("/namespace/demo/service", &service)?;
            platform.runs("web", REPLICAS)
        })?;
        if round == 0 {
            at_rest = idle(&mut platform, effort.time(IDLE))?;
        }
        platform.delete("/namespace/demo/service/web")?;
        platform.gone("/namespace/demo/service/web")?;
        let pods = usize::try_from(REPLICAS)?;
        timed(&mut bare, || platform.containerd.run_bare(pods, &command, 24 << 20))?;
        platform.containerd.remove_bare()?;
    }
    let what = format!("{REPLICAS} replicas run / a bare loop of the same calls");
    section.goal(what, Bound::AtMost(BARE), kept.ratio(&bare), Unit::Ratio);
    section.goal(
        "the controller at rest: share of a processor",
        Bound::AtMost(AT_REST),
        at_rest,
        Unit::Count,
    );
    section.times(format!("a service until {REPLICAS} replicas run"), kept);
    section.times(format!("a bare loop until {REPLICAS} pods run"), bare);
    Ok(())
}

/// The share of a processor that the controller takes while nothing happens.
#[expect(clippy::disallowed_methods, reason = "that nothing happens takes its time")]
fn idle(platform: &mut Platform, time: Duration) -> Result<f64> {
    let process = platform.controller.process()?.id();
    let spending = Spending::of([process])?;
    std::thread::sleep(time);
    let [spent] = spending.seconds()?;
    Ok(spent / time.as_secs_f64())
}
