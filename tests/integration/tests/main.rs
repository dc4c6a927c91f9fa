//! Contracts against real components: every database, every driver, the real queue.

#[cfg(test)]
mod databases;
#[cfg(test)]
mod migrations;
#[cfg(test)]
mod store_contract;
