//! The daemons that are measured, as users run them: release builds with default settings, each with data on a
//! disk, and a pool to take addresses from.

use crate::at_once::at_once;
use crate::keep_alive::{KeepAlive, container_id, post};
use anyhow::{Context, Result, ensure};
use coil_tests::coild::Coild;
use coil_tests::controller::Controller;
use coil_tests::etcd::Etcd;
use coil_tests::http::Http;
use coil_tests::place::Place;
use common::wire::node::StatusReply;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

/// The pool: room for everything that any measure does.
const SUBNET: &str = "10.64.0.0/14";
/// Connections over which a node is filled.
const FILLERS: usize = 16;

/// Controller and coild in one process, on the embedded store.
pub(crate) fn standalone() -> Result<Controller> {
    let controller = Controller::standalone(Place::Here, &[])?;
    create_pool(&controller, SUBNET)?;
    Ok(controller)
}

fn create_pool(controller: &Controller, subnet: &str) -> Result<()> {
    let pool = json!({"name": "default", "subnets": [subnet]});
    controller.http().post("/v1/pools", &pool)?.expect(201).map(|_| ())
}

/// An etcd with a pool.
#[derive(Debug)]
pub(crate) struct Cluster {
    // Dropped before the etcd that it talks to.
    pub(crate) controller: Controller,
    pub(crate) etcd: Etcd,
}

impl Cluster {
    /// Starts it, with a pool of a /14.
    pub(crate) fn start() -> Result<Self> {
        Self::of(SUBNET)
    }

    /// Starts it, with a pool of this subnet.
    pub(crate) fn of(subnet: &str) -> Result<Self> {
        let etcd = Etcd::start()?;
        let controller = Controller::serve(Place::Here, &etcd)?;
        create_pool(&controller, subnet)?;
        Ok(Self { controller, etcd })
    }

    /// A node of it that does not run yet.
    pub(crate) fn node(&self, name: &str) -> Result<Coild> {
        Coild::new(Place::Here, &self.etcd, name)
    }
}

/// Lets a node give addresses until it holds that many, and answers them. Fails if one is given twice.
pub(crate) fn hold(socket: &Path, count: usize) -> Result<BTreeSet<IpAddr>> {
    let clients = (0..FILLERS).map(|client| Ok((client, KeepAlive::connect(socket)?)));
    let (given, _) = at_once(clients.collect::<Result<_>>()?, |(client, mut connection)| {
        let numbers = (0..count).filter(|number| number % FILLERS == client);
        numbers.map(|number| take(&mut connection, &container_id(1, number))).collect::<Result<Vec<_>>>()
    })?;
    let addresses: BTreeSet<IpAddr> = given.into_iter().flatten().collect();
    ensure!(addresses.len() == count, "{} different addresses, {count} were asked for", addresses.len());
    Ok(addresses)
}

/// Takes one address.
pub(crate) fn take(connection: &mut KeepAlive, container: &str) -> Result<IpAddr> {
    let body = connection.exchange(&post(container))?;
    let reply: Value = serde_json::from_slice(body)?;
    let address = reply["address"].as_str().with_context(|| format!("no address in {reply}"))?;
    Ok(address.parse()?)
}

/// A number that a coild tells of itself; with its labels, if it has some.
pub(crate) fn metric(coild: &Http, name: &str) -> Result<f64> {
    let metrics = coild.get("/metrics")?.expect(200)?.text();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("coild tells no {name}"))?.parse()?)
}

/// How many addresses a node holds.
pub(crate) fn held(socket: &Path) -> Result<usize> {
    let status: StatusReply = Http::Unix(socket.to_owned()).get("/status")?.expect(200)?.parse()?;
    Ok(status.attachments.len())
}
