//! What both databases must do alike.

mod access;
mod accounts;
mod records;
mod secrets;
mod transactions;
