//! The daemon's tasks and the controller's removal, as they are, on a store and machines that fail by a seed
//! (`docs/testing.md`).
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod cluster;
mod net;
mod node;
mod random;

use cluster::Cluster;

/// Seeds of a run without `COIL_SEEDS` and `COIL_SEED`.
const SEEDS: u64 = 12;
/// Events of one course.
const EVENTS: usize = 600;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number, and not {text:?}")))
}

/// Runs one course to its end; answers what happened.
fn course(seed: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("runtime").block_on(async {
        // While a blocking task runs, time goes on only when the simulation says so.
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let clock = tokio::task::spawn_blocking(move || wait.recv());
        let mut cluster = Cluster::new(seed).await;
        for _ in 0..EVENTS {
            cluster.event().await;
        }
        cluster.drain().await;
        drop(done);
        let _ = clock.await;
        cluster.trace()
    })
}

#[test]
fn whatever_fails_no_address_is_given_twice_and_nothing_leaks() {
    let (first, usual) = number("COIL_SEED").map_or((0, SEEDS), |seed| (seed, 1));
    for seed in first..first + number("COIL_SEEDS").unwrap_or(usual) {
        println!("seed {seed}: again with COIL_SEED={seed}");
        course(seed);
    }
}

#[test]
fn a_seed_takes_the_same_course_again() {
    let (first, second) = (course(4_711), course(4_711));
    for (n, (one, other)) in first.iter().zip(&second).enumerate() {
        assert_eq!(one, other, "event {n}");
    }
    assert_eq!(first.len(), second.len());
    assert!(first.len() > 100, "much has happened");
}
