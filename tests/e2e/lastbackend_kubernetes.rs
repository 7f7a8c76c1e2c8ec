//! Services in a cluster of Kubernetes: the controller, and an API server that is as strict as a real one and fails in all
//! the ways that one does.

use anyhow::{Context, Result, ensure};
use coil_tests::controller::Controller;
use coil_tests::etcd::Etcd;
use coil_tests::fake_cluster::{FakeCluster, Kind};
use coil_tests::place::Place;
use coil_tests::platform::{Services, addresses, containers};
use coil_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const WEB: &str = "/namespace/demo/service/web";
const SOON: Duration = Duration::from_mins(1);

struct Site {
    controller: Controller,
    cluster: FakeCluster,
    etcd: Etcd,
}

impl Services for Site {
    fn controller(&self) -> &Controller {
        &self.controller
    }
}

impl Site {
    /// A controller in a cluster, with a namespace `demo`.
    fn start() -> Result<Self> {
        let (cluster, etcd) = (FakeCluster::start()?, Etcd::start()?);
        let controller = another(&cluster, &etcd)?;
        let site = Self { controller, cluster, etcd };
        site.post("/namespace", &json!({"name": "demo"}))?;
        Ok(site)
    }

    /// Makes the service `web` with so many pods, and waits until they run.
    fn web(&self, replicas: u32) -> Result<Value> {
        self.post("/namespace/demo/service", &web(replicas))?;
        self.runs("web", replicas)
    }

    fn until(&self, what: &str, is: impl Fn(&FakeCluster) -> bool) -> Result<()> {
        wait_until(what, SOON, || Ok(is(&self.cluster)))
            .with_context(|| self.controller.log().unwrap_or_default())
    }

    /// Waits until nothing is left in the cluster. No request was one that an API server would not take.
    fn is_clean(&self) -> Result<()> {
        let kinds = [Kind::Namespace, Kind::Deployment, Kind::Service, Kind::Pod];
        self.until("nothing to be left", |cluster| {
            kinds.iter().all(|kind| cluster.objects(*kind).is_empty())
        })?;
        self.is_correct()
    }

    fn is_correct(&self) -> Result<()> {
        ensure!(self.cluster.wrong().is_empty(), "{:#?}", self.cluster.wrong());
        let log = self.controller.log()?;
        ensure!(!log.contains("of-the-controller"), "the token is in the log");
        Ok(())
    }
}

fn another(cluster: &FakeCluster, etcd: &Etcd) -> Result<Controller> {
    let kubeconfig = cluster.kubeconfig().display().to_string();
    Controller::serve_with(Place::Here, etcd, &["--engine", "kubernetes", "--kubernetes", &kubeconfig])
}

fn web(replicas: u32) -> Value {
    json!({
        "name": "web", "image": "busybox:1.37", "replicas": replicas, "serviceIPPool": "front",
        "spec": {
            "entrypoint": "busybox httpd", "command": "-f -p 80 '$(HOME)'", "memory": 24,
            "env": ["A=1", "B=$x", "A=2"], "ports": [
                {"internal": 80}, {"internal": 80, "external": 8080, "published": true},
                {"internal": 53, "protocol": "udp"},
            ],
        },
    })
}

fn deployment(site: &Site) -> Result<Value> {
    site.cluster.objects(Kind::Deployment).pop().context("a Deployment")
}

