//! Real programs of Calfleet beside real servers: what a person who installs it would see.
#![cfg(test)]

mod api;
mod api_client;
mod bad_input;
mod canary;
mod demo;
mod fleet;
mod google_clients;
mod keys;
mod outage;
mod provider;
mod servers;
mod sign_in;
mod strangers;
