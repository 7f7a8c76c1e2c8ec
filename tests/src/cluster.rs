//! Etcd and a controller on it: what the nodes of a test share.

use crate::coild::Coild;
use crate::controller::Controller;
use crate::etcd::Etcd;
use crate::history::History;
use crate::history::remains::BlockName;
use crate::machine::Machine;
use crate::place::Place;
use crate::tools::run;
use anyhow::{Context, Result};
use common::name::NodeName;
use common::pool_id::PoolId;
use common::store::keys;
use common::store::record::{self, BlockMirror, Lease};
use common::wire::admin::{List, PoolView};
use common::wire::node::StatusReply;
use std::collections::BTreeMap;
use std::net::IpAddr;

const PREFIX: &str = "/coil/v2/";

/// Etcd and a controller on it.
#[derive(Debug)]
pub struct Cluster {
    /// The controller, dropped before its store.
    pub controller: Controller,
    /// The store.
    pub etcd: Etcd,
    place: Place,
}

impl Cluster {
    /// Starts both on this machine, and makes a pool `default` with these arguments.
    pub fn start(pool: &str) -> Result<Self> {
        Self::start_in(Place::Here, pool)
    }

    /// Starts both in a machine of the test's own.
    pub fn start_on(machine: &Machine, pool: &str) -> Result<Self> {
        Self::start_in(machine.place(), pool)
    }

    fn start_in(place: Place, pool: &str) -> Result<Self> {
        Self::start_with(place, Etcd::start_in(place)?, pool)
    }

    /// Starts a controller on an etcd cluster in the same place, and makes a pool `default` with these arguments.
    pub fn start_with(place: Place, etcd: Etcd, pool: &str) -> Result<Self> {
        let controller = Controller::serve(place, &etcd)?;
        controller.coilctl(&format!("pool create default {pool}"))?;
        Ok(Self { controller, etcd, place })
    }

    /// A node of the cluster that is not started yet.
    pub fn node(&self, name: &str) -> Result<Coild> {
        Coild::new(self.place, &self.etcd, name)
    }

    /// Starts a node with extra arguments.
    pub fn coild(&self, name: &str, args: &[&str]) -> Result<Coild> {
        Coild::start(self.place, &self.etcd, name, args)
    }

    /// A history in which nothing has happened yet but that there are the pools.
    pub fn history(&self) -> Result<History> {
        let history = History::new();
        for view in self.pools()? {
            history.pool(view.name.as_str(), view.pool);
        }
        Ok(history)
    }

    /// The pools, with their use.
    pub fn pools(&self) -> Result<Vec<PoolView>> {
        let list: List<PoolView> = self.controller.http().get("/v1/pools")?.expect(200)?.parse()?;
        Ok(list.items)
    }

    /// All keys with a prefix, and their values.
    fn read(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let mut get = self.etcd.etcdctl()?;
        let output = run(get.args(["get", "--prefix", &format!("{PREFIX}{prefix}")]))?;
        let text = String::from_utf8(output.stdout)?;
        let (mut lines, mut found) = (text.lines(), Vec::new());
        // Keys and values by turns: records are JSON on one line.
        while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
            let key = key.strip_prefix(PREFIX).with_context(|| format!("{key} lacks the prefix"))?;
            found.push((key.to_owned(), value.to_owned()));
        }
        Ok(found)
    }

    /// The leases in the store, and the node that each one names.
    pub fn leases(&self) -> Result<BTreeMap<BlockName, String>> {
        let named = |(key, value): (String, String)| {
            let (pool, unit) =
                keys::parse_lease(&key, |_| 0).with_context(|| format!("{key} names no lease"))?;
            let lease: Lease = record::decode(&key, value.as_bytes())?;
            Ok(((pool, unit.first()), lease.node))
        };
        self.read("lease/")?.into_iter().map(named).collect()
    }

    /// A node's index of its leases, with how many addresses the mirror says are held.
    pub fn index(&self, node: &str) -> Result<BTreeMap<BlockName, usize>> {
        let blocks = self.blocks(node)?.into_iter();
        Ok(blocks.map(|(pool, first, mirror)| ((pool, first), mirror.held.len())).collect())
    }

    fn blocks(&self, node: &str) -> Result<Vec<(PoolId, IpAddr, BlockMirror)>> {
        let named = |(key, value): (String, String)| {
            let (_, pool, first) =
                keys::parse_block(&key).with_context(|| format!("{key} names no block"))?;
            Ok((pool, first, record::decode(&key, value.as_bytes())?))
        };
        self.read(&keys::blocks(&NodeName::new(node)?).from)?.into_iter().map(named).collect()
    }

    /// What the store says of a node's addresses: address → container.
    pub fn mirror(&self, node: &str) -> Result<BTreeMap<IpAddr, String>> {
        let mut held = BTreeMap::new();
        for (_, first, mirror) in self.blocks(node)? {
            for allocation in mirror.held {
                let address = plus(first, allocation.offset);
                held.insert(address, allocation.container.as_str().to_owned());
            }
        }
        Ok(held)
    }
}

/// What coild says of its addresses, in the form of [`Cluster::mirror`].
pub fn held(status: &StatusReply) -> BTreeMap<IpAddr, String> {
    let holder =
        |held: &common::wire::node::Attachment| (held.address, held.container_id.as_str().to_owned());
    status.attachments.iter().map(holder).collect()
}

fn plus(first: IpAddr, offset: u32) -> IpAddr {
    match first {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + offset).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + u128::from(offset)).into()),
    }
}
