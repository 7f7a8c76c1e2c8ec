//! What of a plan the store has already, what is to be done, and what stands in the way.

use super::ImportError;
use super::plan::{Place, Plan};
use crate::plan::{self, AddressPlan};
use common::ipam::{Family, Pool, Range, Unit};
use common::name::{NodeName, PoolName};
use common::pool_id::PoolId;
use common::store::record::{self, BlockMirror, Lease};
use common::store::schema::check_schema;
use common::store::{Entry, Revision, Store, Txn, keys, list_all};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be done with one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a pool, disabled.
    Pool(PoolName),
    /// Make a node the holder of a block, or write anew what it holds there: the index that there is.
    Block(NodeName, Place, Option<Entry>),
    /// Take a block from a node that an earlier import gave it, and that version 1 has released since.
    Remove(NodeName, Place, Entry, Entry),
}

/// The store, as far as an import is concerned.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// What is to be done, in this order: pools, what was released, and then node by node.
    pub(super) steps: Vec<Step>,
    /// What stands in the way: if it is anything, nothing is done.
    pub(super) obstacles: Vec<String>,
}

/// What was read.
struct Stored {
    pools: BTreeMap<PoolName, Pool>,
    /// Nodes that have run.
    started: BTreeSet<NodeName>,
    indexes: BTreeMap<(NodeName, PoolId, Unit), Entry>,
    leases: BTreeMap<Place, Entry>,
}

/// A mirror of this size is the largest that is written, so that it fits in a transaction with those before it.
pub(super) const MAX_MIRROR: usize = Txn::MAX_BYTES / 2;

impl Survey {
    pub(super) async fn of(store: &dyn Store, plan: &Plan) -> Result<Self, ImportError> {
        if let Some(schema) = store.get(keys::SCHEMA).await? {
            check_schema(&schema)?;
        }
        let revision = plan::revision(store).await?;
        let addresses = AddressPlan::at::<ImportError>(store, revision, None).await?;
        let stored = Stored::read(store, plan).await?;
        let mut survey = Self::default();
        if store.get(keys::RESTORED).await?.is_some() {
            survey.obstacle("a backup was restored a moment ago: try again in 30 seconds".to_owned());
        }
        for (name, pool) in &plan.pools {
            survey.pool(name, pool, stored.pools.get(name), &addresses);
        }
        let released = survey.released(&stored, plan);
        for (node, blocks) in &plan.nodes {
            for (place, mirror) in blocks {
                let held = mirror.held.len() + plan.unnamed(place).len();
                survey.block(&stored, &released, node, (place, mirror, held))?;
            }
            survey.others(&stored, plan, node);
        }
        Ok(survey)
    }

    fn obstacle(&mut self, text: String) {
        self.obstacles.push(text);
    }

    fn pool(&mut self, name: &PoolName, pool: &Pool, stored: Option<&Pool>, addresses: &AddressPlan) {
        match stored {
            None => {
                for subnet in &pool.subnets {
                    if let Err(taken) = addresses.must_be_free(Range::of_net(*subnet)) {
                        let (owner, range) = (taken.owner, taken.range);
                        self.obstacle(format!("subnet {subnet} of pool {name} overlaps {range} of {owner}"));
                    }
                }
                self.steps.push(Step::Pool(name.clone()));
            }
            Some(stored) if !is_same(stored, pool) => self.obstacle(format!(
                "there is another pool {name}: {}, not {}",
                describe(stored),
                describe(pool)
            )),
            Some(_) => {}
        }
    }

    fn block(
        &mut self,
        stored: &Stored,
        released: &BTreeSet<Place>,
        node: &NodeName,
        (place, mirror, held): (&Place, &BlockMirror, usize),
    ) -> Result<(), ImportError> {
        let (pool, unit) = place;
        let lease = stored.leases.get(place).filter(|_| !released.contains(place));
        if let Some(lease) = lease {
            let holder: Lease = record::decode(&lease.key, &lease.value)?;
            if holder.node != node.as_str() {
                let other = holder.node;
                self.obstacle(format!("{unit} of pool {pool} is node {node}'s, and leased by node {other}"));
                return Ok(());
            }
        }
        let index = stored.index(node, place);
        let revision = |entry: &Entry| -> Revision { entry.mod_revision };
        if lease.map(revision) != index.map(|index| index.create_revision) {
            self.obstacle(format!(
                "the lease of {unit} of pool {pool} by node {node} is damaged: see `coilctl address check`"
            ));
            return Ok(());
        }
        if stored.started.contains(node) {
            if index.is_none() && held > 0 {
                self.obstacle(format!(
                    "node {node} has run already, and does not lease {unit} of pool {pool}, of which {held} \
                     addresses are in use: stop its coild, delete its data directory, run `coilctl node remove {node}`, \
                     and import again"
                ));
            }
            return Ok(());
        }
        let value = record::encode(mirror);
        if value.len() > MAX_MIRROR {
            self.obstacle(format!(
                "what is held in {unit} of pool {pool} takes {} bytes: {MAX_MIRROR} at most",
                value.len()
            ));
        }
        if index.is_none_or(|index| index.value != value) {
            self.must_be_disabled(stored, pool);
            self.steps.push(Step::Block(node.clone(), place.clone(), index.cloned()));
        }
        Ok(())
    }

