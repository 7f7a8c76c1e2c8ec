//! The platform's API, and the platform on one machine: a standalone controller, and the container runtime by which it
//! runs services.

use crate::containerd::Containerd;
use crate::controller::Controller;
use crate::http::{Http, Reply};
use crate::image::IMAGE;
use crate::machine::Machine;
use crate::plugin::main_config;
use crate::wait::wait_for;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Time for what is wanted to come about, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_mins(3);

/// What clients ask of the platform.
pub trait Services {
    /// The controller that they ask.
    fn controller(&self) -> &Controller;

    /// The API.
    fn http(&self) -> Http {
        self.controller().http()
    }

    /// What something shows.
    fn get(&self, path: &str) -> Result<Value> {
        self.http().get(path)?.expect(200)?.json()
    }

    /// Makes something.
    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.http().post(path, body)?.expect(200)?.json()
    }

    /// Changes something.
    fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.http().send("PUT", path, body.to_string().as_bytes())?.expect(200)?.json()
    }

    /// Removes something; the answer is empty.
    fn delete(&self, path: &str) -> Result<Reply> {
        let reply = self.http().delete(path)?.expect(200)?;
        ensure!(reply.body.is_empty(), "{}", reply.text());
        Ok(reply)
    }

    /// Waits until a service of `demo` is as it should be, and answers it.
    fn service(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_for(&format!("service {name}: {what}"), SOON, || {
            last = self.get(&format!("/namespace/demo/service/{name}"))?;
            Ok(is(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("{last:#}\n{}", self.controller().log().unwrap_or_default()))
    }

    /// Waits until exactly so many pods of a service of `demo` run.
    fn runs(&self, name: &str, replicas: u32) -> Result<Value> {
        self.service(name, &format!("{replicas} pods run"), |service| {
            let counts = &service["state"]["replicas"];
            service["state"]["state"] == "started"
                && counts["running"] == replicas
                && counts["total"] == replicas
        })
    }

    /// Waits until there is nothing at a path any more.
    fn gone(&self, path: &str) -> Result<()> {
        crate::wait::wait_until(&format!("{path} to be gone"), SOON, || {
            Ok(self.http().get(path)?.status == 404)
        })
        .with_context(|| self.controller().log().unwrap_or_default())
    }
}

/// A machine with all that services need.
pub struct Platform {
    /// The controller.
    pub controller: Controller,
    /// The container runtime.
    pub containerd: Containerd,
    /// The machine, dropped last.
    pub machine: Machine,
}

/// The body of a service of busybox: what its shell is to do.
pub fn shell(name: &str, replicas: u32, script: &str) -> Value {
    json!({
        "name": name, "image": IMAGE, "replicas": replicas,
        "spec": {"entrypoint": "/bin/busybox sh -c", "command": format!("'{script}'"), "memory": 24},
    })
}

/// The body of a web server, which answers with its pod's name.
pub fn web(name: &str, replicas: u32) -> Value {
    let script =
        "busybox mkdir /www; busybox hostname > /www/index.html; exec busybox httpd -f -p 80 -h /www";
    shell(name, replicas, script)
}

/// The flags of a controller that runs services on a machine.
pub fn engine_args(machine: &Machine) -> Vec<String> {
    let path = |name: &str| machine.dir().join(name).display().to_string();
    let (socket, logs) = (path("containerd.sock"), path("pods"));
    [["--cri-socket", &socket], ["--pod-logs", &logs], ["--cgroup-parent", &machine.cgroup()]]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// The network of services: the plugin is told of the pods' annotations, and `portmap` of the ports that are published.
pub fn network(coild: &Path) -> Value {
    let mut plugin = main_config(coild);
    plugin["capabilities"] = json!({"io.kubernetes.cri.pod-annotations": true});
    let ports = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin, ports]})
}

impl Services for Platform {
    fn controller(&self) -> &Controller {
        &self.controller
    }
}

impl Platform {
    /// Starts all of it, with a pool `default` and a namespace `demo`.
    pub fn start() -> Result<Self> {
        let machine = Machine::start()?;
        let args = engine_args(&machine);
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        args.extend(["--node-name", "alone"]);
        let controller = Controller::standalone(machine.place(), &args)?;
        controller.coilctl("pool create default --subnet 10.64.0.0/16")?;
        let containerd = Containerd::start(&machine, &network(&controller.socket()))?;
        let platform = Self { controller, containerd, machine };
        platform.post("/namespace", &json!({"name": "demo"}))?;
        Ok(platform)
    }

    /// Fetches the page of a web server in the machine.
    pub fn fetch(&self, address: &str) -> Result<String> {
        self.fetch_from(None, address, 80)
    }

    /// Fetches the page of a web server from the machine (`None`) or from a network namespace, which is given by path.
    pub fn fetch_from(&self, netns: Option<&str>, address: &str, port: u16) -> Result<String> {
        wait_for(&format!("{address} to answer at port {port}"), Duration::from_secs(20), || {
            // The name service that wget of a static busybox asks is not in it.
            let mut command = self.machine.command("nsenter");
            command
                .args(netns.map(|path| format!("--net={path}")))
                .args(["--", "busybox", "nc", "-w", "3", address, &port.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut client = command.spawn()?;
            client.stdin.take().context("a pipe")?.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let output = String::from_utf8(client.wait_with_output()?.stdout)?;
            let page = output.split_once("\r\n\r\n").map(|(_, page)| page.to_owned());
            page.filter(|_| output.starts_with("HTTP/1.1 200 ")).context(output).map(Some)
        })
    }

    /// Nothing is left of any pod: no sandbox, address, log or interface.
    pub fn is_clean(&self) -> Result<()> {
        ensure!(self.containerd.sandboxes()?.is_empty(), "{:?}", self.containerd.sandboxes()?);
        let status = self.controller.coild().get("/status")?.expect(200)?.json()?;
        ensure!(status["pods"] == json!({}), "{status}");
        let logs = std::fs::read_dir(self.machine.dir().join("pods"))?.count();
        ensure!(logs == 0, "{logs} pods have logs");
        let links = self.machine.output("ip -o link show type veth")?;
        ensure!(links.is_empty(), "{links}");
        Ok(())
    }
}

/// The addresses of a service's pods.
pub fn addresses(service: &Value) -> Vec<String> {
    let pods = service["pods"].as_array().into_iter().flatten();
    let addresses = pods.filter_map(|pod| pod["addresses"][0].as_str());
    addresses.map(str::to_owned).collect()
}

/// The ids of the containers of a service's pods.
pub fn containers(service: &Value) -> BTreeSet<String> {
    let pods = service["pods"].as_array().into_iter().flatten();
    let containers = pods.flat_map(|pod| pod["containers"].as_array().into_iter().flatten());
    containers.filter_map(|container| container["id"].as_str().map(str::to_owned)).collect()
}
