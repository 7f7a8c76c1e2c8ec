//! Namespaces and services that really run: containerd, coil as its network, and the controller that keeps what runs like
//! what is wanted.

use anyhow::{Context, Result, ensure};
use coil_tests::coild::Coild;
use coil_tests::containerd::Containerd;
use coil_tests::controller::Controller;
use coil_tests::etcd::Etcd;
use coil_tests::machine::Machine;
use coil_tests::platform::{Platform, Services, addresses, containers, engine_args, network, shell, web};
use coil_tests::wait::wait_until;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

const WEB: &str = "/namespace/demo/service/web";
const SOON: Duration = Duration::from_mins(1);

fn pool(platform: &Platform, name: &str, start: &str, end: &str) -> Result<()> {
    let body = json!({
        "name": name, "namespace": "demo", "subnet": "10.9.0.0/16", "start": start, "end": end,
        "gateway": "10.9.255.254", "vlanid": 0,
    });
    platform.post("/nsippool", &body).map(|_| ())
}

/// The pods that have addresses of a pool, by address.
fn pods_of_pool(platform: &Platform, name: &str) -> Result<Vec<String>> {
    let pool = platform.get(&format!("/nsippool/demo/{name}"))?;
    Ok(pool["PodMap"].as_object().into_iter().flatten().map(|(address, _)| address.clone()).collect())
}

fn until_free(platform: &Platform, name: &str, left: usize) -> Result<()> {
    wait_until("the addresses to be free", SOON, || Ok(pods_of_pool(platform, name)?.len() == left))
}

#[test]
fn a_service_is_scaled_changed_and_removed() -> Result<()> {
    let platform = Platform::start()?;
    pool(&platform, "web", "10.9.0.5", "10.9.0.24")?;
    platform.put("/namespace/demo", &json!({"nsIPPool": "web"}))?;
    let made = platform.post("/namespace/demo/service", &web("web", 3))?;
    assert_eq!(made["state"]["state"], "provision");
    let service = platform.runs("web", 3)?;
    let given: BTreeSet<String> = addresses(&service).into_iter().collect();
    assert_eq!(given, BTreeSet::from(["10.9.0.5", "10.9.0.6", "10.9.0.7"].map(str::to_owned)));
    assert_eq!(pods_of_pool(&platform, "web")?, given.iter().cloned().collect::<Vec<_>>());
    for (number, pod) in service["pods"].as_array().context("pods")?.iter().enumerate() {
        let name = format!("web-{number}");
        assert_eq!(pod["meta"]["name"], name);
        let answer = platform.fetch(pod["addresses"][0].as_str().context("an address")?)?;
        assert_eq!(answer.trim(), name);
    }
    let container = service["pods"][1]["containers"][0]["id"].as_str().context("an id")?.to_owned();
    assert_eq!(platform.containerd.memory_of(&container)?, 24 << 20);

    // A container that ends is started again, in its pod and at its address.
    let process = platform.containerd.process_of(&container)?;
    platform.machine.run(&format!("kill -9 {process}"))?;
    platform.service("web", "a container was started again", |service| {
        service["pods"][1]["containers"][0]["restarts"] == 1
    })?;
    let again = platform.runs("web", 3)?;
    assert_eq!(addresses(&again), addresses(&service));
    assert_eq!(containers(&again).intersection(&containers(&service)).count(), 2, "the others go on");

    platform.put(WEB, &json!({"replicas": 5}))?;
    let service = platform.runs("web", 5)?;
    assert_eq!(addresses(&service).into_iter().collect::<BTreeSet<_>>().len(), 5);
    platform.put(WEB, &json!({"replicas": 1}))?;
    let service = platform.runs("web", 1)?;
    until_free(&platform, "web", 1)?;
    assert_eq!(pods_of_pool(&platform, "web")?, addresses(&service));
    platform.fetch(&addresses(&service)[0])?;

    let removed = platform.delete(WEB)?;
    assert_eq!(removed.header("access-control-allow-origin"), Some("*"));
    platform.gone(WEB)?;
    until_free(&platform, "web", 0)?;
    platform.is_clean()
}

