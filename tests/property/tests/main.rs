//! Laws of the pure core, over generated cases and the corpus.
#![cfg(test)]

mod corpus;
mod generators;
mod ics;
mod reconcile;
mod reconcile_cases;
mod reconcile_events;
mod reconcile_histories;
mod recurrence;
mod zones;
