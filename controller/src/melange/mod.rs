//! The tenants' API: blocks, subnets, addresses, policies, routes and NAT, as an OpenStack-style cloud manages them.
//!
//! * [`blocks`], [`subnets`], [`networks`], [`delete`]: blocks are made, changed and deleted
//! * [`policies`], [`rules`]: what blocks don't give
//! * [`routes`]: static routes of blocks
//! * [`allocate`], [`choose`], [`cursor`], [`generate`]: which address somebody gets, and that it is given
//! * [`addresses`], [`interfaces`], [`allocations`]: addresses that are held, and what holds them
//! * [`nat`]: which addresses stand for each other
//! * [`backing`], [`pods`]: blocks that back pools, and what pods have of them
//! * [`purge`], [`remove`]: deallocated addresses can be given again when their days are over; what is left of blocks that
//!   were deleted
//! * [`read`], [`view`]: what is read of the store, and how it is shown
//!
//! Invariants: an address of a block has one key, made only if it is absent, so that it has one holder. Public blocks
//! that are no subnets share the address plan with all pools; a subnet lies in its block and overlaps no other one of
//! it; a block with subnets has no addresses; of a block that backs a pool, only pods have addresses. What is read for a
//! decision is compared by the transaction that carries it out: the record of the block, which is written when a subnet is
//! made, and that of its policy, which is written with each of the policy's ranges and octets.

mod addresses;
mod allocate;
mod allocations;
pub(crate) mod backing;
mod blocks;
mod choose;
mod cursor;
mod delete;
mod error;
mod generate;
mod interfaces;
mod nat;
mod networks;
mod pods;
mod policies;
mod purge;
mod read;
mod remove;
mod routes;
mod rules;
mod subnets;
mod usage;
mod view;

pub use backing::BackingError;
pub use error::{Kind, MelangeError};
pub use generate::Generator;
pub use purge::INTERVAL as PURGE_INTERVAL;
pub use read::{Page, PageRequest};
pub use rules::{OctetRule, RangeRule, Rule};

use crate::plan::PlanCache;
use common::store::Store;
use cursor::Cursors;
use rules::Policies;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::{ContextV7, Timestamp, Uuid};

/// What operators choose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name servers of blocks that are made without.
    pub dns1: Option<IpAddr>,
    /// The second one.
    pub dns2: Option<IpAddr>,
    /// For how many days a deallocated address can be restored.
    pub keep_deallocated_ips_days: u32,
    /// How IPv6 addresses are generated.
    pub generator: Generator,
}

impl Default for Settings {
    fn default() -> Self {
        Self { dns1: None, dns2: None, keep_deallocated_ips_days: 2, generator: Generator::Tenant }
    }
}

/// The blocks, addresses, policies and routes of all tenants.
pub struct Melange {
    store: Arc<dyn Store>,
    plan: PlanCache,
    settings: Settings,
    cursors: Cursors,
    policies: Policies,
    /// How long a request goes on removing what is left of a block that it has deleted.
    patience: Duration,
}

/// How long a request goes on removing what is left of a block, unless something else is said.
const PATIENCE: Duration = Duration::from_secs(10);

impl Melange {
    /// What a store has of them.
    pub fn new(store: Arc<dyn Store>, plan: PlanCache, settings: Settings) -> Self {
        Self {
            store,
            plan,
            settings,
            cursors: Cursors::default(),
            policies: Policies::default(),
            patience: PATIENCE,
        }
    }

    /// The same, but a request goes on for so long only with removing what is left of a block that it has deleted.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}

/// What ids of the same millisecond are ordered by.
static ORDER: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// A new id of all but addresses. Those that this program makes later are greater; so are those of others, a millisecond later.
fn new_id(now: u64) -> Uuid {
    let nanos = u32::try_from(now % 1_000 * 1_000_000).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(&ORDER, now / 1_000, nanos))
}

/// A new id of an address: random, so that pages of large lists can be read in [parts](common::store::spread).
fn new_address_id() -> Uuid {
    Uuid::new_v4()
}
