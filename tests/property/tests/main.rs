//! Laws of the pure core, over generated cases and the corpus.
#![cfg(test)]

mod corpus;
mod generators;
mod hostile;
mod ics;
mod patch;
mod reconcile;
mod reconcile_cases;
mod reconcile_events;
mod reconcile_histories;
mod recurrence;
mod zones;

use calfleet_harness::Size;
use proptest::test_runner::Config;

/// How often a law is tried: so often in every run, and so often before a release.
fn cases(ci: u32, full: u32) -> Config {
    let cases = Size::of_this_run().pick(ci, full);
    // as many of them may say nothing
    Config { cases, max_global_rejects: cases, ..Config::default() }
}