#[test]
fn a_change_rolls_and_one_that_fails_stops() -> Result<()> {
    let platform = Platform::start()?;
    platform.post("/namespace/demo/service", &web("web", 3))?;
    let first = platform.runs("web", 3)?;
    let script = "busybox mkdir /www; echo second > /www/index.html; exec busybox httpd -f -p 80 -h /www";
    let changed = platform.put(WEB, &json!({"spec": {"command": format!("'{script}'")}}))?;
    let (before, after) = (&first["spec"][0], &changed["spec"][0]);
    assert_ne!(after["meta"]["id"], before["meta"]["id"]);
    assert_eq!((&after["meta"]["parent"], &after["meta"]["revision"]), (&before["meta"]["id"], &json!(1)));
    assert_eq!(changed["state"]["state"], "provision");
    let fewest = std::cell::Cell::new(3);
    platform.service("web", "all pods are of the new spec", |service| {
        // One after the other: never does more than one not run.
        fewest.set(service["state"]["replicas"]["running"].as_u64().unwrap_or_default().min(fewest.get()));
        let pods = service["pods"].as_array().into_iter().flatten();
        pods.clone().count() == 3
            && pods.clone().all(|pod| pod["containers"][0]["spec"] == after["meta"]["id"])
    })?;
    assert!(fewest.get() >= 2, "{} ran at some time", fewest.get());
    let second = platform.runs("web", 3)?;
    for address in addresses(&second) {
        assert_eq!(platform.fetch(&address)?, "second\n");
    }

    // An image that is nowhere stops the change at one pod, and is told.
    platform.put(WEB, &json!({"spec": {"image": "registry.invalid/nothing:1"}}))?;
    let failed = platform.service("web", "the image is missed", |service| {
        service["state"]["status"].as_str().is_some_and(|status| status.starts_with("ERROR_IMAGE: "))
    })?;
    assert_eq!(failed["state"]["state"], "error");
    assert_eq!(
        (&failed["state"]["replicas"]["running"], &failed["state"]["replicas"]["errored"]),
        (&json!(2), &json!(1))
    );
    for pod in 0..2 {
        assert_eq!(
            platform.fetch(failed["pods"][pod]["addresses"][0].as_str().context("an address")?)?,
            "second\n"
        );
    }
    platform.put(WEB, &json!({"spec": {"image": coil_tests::image::IMAGE}}))?;
    platform.runs("web", 3)?;

    // A program that is not in the image, and one that ends at once.
    platform.put(WEB, &json!({"spec": {"entrypoint": "/bin/nothing"}}))?;
    platform.service("web", "the program is missed", |service| {
        service["state"]["status"].as_str().is_some_and(|status| status.contains("/bin/nothing"))
    })?;
    platform.put(WEB, &json!({"spec": {"entrypoint": "/bin/busybox false", "command": ""}}))?;
    platform.service("web", "it is started again and again", |service| {
        let pods = service["pods"].as_array().into_iter().flatten();
        pods.clone()
            .any(|pod| pod["containers"][0]["restarts"].as_u64().is_some_and(|restarts| restarts >= 2))
            && service["state"]["status"].as_str().is_some_and(|status| status.contains("exit code 1"))
    })?;
    platform.delete("/namespace/demo")?;
    platform.gone("/namespace/demo")?;
    platform.is_clean()
}

