//! Measurements, printed as ratios and figures; each is ignored unless asked for, and means nothing without `--release`.
#![cfg(test)]

mod expansion;
mod figure;
mod fleet;
mod import;
mod memory;
mod notifications;
mod poll;
mod process;
mod providers;
mod recorder;
mod rows;
mod samples;
mod work;
mod writes;
