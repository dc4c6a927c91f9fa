//! Tests: property.

mod reconcile;
