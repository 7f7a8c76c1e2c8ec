//! What the journal gives back is what was committed.

use super::*;
use crate::state::tests::{Driven, SETTINGS, Step, step};
use proptest::prelude::*;

fn commit(journal: &Journal, state: &mut State) {
    let changes = state.take_changes();
    journal.commit(&changes, state.sequence()).expect("committed");
}

fn picture(state: &State, now: u64) -> String {
    format!("{:?}\n{:?}\n{:?}\n{:?}", state.status(), state.leases(), state.summary(now).pools, state.pools())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_reopened_journal_knows_all_that_was_committed(
        batches in prop::collection::vec(prop::collection::vec(step(), 1..12), 1..12),
    ) {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("journal.redb");
        let mut node = Driven::new();
        let mut journal = Journal::open(&path).expect("opened");
        for batch in batches {
            for step in batch {
                node.apply(&step);
            }
            commit(&journal, &mut node.state);
            drop(journal);
            journal = Journal::open(&path).expect("reopened");
            let read = journal.load(SETTINGS, node.now).expect("read");
            prop_assert_eq!(picture(&read, node.now), picture(&node.state, node.now));
            prop_assert!(read.sequence() >= node.state.sequence(), "a number would be given twice");
            let open = read.leases().values().filter(|(_, standing)| *standing != Standing::Fenced).count();
            prop_assert_eq!(read.behind(usize::MAX).len(), open, "the mirror may have missed the last changes");
        }
    }
}

#[test]
fn only_one_process_has_it_open() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("journal.redb");
    let first = Journal::open(&path).expect("opened");
    let error = Journal::open(&path).err().expect("it is open");
    assert!(!error.is_damage(), "{error:?}");
    drop(first);
    Journal::open(&path).expect("free again");
}

#[test]
fn a_damaged_journal_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("journal.redb");
    let mut node = Driven::new();
    node.apply(&Step::AddBlock { number: 0 });
    for container in 0..12 {
        node.apply(&Step::Allocate { container, dual: false, wake: false });
    }
    let journal = Journal::open(&path).expect("opened");
    commit(&journal, &mut node.state);
    drop(journal);
    let whole = std::fs::read(&path).expect("read");
    for length in [1, 100, 4096, whole.len() / 2] {
        std::fs::write(&path, &whole[..length]).expect("cut short");
        let outcome =
            std::panic::catch_unwind(|| Journal::open(&path).and_then(|journal| journal.load(SETTINGS, 0)));
        let Ok(Err(error)) = outcome else { panic!("cut to {length} bytes: no error") };
        assert!(error.is_damage(), "cut to {length} bytes: {error:?}");
    }
    std::fs::write(&path, "this is no journal").expect("overwritten");
    assert!(Journal::open(&path).is_err());
    let used = whole.iter().rposition(|byte| *byte != 0).expect("content");
    for position in (0..used).step_by(used / 60) {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x41;
        std::fs::write(&path, &bytes).expect("damaged");
        let outcome =
            std::panic::catch_unwind(|| Journal::open(&path).and_then(|journal| journal.load(SETTINGS, 0)));
        match outcome.expect("no panic") {
            Ok(state) => assert_eq!(picture(&state, 0), picture(&node.state, 0), "byte {position}"),
            Err(error) => assert!(error.is_damage(), "byte {position}: {error:?}"),
        }
    }
}
