//! The whole system as one value: the store, the machines, and what is on its way between them.

use crate::guard::{Guard, Kind};
use crate::journal::Journal;
use coil_verify::map::{Map, MapStore};
use coild::state::{BlockId, Exact, Standing};
use common::ipam::Pool;
use common::name::{NodeName, PoolName};
use common::store::record::{self, Allocation, BlockMirror};
use common::store::{Compare, Entry, Op, Revision, Txn, keys};
use futures_util::FutureExt;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// What may still happen that is not in the ordinary course of things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Addresses asked for.
    pub(crate) adds: u8,
    /// Daemons that are killed.
    pub(crate) crashes: u8,
    /// Transactions whose sender hears no answer.
    pub(crate) unanswered: u8,
    /// Machines that lose power.
    pub(crate) outages: u8,
    /// Nodes that an operator removes while their machine is off.
    pub(crate) removals: u8,
    /// Journals that are lost.
    pub(crate) losses: u8,
    /// Subnets that an operator moves to another pool.
    pub(crate) moves: u8,
    /// Looks for orphans.
    pub(crate) looks: u8,
    /// Times that the backup is restored.
    pub(crate) restores: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) store: Map,
    pub(crate) machines: Vec<Machine>,
    /// Transactions whose sender does not wait any more. Each may happen at any time, or never.
    pub(crate) late: Vec<Txn>,
    /// A removal that was decided on, and not yet sent.
    pub(crate) removal: Option<Txn>,
    /// The store as it was when its backup was made.
    pub(crate) backup: Option<Map>,
    pub(crate) budget: Budget,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Machine {
    pub(crate) journal: Journal,
    /// The containers that run, and the addresses that they were told to use.
    pub(crate) containers: BTreeMap<u8, IpAddr>,
    /// The daemon, if it runs.
    pub(crate) daemon: Option<Daemon>,
    /// It has no power; when it starts, it is with another boot id.
    pub(crate) off: bool,
    /// It was off, and has not compared its leases with the store since.
    pub(crate) outdated: bool,
}

/// What a daemon has in memory only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Daemon {
    /// It answers requests.
    pub(crate) serves: bool,
    pub(crate) keeper: Keeper,
    /// The mirror's transaction, and the blocks in it.
    pub(crate) flush: Option<(Txn, BTreeSet<BlockId>)>,
    /// Blocks that the mirror has to write.
    pub(crate) behind: BTreeSet<BlockId>,
    /// An allocation whose container was seen to be gone.
    pub(crate) suspect: Option<Exact>,
    /// What it knows beyond the journal; only where replies don't wait for the commit.
    pub(crate) memory: Option<Journal>,
    pub(crate) rewind: Rewind,
}

/// How far a daemon has got with a store that went back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Rewind {
    /// It did not, or everything is dealt with.
    #[default]
    None,
    /// The next call will tell of it.
    Unheard,
    /// It was told, and has not announced it.
    Heard,
    /// It claims what the store has forgotten.
    Claiming,
}

/// The lease keeper: one task, which does one thing at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Keeper {
    /// The transaction that it waits for.
    pub(crate) sent: Option<(Job, Txn)>,
    /// What it does then.
    pub(crate) todo: Vec<Job>,
    /// It holds the journal against the store.
    pub(crate) reconciling: Option<Reconciling>,
}

/// How a reconciliation goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reconciling {
    /// Every lease was adopted or discarded so far.
    pub(crate) settled: bool,
    /// Every fenced block was protected so far.
    pub(crate) protected: bool,
}

/// A block that the store says a node has.
pub(crate) type Index = (BlockId, Entry, BlockMirror);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Job {
    Acquire(BlockId),
    Release(BlockId, Revision),
    Adopt {
        id: BlockId,
        index: Entry,
        quarantined: bool,
        holders: Vec<Allocation>,
    },
    Discard(BlockId, Entry),
    Protect {
        id: BlockId,
        index: Option<(Entry, BlockMirror)>,
        held: Vec<Allocation>,
    },
    /// A backup was restored. What the store says of the node's blocks was read before.
    Announce(Vec<Index>),
}

impl Job {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Acquire(_) => Kind::Acquire,
            Self::Release(..) => Kind::Release,
            Self::Adopt { .. } => Kind::Adopt,
            Self::Discard(..) => Kind::Discard,
            Self::Protect { .. } => Kind::Protect,
            Self::Announce(_) => Kind::Announce,
        }
    }

    /// The entries that it remembers.
    fn entries(&mut self) -> Vec<&mut Entry> {
        match self {
            Self::Acquire(_) | Self::Release(..) => Vec::new(),
            Self::Adopt { index, .. } | Self::Discard(_, index) => vec![index],
            Self::Protect { index, .. } => index.iter_mut().map(|(entry, _)| entry).collect(),
            Self::Announce(index) => index.iter_mut().map(|(_, entry, _)| entry).collect(),
        }
    }
}