    /// Blocks that a node leases of other pools: no import can have given it these.
    fn others(&mut self, stored: &Stored, plan: &Plan, node: &NodeName) {
        let of_others = stored.indexes.keys().filter(|(holder, pool, _)| {
            holder == node && !pool.coil().is_some_and(|pool| plan.pools.contains_key(pool))
        });
        let first = of_others.map(|(_, pool, unit)| (pool.clone(), *unit)).next();
        if let Some((pool, unit)) = first.filter(|_| !stored.started.contains(node)) {
            self.obstacle(format!(
                "node {node} leases {unit} of pool {pool} already, though it is not registered: run `coilctl node \
                 remove {node}`"
            ));
        }
    }

    /// Blocks that an earlier import has given to nodes which have not run, and which they don't have any more.
    fn released(&mut self, stored: &Stored, plan: &Plan) -> BTreeSet<Place> {
        let mut released = BTreeSet::new();
        for ((node, pool, unit), index) in &stored.indexes {
            let Some(pool) = pool.coil().filter(|pool| plan.pools.contains_key(*pool)) else { continue };
            let place = (pool.clone(), *unit);
            let wanted = plan.nodes.get(node).is_some_and(|blocks| blocks.contains_key(&place));
            if wanted || stored.started.contains(node) {
                continue;
            }
            let lease = stored.leases.get(&place);
            if let Some(lease) = lease.filter(|lease| lease.mod_revision == index.create_revision) {
                self.must_be_disabled(stored, pool);
                released.insert(place.clone());
                self.steps.push(Step::Remove(node.clone(), place, index.clone(), lease.clone()));
            }
        }
        released
    }

    /// Nodes would lease of it meanwhile.
    fn must_be_disabled(&mut self, stored: &Stored, name: &PoolName) {
        let enabled = stored.pools.get(name).is_some_and(|pool| !pool.disabled);
        let text = format!(
            "pool {name} is enabled, and lacks blocks of version 1: run `coilctl pool disable {name}`"
        );
        if enabled && !self.obstacles.contains(&text) {
            self.obstacle(text);
        }
    }
}

impl Stored {
    async fn read(store: &dyn Store, plan: &Plan) -> Result<Self, ImportError> {
        let mut pools = BTreeMap::new();
        let mut leases = BTreeMap::new();
        for name in plan.pools.keys() {
            let Some(entry) = store.get(&keys::pool(name)).await? else { continue };
            let pool: Pool = record::decode(&entry.key, &entry.value)?;
            for lease in list_all(store, &keys::leases(name)).await?.items {
                if let Some((_, unit)) = keys::parse_lease(&lease.key, |family| pool.block_bits(family)) {
                    leases.insert((name.clone(), unit), lease);
                }
            }
            pools.insert(name.clone(), pool);
        }
        let mut indexes = BTreeMap::new();
        for entry in list_all(store, &keys::all_blocks()).await?.items {
            if let Some((node, pool, first)) = keys::parse_block(&entry.key) {
                let mirror: BlockMirror = record::decode(&entry.key, &entry.value)?;
                let bits = Family::of(first).bits().saturating_sub(mirror.prefix);
                indexes.insert((node, pool, Unit::containing(first, bits)), entry);
            }
        }
        let mut started = BTreeSet::new();
        for range in [keys::nodes(), keys::all_alive()] {
            let found = list_all(store, &range).await?.items;
            started.extend(found.iter().filter_map(|entry| entry.key.split_once('/')?.1.parse().ok()));
        }
        Ok(Self { pools, started, indexes, leases })
    }

    fn index(&self, node: &NodeName, (pool, unit): &Place) -> Option<&Entry> {
        self.indexes.get(&(node.clone(), pool.clone().into(), *unit))
    }
}

/// Whether blocks and addresses of the pools are the same.
fn is_same(one: &Pool, other: &Pool) -> bool {
    let plain = |pool: &Pool| {
        let mut pool = Pool { disabled: true, ..pool.clone() };
        pool.subnets.sort();
        pool
    };
    plain(one) == plain(other)
}

fn describe(pool: &Pool) -> String {
    let subnets: Vec<String> = pool.subnets.iter().map(ToString::to_string).collect();
    let more =
        if is_same(pool, &Pool { block_size: pool.block_size, ..Pool::of_subnets(pool.subnets.clone()) }) {
            ""
        } else {
            ", with exclusions or gateways"
        };
    format!("{} in blocks of /{}{more}", subnets.join(", "), pool.block_size)
}
