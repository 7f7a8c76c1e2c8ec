//! The fuzz targets for a bounded time: all of the corpora, and inputs made of them. `COIL_FUZZ_CASES` says how
//! many for each target.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use coil_verify::fuzz::{TARGETS, Target};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::path::Path;

const CASES: u32 = 400;

/// The inputs in a target's corpus.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let files = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("listed").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).expect("read")).collect()
}

/// A change of an input.
#[derive(Debug, Clone)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// The start of this input, and the end of another one.
    Join(prop::sample::Index, prop::sample::Index, prop::sample::Index),
}

/// What parsers have an opinion about.
const WORDS: [&str; 24] = [
    "\0",
    "\n",
    "\n\n",
    "/",
    "..",
    "%00",
    "%",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "null",
    "-1",
    "4294967296",
    "1e999",
    "\u{fffd}",
    "é",
    "0.0.0.0/0",
    "::/0",
    "255.255.255.255",
    "ipv6",
    "raw",
    "18446744073709551616",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    let bytes = prop_oneof![
        prop::sample::select(WORDS.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 1..8),
    ];
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (index(), bytes).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (index(), 1..16_usize).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (index(), index(), index()).prop_map(|(at, other, from)| Mutation::Join(at, other, from)),
    ]
}

fn mutate(mut input: Vec<u8>, mutation: &Mutation, corpus: &[Vec<u8>]) -> Vec<u8> {
    let place = |at: &prop::sample::Index, length: usize| at.index(length + 1);
    match mutation {
        Mutation::Set(at, byte) => {
            let at = place(at, input.len());
            if let Some(old) = input.get_mut(at) {
                *old = *byte;
            }
        }
        Mutation::Insert(at, bytes) => {
            let at = place(at, input.len());
            input.splice(at..at, bytes.iter().copied());
        }
        Mutation::Remove(at, count) => {
            let at = place(at, input.len());
            input.drain(at..input.len().min(at + count));
        }
        Mutation::Join(at, other, from) => {
            let other = other.get(corpus);
            input.truncate(place(at, input.len()));
            input.extend(&other[place(from, other.len())..]);
        }
    }
    input
}

fn run((name, target): Target) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for input in &corpus {
        target(input);
    }
    let cases = std::env::var("COIL_FUZZ_CASES")
        .map_or(CASES, |cases| cases.parse().expect("COIL_FUZZ_CASES is a number of inputs"));
    let mutated = (prop::sample::select(corpus.clone()), prop::collection::vec(mutation(), 0..6)).prop_map(
        move |(input, mutations)| {
            mutations.iter().fold(input, |input, mutation| mutate(input, mutation, &corpus))
        },
    );
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&mutated, |input| {
            target(&input);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn admin_http() {
    run(TARGETS[0]);
}

#[test]
fn cni() {
    run(TARGETS[1]);
}

#[test]
fn journal() {
    run(TARGETS[2]);
}

#[test]
fn keys() {
    run(TARGETS[3]);
}

#[test]
fn node_http() {
    run(TARGETS[4]);
}

#[test]
fn records() {
    run(TARGETS[5]);
}

#[test]
fn melange_http() {
    run(TARGETS[6]);
}

#[test]
fn platform_http() {
    run(TARGETS[7]);
}