#[test]
fn published_ports_lead_to_the_pod() -> Result<()> {
    let platform = Platform::start()?;
    let client = platform.machine.netns("client")?;
    for line in [
        "ip link add up0 type veth peer name eth0 netns client",
        "ip link set up0 up",
        "ip address add 192.0.2.1/24 dev up0",
        "ip -n client link set eth0 up",
        "ip -n client address add 192.0.2.2/24 dev eth0",
    ] {
        platform.machine.run(line)?;
    }
    platform.machine.forward()?;
    let page = |port| platform.fetch_from(Some(&client), "192.0.2.1", port);
    let mut service = web("web", 1);
    service["spec"]["ports"] =
        json!([{"protocol": "tcp", "external": 8080, "internal": 80, "published": true}]);
    platform.post("/namespace/demo/service", &service)?;
    platform.runs("web", 1)?;
    assert_eq!(page(8080)?, "web-0\n");
    // The port moves with a change, and is closed with the service.
    let ports = json!([{"protocol": "tcp", "external": 8081, "internal": 80, "published": true}]);
    platform.put(WEB, &json!({"spec": {"ports": ports}}))?;
    assert_eq!(page(8081)?, "web-0\n");
    platform.runs("web", 1)?;
    let rules = || platform.machine.output("iptables-save -t nat");
    assert!(rules()?.contains("--dport 8081") && !rules()?.contains("--dport 8080"), "{}", rules()?);
    platform.delete(WEB)?;
    platform.gone(WEB)?;
    assert!(!rules()?.contains("--dport"), "{}", rules()?);
    platform.machine.run("ip link delete up0")?;
    platform.is_clean()
}

#[test]
fn logs_are_followed_through_restarts_and_rotation() -> Result<()> {
    let mut platform = Platform::start()?;
    let script = r"n=0; while true; do echo line $n; echo error $n >&2; n=$((n+1)); busybox sleep 0.05; done";
    platform.post("/namespace/demo/service", &shell("count", 1, script))?;
    let service = platform.runs("count", 1)?;
    let container = containers(&service).pop_first().context("a container")?;
    let path = "/namespace/demo/service/count/logs";
    let named = format!("{path}?pod=count-0&container={container}");
    let mut readers = vec![platform.http().follow(path)?, platform.http().follow(&named)?];
    for reader in &mut readers {
        expect(reader, 0..20)?;
    }
    platform.containerd.rotate_log(&container)?;
    for reader in &mut readers {
        expect(reader, 20..60)?;
    }
    let open = |controller: u32| -> Result<usize> {
        let files = std::fs::read_dir(format!("/proc/{controller}/fd"))?.filter_map(Result::ok);
        let logs = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        Ok(logs.filter(|file| file.to_string_lossy().contains("/pods/demo_count-0_")).count())
    };
    let controller = platform.controller.process()?.id();
    assert_eq!(open(controller)?, 2);
    readers.pop();
    wait_until("the reader that left to be noticed", SOON, || Ok(open(controller)? == 1))?;

    // The container goes on while the controller is away, and its output is there from the beginning.
    platform.controller.kill()?;
    let ended = readers.pop().context("a reader")?.rest(SOON);
    assert!(ended.is_ok() || ended.is_err(), "whatever was on its way");
    platform.controller.run()?;
    let mut reader = platform.http().follow(&named)?;
    expect(&mut reader, 0..100)?;
    let now = platform.http().get(&format!("{path}?follow=false"))?.expect(200)?.text();
    assert!(now.contains("line 0\n") && now.ends_with('\n'), "{now}");
    let by_coilctl = platform.controller.coilctl("svc logs demo count")?;
    assert!(by_coilctl.contains("line 0\n") && by_coilctl.len() >= now.len());
    // A controller that is asked to end does not wait for readers.
    assert!(platform.controller.stop()?.success());
    reader.rest(SOON)?;
    platform.controller.run()?;
    platform.runs("count", 1)?;
    let mut reader = platform.http().follow(&named)?;
    expect(&mut reader, 0..1)?;
    platform.delete("/namespace/demo/service/count")?;
    reader.rest(SOON)?;
    platform.gone("/namespace/demo/service/count")?;
    platform.is_clean()
}

/// The next lines of both streams are these; the two come in any order.
fn expect(reader: &mut coil_tests::http::Follow, numbers: std::ops::Range<u32>) -> Result<()> {
    let mut missing: BTreeSet<String> =
        numbers.flat_map(|number| [format!("line {number}\n"), format!("error {number}\n")]).collect();
    while !missing.is_empty() {
        let line = reader.line()?.context("the end")?;
        ensure!(missing.remove(&line), "{line:?} is not one of {missing:?}");
    }
    Ok(())
}

