//! Points at which the tests end a process or bend its clock. They exist in debug builds with the feature
//! `failpoints` alone; everywhere else a point is nothing at all.
//!
//! A process is told what to do by the variable `FAILPOINTS`, in the language of the crate `fail`:
//! `journal.commit.after=3*off->return` ends it when it comes to that point for the fourth time, without
//! unwinding and without a flush, as SIGKILL would.

#[cfg(all(feature = "failpoints", debug_assertions))]
mod points {
    use std::sync::Once;

    fn read_environment() {
        static ONCE: Once = Once::new();
        // Its end would clear all points.
        ONCE.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    }

    pub(super) fn point(name: &str) {
        read_environment();
        fail::fail_point!(name, |_| std::process::abort());
    }

    pub(super) fn clock_offset() -> i64 {
        read_environment();
        fail::fail_point!("clock", |file| {
            let text = file.and_then(|file| std::fs::read_to_string(file).ok());
            text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
        });
        0
    }
}

#[cfg(not(all(feature = "failpoints", debug_assertions)))]
mod points {
    #[inline]
    pub(super) fn point(_name: &str) {}

    #[inline]
    pub(super) fn clock_offset() -> i64 {
        0
    }
}

/// The process ends here if the tests want it to.
#[inline]
pub fn point(name: &str) {
    points::point(name);
}

/// By how many milliseconds the wall clock is off: what the file says that the point `clock` names, as in
/// `clock=return(/tmp/offset)`.
#[inline]
pub(crate) fn clock_offset() -> i64 {
    points::clock_offset()
}
