//! Google from the consent page to the stored event: the service and the jobs against the simulated Google, through
//! the real HTTP stack, on both databases.

mod again;
mod conferences;
mod departure;
pub(crate) mod desk;
pub(crate) mod fleet;
mod inbound;
mod instances;
mod outbound;
mod own_clients;
mod service_accounts;
mod sign_in;
mod tokens;
pub(crate) mod watched;
mod watches;