#[test]
fn long_logs_are_set_aside_and_no_line_is_missed() -> Result<()> {
    const LONGEST: u64 = 10 << 20;
    let platform = Platform::start()?;
    // With its time and stream, each half of the lines is longer than a log may be.
    let half = 300_000;
    let script = format!(
        "busybox seq 1 {half}; while [ ! -e /more ]; do busybox sleep 0.1; done; busybox seq {} {}; exec busybox sleep 1000",
        half + 1,
        2 * half
    );
    platform.post("/namespace/demo/service", &shell("much", 1, &script))?;
    let service = platform.runs("much", 1)?;
    let container = containers(&service).pop_first().context("a container")?;
    let spec = service["spec"][0]["meta"]["id"].as_str().context("a spec")?;
    let pod = std::fs::read_dir(platform.machine.dir().join("pods"))?.next().context("a pod")??.path();
    let size = |name: &str| -> Result<u64> { Ok(std::fs::metadata(pod.join(spec).join(name))?.len()) };
    let set_aside = || -> Result<bool> {
        Ok(pod.join(spec).join("0.log.1").exists() && size("0.log")? < LONGEST && size("0.log.1")? > LONGEST)
    };
    let mut reader = platform.http().follow("/namespace/demo/service/much/logs")?;
    let mut next = 1;
    let mut read = |last: u32| -> Result<()> {
        while next <= last {
            let line = reader.line()?.context("the end")?;
            ensure!(line == format!("{next}\n"), "{line:?}, expected {next}");
            next += 1;
        }
        Ok(())
    };
    read(half)?;
    wait_until("the log to be set aside", SOON, set_aside)?;
    let process = platform.containerd.process_of(&container)?;
    platform.machine.run(&format!("touch /proc/{process}/root/more"))?;
    read(2 * half)?;
    wait_until("the second half to be set aside as well", SOON, || Ok(set_aside()? && size("0.log")? == 0))?;
    platform.delete("/namespace/demo/service/much")?;
    platform.gone("/namespace/demo/service/much")?;
    platform.is_clean()
}

#[test]
fn containers_go_on_without_controller_and_runtime() -> Result<()> {
    let mut platform = Platform::start()?;
    platform.post("/namespace/demo/service", &web("web", 2))?;
    let service = platform.runs("web", 2)?;
    platform.controller.kill()?;
    for address in addresses(&service) {
        platform.fetch(&address)?;
    }
    platform.controller.run()?;
    let again = platform.runs("web", 2)?;
    assert_eq!(containers(&again), containers(&service), "nothing is started twice");
    assert_eq!(platform.containerd.sandboxes()?, ["web-0", "web-1"]);

    platform.containerd.kill()?;
    platform.service("web", "the runtime is missed", |service| {
        let (state, status) = (&service["state"]["state"], service["state"]["status"].as_str());
        *state == "error" && status.is_some_and(|status| status.contains("containerd.sock can't be reached"))
    })?;
    platform.put(WEB, &json!({"replicas": 3}))?;
    for address in addresses(&service) {
        platform.fetch(&address)?;
    }
    platform.containerd.run()?;
    let again = platform.runs("web", 3)?;
    assert!(containers(&again).is_superset(&containers(&service)), "they were not touched");
    platform.delete("/namespace/demo")?;
    platform.gone("/namespace/demo")?;
    platform.is_clean()
}

