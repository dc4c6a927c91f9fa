//! Tests: property.

mod reconcile;
mod reconcile_cases;
mod reconcile_events;
mod reconcile_histories;
