//! Real programs of Calfleet beside real servers: what a person who installs it would see.
#![cfg(test)]

mod api;
mod api_client;
mod bad_input;
mod budgets;
mod canary;
mod deaths;
mod demo;
mod disconnect;
mod fleet;
mod google_clients;
mod google_writes;
mod keys;
mod microsoft_clients;
mod notifications;
mod outage;
mod own_accounts;
mod provider;
mod refresh_kills;
mod refused_writes;
mod server_writes;
mod servers;
mod shell;
mod sign_in;
mod strangers;
mod writes;
mod writes_by_shell;
