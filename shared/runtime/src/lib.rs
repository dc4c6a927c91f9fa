//! What every program of the fleet needs before it does anything: its configuration, its clock, its logs and
//! measures, and an orderly end.

pub mod clock;
pub mod config;
pub mod lifecycle;
pub mod telemetry;