/// The pods of a service by name.
fn names(service: &Value) -> BTreeSet<String> {
    let pods = service["pods"].as_array().into_iter().flatten();
    pods.filter_map(|pod| pod["meta"]["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_service_is_a_deployment() -> Result<()> {
    let site = Site::start()?;
    let service = site.web(3)?;
    let told: BTreeSet<String> = addresses(&service).into_iter().collect();
    let pods = site.cluster.objects(Kind::Pod);
    let given: BTreeSet<String> =
        pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned)).collect();
    assert_eq!((told.len(), &told), (3, &given));
    assert_eq!(containers(&service).len(), 3);
    let made = deployment(&site)?;
    assert_eq!((&made["metadata"]["namespace"], &made["metadata"]["name"]), (&json!("demo"), &json!("web")));
    assert_eq!(made["spec"]["strategy"]["rollingUpdate"], json!({"maxSurge": 0, "maxUnavailable": 1}));
    let template = &made["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"], json!({"hcipam_service_ippool": "front"}));
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["name"], service["spec"][0]["meta"]["id"]);
    // Nothing is put in for what looks like a variable.
    assert_eq!(container["command"], json!(["busybox", "httpd"]));
    assert_eq!(container["args"], json!(["-f", "-p", "80", "$$(HOME)"]));
    assert_eq!(container["env"], json!([{"name": "A", "value": "2"}, {"name": "B", "value": "$$x"}]));
    assert_eq!(container["resources"]["limits"], json!({"memory": "24Mi"}));
    assert_eq!(
        container["ports"],
        json!([
            {"containerPort": 53, "protocol": "UDP"},
            {"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}
        ])
    );
    let headless = site.cluster.objects(Kind::Service).pop().context("a Service")?;
    assert_eq!(headless["spec"]["clusterIP"], "None");
    assert_eq!(headless["spec"]["ports"].as_array().map(Vec::len), Some(2));

    site.put(WEB, &json!({"replicas": 5}))?;
    let five = site.runs("web", 5)?;
    assert!(names(&five).is_superset(&names(&service)), "they go on");
    site.put(WEB, &json!({"replicas": 1}))?;
    let one = site.runs("web", 1)?;
    assert!(names(&five).is_superset(&names(&one)));

    site.delete(WEB)?;
    site.gone(WEB)?;
    site.until("the Deployment to be gone", |cluster| cluster.objects(Kind::Deployment).is_empty())?;
    ensure!(site.cluster.objects(Kind::Namespace).len() == 1, "the namespace is still wanted");
    // A namespace that goes takes its services along.
    site.web(2)?;
    site.delete("/namespace/demo")?;
    site.gone("/namespace/demo")?;
    site.is_clean()
}

#[test]
fn a_change_rolls_and_one_that_fails_stops() -> Result<()> {
    let site = Site::start()?;
    let first = site.web(3)?;
    let changed = site.put(WEB, &json!({"spec": {"command": "-f -p 81"}}))?;
    let (before, after) = (&first["spec"][0], &changed["spec"][0]);
    assert_ne!(after["meta"]["id"], before["meta"]["id"]);
    assert_eq!((&after["meta"]["parent"], &after["meta"]["revision"]), (&before["meta"]["id"], &json!(1)));
    let is_new = |service: &Value| {
        let pods = service["pods"].as_array().into_iter().flatten();
        pods.clone().count() == 3
            && pods.clone().all(|pod| pod["containers"][0]["spec"] == after["meta"]["id"])
    };
    site.service("web", "all pods are of the new spec", is_new)?;
    let second = site.runs("web", 3)?;
    assert!(names(&second).is_disjoint(&names(&first)));

    site.put(WEB, &json!({"spec": {"image": "registry.invalid/nothing:1"}}))?;
    let failed = site.service("web", "the image is missed", |service| {
        service["state"]["status"].as_str().is_some_and(|status| status.starts_with("ERROR_IMAGE: "))
    })?;
    assert_eq!(failed["state"]["state"], "error");
    let counts = &failed["state"]["replicas"];
    assert_eq!((&counts["running"], &counts["errored"]), (&json!(2), &json!(1)));
    site.put(WEB, &json!({"spec": {"image": "busybox:1.37"}}))?;
    site.runs("web", 3)?;
    site.put(WEB, &json!({"spec": {"entrypoint": "/bin/false"}}))?;
    let crashed = site.service("web", "it is started again and again", |service| {
        service["state"]["status"].as_str().is_some_and(|status| status.contains("exit code 1"))
    })?;
    let pods = crashed["pods"].as_array().context("pods")?;
    ensure!(pods.iter().any(|pod| pod["containers"][0]["restarts"] == 3), "{crashed:#}");

    // What Kubernetes can't have is told.
    site.post("/namespace/demo/service", &json!({"name": "a_b", "image": "i"}))?;
    site.service("a_b", "its name is refused", |service| {
        service["state"]["status"]
            .as_str()
            .is_some_and(|status| status.contains("can't have a service \"a_b\""))
    })?;
    site.delete("/namespace/demo")?;
    site.gone("/namespace/demo")?;
    site.is_clean()
}

