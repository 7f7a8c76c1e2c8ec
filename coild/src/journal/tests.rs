//! What the journal gives back is what was committed.

use super::*;
use crate::state::Standing;
use crate::state::tests::{Driven, SETTINGS, Step, step};
use proptest::prelude::*;

fn commit(journal: &mut Journal, state: &mut State) {
    let changes = state.take_changes();
    journal.commit(&changes, state).expect("committed");
}

fn picture(state: &State, now: u64) -> String {
    let known = (state.pools(), state.choices());
    format!("{:?}\n{:?}\n{:?}\n{known:?}", state.status(), state.leases(), state.summary(now).pools)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_reopened_journal_knows_all_that_was_committed(
        batches in prop::collection::vec(prop::collection::vec(step(), 1..12), 1..12),
        renew: bool,
    ) {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("journal");
        let mut node = Driven::new();
        let mut journal = Journal::open(&path).expect("opened");
        for batch in batches {
            for step in batch {
                node.apply(&step);
            }
            commit(&mut journal, &mut node.state);
            drop(journal);
            journal = Journal::open(&path).expect("reopened");
            if renew {
                journal.renew(&node.state).expect("a new file");
            }
            let read = journal.load(SETTINGS, node.now).expect("read");
            prop_assert_eq!(picture(&read, node.now), picture(&node.state, node.now));
            prop_assert_eq!(read.sequence(), node.state.sequence());
            let open = read.leases().values().filter(|(_, standing)| *standing != Standing::Fenced).count();
            prop_assert_eq!(read.behind(usize::MAX).len(), open, "the mirror may have missed the last changes");
        }
    }
}

#[test]
fn only_one_process_has_it_open() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("journal");
    let first = Journal::open(&path).expect("opened");
    let error = Journal::open(&path).err().expect("it is open");
    assert!(!error.is_damage(), "{error:?}");
    drop(first);
    Journal::open(&path).expect("free again");
}

fn filled(path: &Path) -> (Driven, Journal) {
    let mut node = Driven::new();
    node.apply(&Step::AddBlock { number: 0 });
    for container in 0..12 {
        node.apply(&Step::Allocate { container, dual: false, wake: false });
    }
    let mut journal = Journal::open(path).expect("opened");
    commit(&mut journal, &mut node.state);
    (node, journal)
}

#[test]
fn a_damaged_journal_is_an_error() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("journal");
    let (node, journal) = filled(&path);
    drop(journal);
    let whole = std::fs::read(&path).expect("read");
    let open = || Journal::open(&path).and_then(|journal| journal.load(SETTINGS, 0));
    for length in [0, 1, 100, 4096, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).expect("cut short");
        let error = open().expect_err("cut short");
        assert!(error.is_damage(), "cut to {length} bytes: {error:?}");
    }
    let used = whole.iter().rposition(|byte| *byte != 0).expect("content");
    for position in (0..used).step_by(17) {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x41;
        std::fs::write(&path, &bytes).expect("damaged");
        let error = open().expect_err("damaged");
        assert!(error.is_damage(), "byte {position}: {error:?}");
    }
    std::fs::write(&path, &whole).expect("mended");
    assert_eq!(picture(&open().expect("read"), 0), picture(&node.state, 0));
}

#[test]
fn a_journal_of_a_newer_program_is_left_alone() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("journal");
    let mut bytes = lines::Header::write(4096).replace("journal 1", "journal 2").into_bytes();
    let text = bytes.len() - 10;
    let checksum = format!("{:08x}", crc32fast::hash(&bytes[..text]));
    bytes[text + 1..text + 9].copy_from_slice(checksum.as_bytes());
    std::fs::write(&path, bytes).expect("written");
    let error = Journal::open(&path).err().expect("not ours");
    assert!(matches!(error, JournalError::Newer(2)) && !error.is_damage(), "{error:?}");
}

#[test]
fn a_full_file_makes_way_for_a_new_one() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("journal");
    let (mut node, mut journal) = filled(&path);
    let mut renewed = 0;
    for round in 0..8_000 {
        let (end, container) = (journal.end, 12 + u8::from(round % 2 == 0));
        node.apply(&Step::Release { container: 25 - container });
        node.apply(&Step::Allocate { container, dual: false, wake: true });
        commit(&mut journal, &mut node.state);
        renewed += usize::from(journal.end < end);
    }
    assert!(renewed > 0, "{} bytes were enough", journal.size);
    drop(journal);
    let read = Journal::open(&path).expect("reopened").load(SETTINGS, node.now).expect("read");
    assert_eq!(picture(&read, node.now), picture(&node.state, node.now));
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left over");
}

#[test]
fn what_failed_did_not_happen_and_the_next_commit_is_whole() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("journal");
    let (mut node, mut journal) = filled(&path);
    let before = picture(&node.state, node.now);
    // A file that can't be written: the commit fails, and so does every attempt at a new file.
    let writable = std::mem::replace(&mut journal.file, File::open(&path).expect("read only"));
    std::fs::create_dir(path.with_extension("new")).expect("in the way");
    for container in 12..14 {
        node.apply(&Step::Allocate { container, dual: false, wake: false });
        let changes = node.state.take_changes();
        journal.commit(&changes, &node.state).expect_err("not writable");
        node.state = journal.load(SETTINGS, node.now).expect("read");
        assert_eq!(picture(&node.state, node.now), before);
    }
    drop(writable);
    std::fs::remove_dir(path.with_extension("new")).expect("out of the way");
    node.apply(&Step::Allocate { container: 20, dual: false, wake: false });
    commit(&mut journal, &mut node.state);
    drop(journal);
    let read = Journal::open(&path).expect("reopened").load(SETTINGS, node.now).expect("read");
    assert_eq!(picture(&read, node.now), picture(&node.state, node.now));
}