/// Transactions on their way of which nobody waits for the answer.
const MAX_LATE: usize = 2;

impl World {
    /// Machines that run and hold nothing, and one pool of two blocks of one address.
    pub(crate) fn new(machines: usize, budget: Budget) -> Self {
        let subnets = ["10.0.0.0/32", "10.0.0.1/32"].map(|net| net.parse().expect("net"));
        let pool = Pool { block_size: 32, ..Pool::of_subnets(subnets.to_vec()) };
        let mut store = Map::default();
        let put = Op::Put(keys::pool(&PoolName::default_pool()), record::encode(&pool));
        store.txn(&Txn::new().then(put)).expect("no compares");
        let daemon = Some(Daemon { serves: true, ..Daemon::default() });
        let journal = Journal { complete: true, ..Journal::default() };
        let machine = Machine { journal, daemon, ..Machine::default() };
        let machines = vec![machine; machines];
        let mut world = Self { store, machines, late: Vec::new(), removal: None, backup: None, budget };
        for n in 0..world.machines.len() {
            world.set_alive(n, true);
        }
        world.settle();
        world
    }

    pub(crate) fn set_alive(&mut self, n: usize, alive: bool) {
        let key = keys::alive(&node(n));
        let op = if alive { Op::Put(key, "{}".into()) } else { Op::Delete(key) };
        self.store.txn(&Txn::new().then(op)).expect("no compares");
    }

    /// The pools as they are now.
    pub(crate) fn pools(&self) -> BTreeMap<PoolName, Pool> {
        let parse = |entry: &Entry| {
            Some((keys::parse_pool(&entry.key)?, record::decode(&entry.key, &entry.value).ok()?))
        };
        self.store.range(&keys::pools()).filter_map(parse).collect()
    }

    /// Does something with the store at one instant.
    pub(crate) fn at_once<T>(&mut self, call: impl AsyncFnOnce(&MapStore) -> T) -> T {
        let store = MapStore::new(std::mem::take(&mut self.store));
        let outcome = call(&store).now_or_never().expect("a map never waits");
        self.store = store.into_map();
        outcome
    }

    /// The blocks that the store says a node has.
    pub(crate) fn index(&self, n: usize) -> Vec<Index> {
        let parse = |entry: &Entry| {
            let (_, pool, first) = keys::parse_block(&entry.key)?;
            let unit = common::ipam::Unit::containing(first, 0);
            let mirror = record::decode(&entry.key, &entry.value).ok()?;
            Some((BlockId { pool, unit }, entry.clone(), mirror))
        };
        self.store.range(&keys::blocks(&node(n))).filter_map(parse).collect()
    }

    /// A daemon has called the store; whether it was told that the store went back.
    pub(crate) fn hears_of_rewind(&mut self, n: usize) -> bool {
        let unheard = |daemon: &&mut Daemon| daemon.rewind == Rewind::Unheard;
        let daemon = self.machines[n].daemon.as_mut().filter(unheard);
        daemon.map(|daemon| daemon.rewind = Rewind::Heard).is_some()
    }

    /// Whether there are revisions that the store has yet to reach, because it went back.
    pub(crate) fn is_rewound(&self) -> bool {
        let mut newest = 0;
        self.clone().each_revision(&mut |revision| newest = newest.max(*revision));
        newest > self.store.revision()
    }

    /// Nobody waits for this transaction any more.
    pub(crate) fn leave(&mut self, txn: Option<Txn>) {
        self.late.extend(txn.filter(|_| self.late.len() < MAX_LATE));
    }

    /// The end of a daemon.
    pub(crate) fn kill(&mut self, n: usize) {
        if let Some(daemon) = self.machines[n].daemon.take() {
            self.leave(daemon.keeper.sent.map(|(_, txn)| txn));
            self.leave(daemon.flush.map(|(txn, _)| txn));
        }
    }

