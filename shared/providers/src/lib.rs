//! Drivers for calendar providers behind one trait, [`driver::Driver`], and the one guarded HTTP client that
//! all of them use.
//!
//! A driver knows its provider and nothing else: no database, no queue, no policy. What it cannot do stands in
//! its [`driver::Capabilities`]; what went wrong is one [`driver::DriverError`] with a class.

pub mod caldav;
pub mod driver;
mod errand;
pub mod feed;
mod gather;
pub mod google;
pub mod graph;
mod html;
pub mod http;
pub mod identity;
mod instances;
pub mod limit;
pub mod marker;
pub mod naming;
pub mod notification;
pub mod oauth;
pub mod problem;
pub mod registry;
pub mod service_account;
pub mod surroundings;
