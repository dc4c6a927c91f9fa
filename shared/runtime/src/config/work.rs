//! `[work]` and `[worker]`: the table of due work and those who work it off.

use std::time::Duration;

use serde::Deserialize;

use super::{Complaint, within};

/// The table of due work.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkConfig {
    /// How long a claimed row belongs to its worker without a renewal.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How often leases are renewed.
    #[serde(with = "humantime_serde")]
    pub renew_every: Duration,
    /// How long a hint may take before the row is handed out again.
    #[serde(with = "humantime_serde")]
    pub hand_out: Duration,
    /// The longest pause between two looks at what is due.
    #[serde(with = "humantime_serde")]
    pub tick_at_most: Duration,
    /// The shortest pause between two looks.
    #[serde(with = "humantime_serde")]
    pub tick_at_least: Duration,
    /// How long a drain waits for running jobs.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
}

/// Running jobs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Jobs run at the same time by one process.
    pub slots: usize,
}

impl WorkConfig {
    pub(super) fn check(&self, complaints: &mut Vec<Complaint>) {
        let (ms, s, m) =
            (Duration::from_millis, Duration::from_secs, |minutes: u64| Duration::from_secs(60 * minutes));
        within(complaints, "work.lease", &self.lease, s(1)..=m(10));
        within(complaints, "work.hand_out", &self.hand_out, s(1)..=m(1));
        within(complaints, "work.tick_at_most", &self.tick_at_most, ms(10)..=s(5));
        within(complaints, "work.tick_at_least", &self.tick_at_least, ms(1)..=ms(100));
        within(complaints, "work.drain", &self.drain, s(0)..=m(10));
        if self.renew_every.is_zero() || self.renew_every >= self.lease / 3 {
            let advice = "has to be more than zero and less than a third of work.lease, so that two renewals may fail.";
            complaints.push(Complaint { key: "work.renew_every", advice: advice.to_owned() });
        }
    }
}

impl WorkerConfig {
    pub(super) fn check(&self, complaints: &mut Vec<Complaint>) {
        within(complaints, "worker.slots", &self.slots, 1..=10_000);
    }
}