#[test]
fn errors_of_the_api_server_are_overcome() -> Result<()> {
    let site = Site::start()?;
    for (what, code, times) in [
        ("LIST pods", 500, 2),
        ("WATCH deployments", 500, 2),
        ("WATCH pods", 410, 1),
        ("GET namespaces", 500, 1),
        ("PATCH namespaces", 500, 1),
        ("PATCH services", 409, 2),
        ("PATCH deployments", 409, 2),
        ("PATCH deployments", 500, 1),
    ] {
        site.cluster.fail(what, code, times);
    }
    // Watches that are open are told that they are too old.
    site.web(3)?;
    for replicas in [5, 2, 4] {
        site.cluster.compact();
        site.put(WEB, &json!({"replicas": replicas}))?;
        site.runs("web", replicas)?;
    }
    ensure!(site.cluster.expired() > 0, "no watch was too old");
    site.until("the failures to have come", |cluster| cluster.failures_left() == 0)?;
    // What somebody else has changed is put right.
    let mut scaled = deployment(&site)?;
    scaled["spec"]["replicas"] = 1.into();
    scaled["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
    site.cluster.put(Kind::Deployment, "demo", "web", scaled);
    site.until("it to be scaled back", |cluster| {
        cluster.objects(Kind::Deployment).iter().all(|deployment| deployment["spec"]["replicas"] == 4)
    })?;
    site.runs("web", 4)?;
    site.cluster.fail("DELETE deployments", 500, 2);
    site.cluster.fail("DELETE services", 409, 1);
    site.cluster.fail("DELETE namespaces", 500, 1);
    site.delete("/namespace/demo")?;
    site.gone("/namespace/demo")?;
    site.is_clean()
}

#[test]
fn an_api_server_that_is_away_is_told_and_waited_for() -> Result<()> {
    let mut site = Site::start()?;
    let before = site.web(2)?;
    site.cluster.go_away();
    let missed = site.service("web", "the API server is missed", |service| {
        let (state, status) = (&service["state"]["state"], service["state"]["status"].as_str());
        *state == "error" && status.is_some_and(|status| status.contains("can't be reached"))
    })?;
    assert_eq!(names(&missed), names(&before), "what was seen last");
    site.put(WEB, &json!({"replicas": 4}))?;
    site.post("/namespace/demo/service", &json!({"name": "other", "image": "busybox"}))?;
    site.cluster.come_back()?;
    let after = site.runs("web", 4)?;
    assert!(names(&after).is_superset(&names(&before)), "they were not touched");
    site.runs("other", 1)?;
    // It goes away in the middle of a removal.
    site.cluster.fail("DELETE deployments", 500, 1);
    site.delete("/namespace/demo")?;
    site.until("the removal to have begun", |cluster| cluster.failures_left() == 0)?;
    site.cluster.go_away();
    site.cluster.come_back()?;
    site.gone("/namespace/demo")?;
    site.is_clean()
}

#[test]
fn slow_and_stuck_watches_hold_nobody_up() -> Result<()> {
    let mut site = Site::start()?;
    site.cluster.set_slow(Duration::from_millis(100));
    site.web(3)?;
    site.cluster.set_slow(Duration::ZERO);
    site.cluster.set_stuck(Kind::Pod, true);
    site.put(WEB, &json!({"replicas": 5}))?;
    site.until("pods to be made all the same", |cluster| cluster.objects(Kind::Pod).len() == 5)?;
    let shown = site.get(WEB)?;
    assert_eq!(
        shown["pods"].as_array().map(Vec::len),
        Some(5),
        "those that are not seen are missing: {shown:#}"
    );
    let start = Instant::now();
    ensure!(site.controller.stop()?.success());
    ensure!(start.elapsed() < Duration::from_secs(10), "it took {:?} to end", start.elapsed());
    site.cluster.set_stuck(Kind::Pod, false);
    site.controller.run()?;
    site.runs("web", 5)?;
    site.is_correct()
}

#[test]
fn output_is_followed() -> Result<()> {
    let site = Site::start()?;
    let service = site.web(2)?;
    let [first, second] = &names(&service).into_iter().collect::<Vec<_>>()[..] else { unreachable!() };
    let of_second =
        service["pods"].as_array().into_iter().flatten().find(|pod| pod["meta"]["name"] == **second);
    let container = of_second.context("a pod")?["containers"][0]["id"].as_str().context("an id")?.to_owned();
    site.cluster.set_slow(Duration::from_millis(20));
    site.cluster.print(first, "one\n");
    site.cluster.print(second, "two lines\nin one go\n");
    let path = format!("{WEB}/logs");
    let mut of_first = site.http().follow(&format!("{path}?pod={first}"))?;
    let mut of_second = site.http().follow(&format!("{path}?pod={second}&container={container}"))?;
    assert_eq!(of_first.line()?.as_deref(), Some("one\n"));
    site.cluster.print(first, "more\n");
    assert_eq!(of_first.line()?.as_deref(), Some("more\n"));
    assert_eq!(of_second.line()?.as_deref(), Some("two lines\n"));
    assert_eq!(of_second.line()?.as_deref(), Some("in one go\n"));
    let now = site.http().get(&format!("{path}?pod={first}&follow=false"))?.expect(200)?.text();
    assert_eq!(now, "one\nmore\n");
    site.until("two to follow", |cluster| cluster.followers() == 2)?;
    drop(of_second);
    site.until("the client that left to be noticed", |cluster| cluster.followers() == 1)?;
    site.http().get(&format!("{path}?pod=nobody"))?.expect(404)?;
    site.http().get(&format!("{path}?pod={first}&container=nobody"))?.expect(404)?;
    site.delete(WEB)?;
    assert_eq!(of_first.rest(SOON)?, "", "the container has ended");
    site.gone(WEB)?;
    site.is_correct()
}

#[test]
fn a_controller_that_is_killed_at_any_step_goes_on() -> Result<()> {
    let mut site = Site::start()?;
    for point in ["engine.namespace.applied", "engine.service.applied", "engine.deployment.applied"] {
        let made = site.cluster.made();
        site.controller.run_with_failpoints(&format!("{point}=return"))?;
        site.post("/namespace/demo/service", &web(3))?;
        site.controller.run_after_failpoint(point, SOON)?;
        let service = site.runs("web", 3).context(point)?;
        assert_eq!(names(&service).len(), 3, "{point}");
        assert_eq!(site.cluster.made(), made + 3, "{point}: nothing is made twice");
        site.controller.run_with_failpoints("engine.deployment.deleted=return")?;
        site.delete(WEB)?;
        site.controller.run_after_failpoint("engine.deployment.deleted", SOON)?;
        site.gone(WEB).context(point)?;
    }
    site.delete("/namespace/demo")?;
    site.gone("/namespace/demo")?;
    site.is_clean()
}

#[test]
fn of_two_controllers_one_runs_services_and_the_other_takes_over() -> Result<()> {
    let mut site = Site::start()?;
    let mut second = another(&site.cluster, &site.etcd)?;
    let before = site.web(2)?;
    assert_eq!(second.http().get(WEB)?.expect(200)?.json()?, site.get(WEB)?, "both say the same");
    second.kill()?;
    site.put(WEB, &json!({"replicas": 3}))?;
    let after = site.runs("web", 3)?;
    assert!(names(&after).is_superset(&names(&before)));
    second.run()?;
    std::mem::swap(&mut site.controller, &mut second);
    second.kill()?;
    site.put(WEB, &json!({"replicas": 4}))?;
    let last = site.runs("web", 4)?;
    assert!(names(&last).is_superset(&names(&after)), "nothing was touched");
    assert_eq!(site.cluster.made(), 4, "nothing was made twice");
    site.is_correct()
}

#[test]
fn what_others_have_made_is_left_alone() -> Result<()> {
    let site = Site::start()?;
    site.cluster.put(Kind::Namespace, "", "theirs", json!({"metadata": {"labels": {"team": "a"}}}));
    let foreign = json!({"metadata": {"labels": {"app": "web"}}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
    }});
    site.cluster.put(Kind::Deployment, "theirs", "web", foreign.clone());
    site.post("/namespace", &json!({"name": "theirs"}))?;
    let path = "/namespace/theirs/service/web";
    site.post("/namespace/theirs/service", &web(1))?;
    let tells = |text: &str| {
        wait_for(text, SOON, || {
            let shown = site.get(path)?;
            let status = shown["state"]["status"].as_str().unwrap_or_default().to_owned();
            ensure!(shown["state"]["state"] == "error" && status.contains(text), "{shown:#}");
            Ok(Some(()))
        })
    };
    tells("Namespace theirs was not made for services")?;
    let allowed = json!({"metadata": {"labels": {"team": "a", "coil/services": "allowed"}}});
    site.cluster.put(Kind::Namespace, "", "theirs", allowed);
    tells("there is a Deployment web in Kubernetes which is not of this service")?;
    let there = deployment(&site)?;
    assert_eq!(there["spec"], foreign["spec"]);
    site.delete("/namespace/theirs")?;
    site.gone("/namespace/theirs")?;
    // By the time that another one has come and gone, it would have been removed.
    site.web(1)?;
    site.delete("/namespace/demo")?;
    site.gone("/namespace/demo")?;
    site.until("all that is ours to be gone", |cluster| {
        let left = |kind| cluster.objects(kind).len();
        (left(Kind::Namespace), left(Kind::Deployment), left(Kind::Service)) == (1, 1, 0)
    })?;
    assert_eq!(deployment(&site)?["spec"], foreign["spec"]);
    site.is_correct()
}