    /// Brings what means the same into the same form: revisions are numbered anew in their order, and late
    /// transactions that can't happen any more are dropped.
    pub(crate) fn settle(&mut self) {
        let store = &self.store;
        self.late.retain(|txn| txn.compares.iter().all(|compare| may_hold(store, compare)));
        self.late.sort_by_key(hash);
        self.late.dedup();
        let mut used = BTreeSet::new();
        self.each_revision(&mut |revision| {
            used.insert(*revision);
        });
        let now = self.store.revision();
        let (mut numbers, mut last) = (BTreeMap::new(), (0, 0));
        for revision in used {
            // Those that the store has yet to reach: it may meet the next one, or pass between two of them.
            let gap = if revision > now { (revision - last.0.max(now)).min(2) } else { 1 };
            last = (revision, last.1 + gap);
            numbers.insert(revision, last.1);
        }
        self.each_revision(&mut |revision| *revision = numbers[revision]);
        let reached = numbers.range(..=now).next_back().map_or(0, |(_, number)| *number);
        self.store.set_revision(reached);
    }

    /// The store is as it was when its backup was made.
    pub(crate) fn restore(&mut self) -> Option<()> {
        self.budget.restores -= 1;
        self.store = self.backup.take()?;
        // Who waited for an answer may not have been heard; who did not wait will not be.
        self.late.clear();
        let now = self.store.revisions_mut().map(|revision| *revision).max().unwrap_or(1);
        self.store.set_revision(now);
        self.each_revision(&mut |revision| *revision = now.min(*revision) + 2 * revision.saturating_sub(now));
        for daemon in self.machines.iter_mut().filter_map(|machine| machine.daemon.as_mut()) {
            daemon.rewind = Rewind::Unheard;
        }
        Some(())
    }

    fn each_revision(&mut self, see: &mut dyn FnMut(&mut Revision)) {
        self.store.revisions_mut().for_each(&mut *see);
        self.backup.iter_mut().flat_map(Map::revisions_mut).for_each(&mut *see);
        let mut txns: Vec<&mut Txn> = self.late.iter_mut().chain(&mut self.removal).collect();
        for machine in &mut self.machines {
            machine.journal.blocks.values_mut().for_each(|block| see(&mut block.token));
            let Some(daemon) = &mut machine.daemon else { continue };
            if let Some(memory) = &mut daemon.memory {
                memory.blocks.values_mut().for_each(|block| see(&mut block.token));
            }
            txns.extend(daemon.flush.iter_mut().map(|(txn, _)| txn));
            let mut jobs: Vec<&mut Job> = daemon.keeper.todo.iter_mut().collect();
            if let Some((job, txn)) = &mut daemon.keeper.sent {
                jobs.push(job);
                txns.push(txn);
            }
            for job in jobs {
                if let Job::Release(_, token) = job {
                    see(token);
                }
                for entry in job.entries() {
                    see(&mut entry.create_revision);
                    see(&mut entry.mod_revision);
                }
            }
        }
        for compare in txns.into_iter().flat_map(|txn| &mut txn.compares) {
            if let Compare::CreateRevision(_, revision) | Compare::ModRevision(_, revision) = compare
                && *revision != 0
            {
                see(revision);
            }
        }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        hash(self)
    }
}

/// Whether a compare holds or may hold later: a revision that has passed never comes back.
fn may_hold(store: &Map, compare: &Compare) -> bool {
    let open = |revision: Revision| revision == 0 || revision > store.revision();
    match compare {
        Compare::Absent(_) | Compare::Empty(_) => true,
        Compare::CreateRevision(key, revision) => {
            open(*revision) || store.get(key).is_some_and(|entry| entry.create_revision == *revision)
        }
        Compare::ModRevision(key, revision) => {
            open(*revision) || store.get(key).is_some_and(|entry| entry.mod_revision == *revision)
        }
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn node(n: usize) -> NodeName {
    NodeName::new(format!("n{n}")).expect("name")
}

impl Machine {
    /// What the daemon goes by.
    pub(crate) fn known(&self) -> &Journal {
        self.daemon.as_ref().and_then(|daemon| daemon.memory.as_ref()).unwrap_or(&self.journal)
    }

    /// Whether the store has taken this block away.
    pub(crate) fn is_lost(&self, store: &Map, n: usize, id: &BlockId) -> bool {
        let index = store.get(&keys::block(&node(n), &id.pool, id.unit));
        let block = self.known().blocks.get(id);
        block.is_some_and(|block| {
            !block.is(Standing::Fenced) && index.is_none_or(|index| index.create_revision > block.token)
        })
    }
}

/// Which precautions are taken: all but one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) without: Option<Guard>,
}

impl Rules {
    pub(crate) fn has(self, guard: Guard) -> bool {
        self.without != Some(guard)
    }

    pub(crate) fn txn(self, kind: Kind, txn: Txn) -> Txn {
        match self.without {
            Some(guard) => guard.weaken(kind, txn),
            None => txn,
        }
    }
}
