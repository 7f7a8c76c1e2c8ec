//! Values of the store.

use coild::state::{BlockId, Settings, Standing, State};
use common::ipam::{Family, NamespacePool, Pool, ServicePool, Space, Span, Unit};
use common::name::PoolName;
use common::store::record::{
    self, Alive, BlockMirror, Evict, Fixed, Lease, NamespaceChoice, Node, Plan, RecordError, Schema, VERSION,
    lastbackend,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

/// A value is a record, and then it is written as it was read; or an error that names the key. What a record says
/// is believed without a panic, however odd.
pub fn records(data: &[u8]) {
    round_trip::<Schema>(data);
    round_trip::<Plan>(data);
    round_trip::<Lease>(data);
    round_trip::<Node>(data);
    round_trip::<Alive>(data);
    round_trip::<Evict>(data);
    round_trip::<Fixed>(data);
    round_trip::<NamespaceChoice>(data);
    round_trip::<lastbackend::Namespace>(data);
    round_trip::<lastbackend::Service>(data);
    round_trip::<lastbackend::Run>(data);
    round_trip::<lastbackend::Activity>(data);
    round_trip::<lastbackend::Engine>(data);
    round_trip::<lastbackend::EngineAlive>(data);
    if let Some(pool) = round_trip::<NamespacePool>(data) {
        addresses(&pool.space(), &pool.span);
    }
    if let Some(pool) = round_trip::<ServicePool>(data) {
        addresses(&pool.space(), &pool.span);
    }
    if let Some(pool) = round_trip::<Pool>(data) {
        spaces(&pool);
    }
    if let Some(mirror) = round_trip::<BlockMirror>(data) {
        holders(mirror);
    }
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    match record::decode::<T>("some/key", data) {
        Ok(record) => {
            let written = record::encode(&record);
            let again: T = record::decode("some/key", &written).expect("what is written can be read");
            assert_eq!(again, record);
            assert_eq!(record::encode(&again), written);
            Some(record)
        }
        Err(error) => {
            assert!(error.to_string().contains("some/key"), "{error}");
            if let RecordError::Newer { version, .. } = error {
                assert!(version > VERSION);
            }
            None
        }
    }
}

/// Index and unit are each other's inverse, also in a pool that no controller would have made.
fn spaces(pool: &Pool) {
    let valid = pool.validate().is_ok();
    for family in Family::BOTH {
        let Ok(space) = pool.space(family) else { continue };
        let Some(last) = space.last_index() else { continue };
        for index in [0, last / 2, last] {
            let unit = space.unit_at(index).expect("up to the last");
            assert_eq!(space.index_of(unit), Some(index));
            let unusable = pool.unusable(unit, &space);
            assert!(unusable.iter().all(|(first, last)| first <= last), "{unusable:?}");
            if valid {
                assert!(pool.subnets.iter().any(|subnet| subnet.contains(&unit.first())), "{unit}");
            }
        }
        assert_eq!(space.unit_at(last.saturating_add(1)).filter(|_| last < u128::MAX), None);
    }
}

/// Each unit is an address of the range, also in a pool that no controller would have made.
fn addresses(space: &Space, span: &Span) {
    let units = space.last_index().into_iter().flat_map(|last| [0, last / 2, last]);
    for unit in units.map(|index| space.unit_at(index).expect("up to the last")) {
        assert!(span.range().contains(unit.first()) && unit.bits() == 0, "{unit}");
    }
}

/// What a lost journal is rebuilt from: each address has one holder at most, and lies in the block.
fn holders(mirror: BlockMirror) {
    let settings = Settings { cooldown: Duration::ZERO, low_water: 1 };
    let mut state = State::new(settings, 0);
    let first = "10.0.0.0".parse().expect("address");
    let id = BlockId { pool: PoolName::default_pool().into(), unit: Unit::containing(first, 4) };
    let told = mirror.held.len();
    let pool = Pool::of_subnets(vec![id.unit.net()]);
    state.add_block(&id, 1, Standing::Quarantined, &pool, mirror.held, 0);
    let held: Vec<_> = state.allocations().map(|(_, address, _)| address).collect();
    assert!(held.len() <= told.min(16) && held.is_sorted(), "{held:?}");
    assert!(held.iter().all(|address| id.unit.offset_of(*address).is_some()), "{held:?}");
    assert_eq!(state.status().attachments.len(), held.len());
}
