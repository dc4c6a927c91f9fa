//! Contracts against real components: every database, every driver, the real queue.
#![cfg(test)]

mod databases;
mod driver_contract;
mod google;
mod microsoft;
mod migrations;
mod push;
mod store_contract;
#[cfg(test)]
mod sync;
