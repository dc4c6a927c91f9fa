//! The fleet under misfortune: lost hints, wiped queues, dying workers, and the laws that hold all the same.
#![cfg(test)]

mod budgets;
mod fleet;
mod hammer;
mod lanes;
mod outage;
mod silence;
mod work_table;
mod workers;
