//! Google from the consent page to the stored event: the service and the jobs against the simulated Google, through
//! the real HTTP stack, on both databases.

mod fleet;
mod inbound;
mod sign_in;
mod tokens;