#[test]
fn a_service_has_its_own_pool_and_waits_for_room_in_it() -> Result<()> {
    let platform = Platform::start()?;
    pool(&platform, "web", "10.9.0.5", "10.9.0.24")?;
    let front = json!({
        "name": "front", "namespace": "demo", "start": "10.9.0.5", "end": "10.9.0.6", "serviceName": "web",
        "nsIPPoolName": "web",
    });
    platform.post("/serviceIPPool", &front)?;
    let mut body = web("web", 3);
    body["serviceIPPool"] = "front".into();
    platform.post("/namespace/demo/service", &body)?;
    let full = platform.service("web", "the pool is full", |service| {
        service["state"]["replicas"]["running"] == 2 && service["state"]["state"] == "error"
    })?;
    let status = full["state"]["status"].as_str().context("a text")?;
    assert!(status.contains("every address of service pool demo/front is leased"), "{status}");
    platform.controller.coilctl("svcpool extend demo front --start 10.9.0.5 --end 10.9.0.9")?;
    let service = platform.runs("web", 3)?;
    let given: BTreeSet<String> = addresses(&service).into_iter().collect();
    assert_eq!(given, BTreeSet::from(["10.9.0.5", "10.9.0.6", "10.9.0.7"].map(str::to_owned)));
    // A namespace that goes takes its services along.
    platform.post("/namespace/demo/service", &web("other", 1))?;
    platform.runs("other", 1)?;
    platform.delete("/namespace/demo")?;
    let shown = platform.http().get(WEB)?;
    assert!(shown.status == 404 || shown.json()?["state"]["state"] == "destroyed", "{}", shown.text());
    platform.gone("/namespace/demo")?;
    assert_eq!(platform.get("/namespace/demo/service")?, json!([]));
    until_free(&platform, "web", 0)?;
    platform.is_clean()
}

#[test]
fn a_controller_that_is_killed_at_any_step_goes_on() -> Result<()> {
    let mut platform = Platform::start()?;
    for point in [
        "engine.sandbox.before=1*off->return",
        "engine.sandbox.after=1*off->return",
        "engine.container.created=return",
        "engine.container.started=2*off->return",
    ] {
        platform.controller.run_with_failpoints(point)?;
        platform.post("/namespace/demo/service", &web("web", 3))?;
        platform.controller.run_after_failpoint(point, SOON)?;
        let service = platform.runs("web", 3).context(point)?;
        assert_eq!(platform.containerd.sandboxes()?, ["web-0", "web-1", "web-2"], "{point}");
        for address in addresses(&service) {
            platform.fetch(&address)?;
        }
        platform.controller.run_with_failpoints("engine.sandbox.stopped=1*off->return")?;
        platform.delete(WEB)?;
        platform.controller.run_after_failpoint("engine.sandbox.stopped", SOON)?;
        platform.gone(WEB).context(point)?;
        platform.is_clean().context(point)?;
    }
    Ok(())
}

#[test]
fn of_two_controllers_one_runs_services_and_the_other_takes_over() -> Result<()> {
    let machine = Machine::start()?;
    let etcd = Etcd::start_in(machine.place())?;
    let args = engine_args(&machine);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let start = || Controller::serve_with(machine.place(), &etcd, &args);
    let (first, mut second) = (start()?, start()?);
    first.coilctl("pool create default --subnet 10.64.0.0/16")?;
    let coild = Coild::start(machine.place(), &etcd, "alone", &[])?;
    let containerd = Containerd::start(&machine, &network(&coild.socket()))?;
    let mut platform = Platform { controller: first, containerd, machine };
    platform.post("/namespace", &json!({"name": "demo"}))?;
    platform.post("/namespace/demo/service", &web("web", 2))?;
    let before = platform.runs("web", 2)?;
    assert_eq!(second.http().get(WEB)?.expect(200)?.json()?, platform.get(WEB)?, "both say the same");
    assert_eq!(platform.containerd.sandboxes()?, ["web-0", "web-1"]);
    // Whichever of the two it was that ran services: the other one goes on.
    second.kill()?;
    platform.put(WEB, &json!({"replicas": 3}))?;
    let after = platform.runs("web", 3)?;
    assert!(containers(&after).is_superset(&containers(&before)), "nothing was touched");
    second.run()?;
    std::mem::swap(&mut platform.controller, &mut second);
    second.kill()?;
    platform.put(WEB, &json!({"replicas": 1}))?;
    let last = platform.runs("web", 1)?;
    assert!(containers(&after).is_superset(&containers(&last)));
    platform.delete("/namespace/demo")?;
    platform.gone("/namespace/demo")?;
    assert!(platform.containerd.sandboxes()?.is_empty());
    Ok(())
}
