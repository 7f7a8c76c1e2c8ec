//! The bytes of a journal on a disk that fails.

use crate::samples::ask;
use coild::journal::{Journal, JournalError};
use coild::state::{BlockId, Settings, Standing, State};
use common::ipam::{Pool, Unit};
use common::name::PoolName;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// How far behind what is written damages reach.
const BEHIND: usize = 1024;
const SETTINGS: Settings = Settings { cooldown: Duration::ZERO, low_water: 1 };

/// A damaged journal is as it was, or an error that says that it is damaged. The input is a list of damages, four
/// bytes each: where (three bytes), and what is changed there; the change 0 cuts the file off. They are all in what is
/// written, or all behind it: both together may look like a line that a crash left unfinished. An input that starts
/// with `raw` is the file itself, which is read or refused.
pub fn journal(data: &[u8]) {
    static INTACT: OnceLock<(Vec<u8>, String)> = OnceLock::new();
    let (intact, expected) = INTACT.get_or_init(intact);
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("journal");
    if let Some(raw) = data.strip_prefix(b"raw") {
        std::fs::write(&path, raw).expect("written");
        drop(read(&path));
        return;
    }
    std::fs::write(&path, damaged(intact.clone(), data)).expect("written");
    match read(&path) {
        Ok(read) => assert_eq!(read, *expected),
        Err(error) => assert!(error.is_damage(), "{error:?}"),
    }
}

fn damaged(mut bytes: Vec<u8>, damages: &[u8]) -> Vec<u8> {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let place =
        |damage: &[u8]| usize::from(damage[0]) << 16 | usize::from(damage[1]) << 8 | usize::from(damage[2]);
    let mut damages = damages.chunks_exact(4).peekable();
    let behind = damages.peek().is_some_and(|first| place(first) % (used + BEHIND) >= used);
    for damage in damages {
        let position = if behind { used + place(damage) % BEHIND } else { place(damage) % used };
        match (damage[3], bytes.get_mut(position)) {
            (0, _) => bytes.truncate(position),
            (change, Some(byte)) => *byte ^= change,
            (_, None) => {}
        }
    }
    bytes
}

fn read(path: &Path) -> Result<String, JournalError> {
    Ok(picture(&Journal::open(path)?.load(SETTINGS, 0)?))
}

fn picture(state: &State) -> String {
    format!("{:?} {:?} {:?} {}", state.status(), state.leases(), state.pools(), state.is_complete())
}

/// A journal with something of everything in it.
fn intact() -> (Vec<u8>, String) {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("journal");
    let mut journal = Journal::open(&path).expect("opened");
    let mut state = State::new(SETTINGS, 0);
    let pool = Pool::of_subnets(vec!["10.0.0.0/24".parse().expect("net")]);
    state.set_pools(BTreeMap::from([(PoolName::default_pool(), pool.clone())]));
    for (address, standing) in
        [("10.0.0.0", Standing::Open), ("10.0.0.16", Standing::Open), ("10.0.0.32", Standing::Quarantined)]
    {
        let unit = Unit::containing(address.parse().expect("address"), 4);
        let id = BlockId { pool: PoolName::default_pool().into(), unit };
        state.add_block(&id, 7, standing, &pool, Vec::new(), 0);
    }
    for container in 0..20 {
        state.allocate(&ask(container), true, 0).expect("room for 32");
    }
    let pod = ask(0).pod;
    state.release(&ask(3).attachment, &pod, &pod, 0);
    state.set_complete();
    let changes = state.take_changes();
    journal.commit(&changes, &state).expect("committed");
    drop(journal);
    let expected = read(&path).expect("intact");
    assert_eq!(expected, picture(&state));
    (std::fs::read(&path).expect("read"), expected)
}
