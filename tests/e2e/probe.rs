//! What those see of a node who only want to know how it is: `coild probe`, and the port of metrics.

use anyhow::{Context, Result, ensure};
use coil_tests::binaries::binary;
use coil_tests::cluster::Cluster;
use coil_tests::etcd::free_ports;
use coil_tests::http::Http;
use coil_tests::wait::wait_until;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn probe(socket: &Path, more: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary("coild")?);
    command.arg("probe").arg("--socket").arg(socket).args(more);
    command.output().context("can't start coild")
}

#[test]
fn a_probe_tells_how_coild_is() -> Result<()> {
    let mut cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut coild = cluster.coild("n1", &[])?;
    let socket = coild.socket();
    wait_until("it to be ready", SOON, || Ok(probe(&socket, &[])?.status.success()))?;
    cluster.etcd.kill()?;
    // It gives addresses from its blocks: etcd is not needed to be well.
    ensure!(probe(&socket, &["--live"])?.status.success());
    coild.stop()?;
    for more in [&[][..], &["--live"]] {
        let output = probe(&socket, more)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains("nobody answers on"), "{output:?}");
    }
    Ok(())
}

#[test]
fn the_port_of_metrics_tells_nothing_of_containers() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let port = *free_ports(1)?.first().context("a port")?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let _coild = cluster.coild("n1", &["--metrics-listen", &address.to_string()])?;
    let http = Http::Tcp(address);
    let metrics = http.get("/metrics")?.expect(200)?.text();
    ensure!(metrics.contains("coild_build_info"), "{metrics}");
    http.get("/healthz")?.expect(200)?;
    wait_until("it to be ready", SOON, || Ok(http.get("/readyz")?.expect(200).is_ok()))?;
    for (method, path) in [("GET", "/status"), ("POST", "/ip"), ("GET", "/ip/ns/p/c"), ("POST", "/gc")] {
        http.send(method, path, b"{}")?.expect(404)?;
    }
    Ok(())
}
