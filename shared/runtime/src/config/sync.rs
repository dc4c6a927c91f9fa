//! `[sync]`: bringing calendars in.

use std::time::Duration;

use serde::Deserialize;

use super::{Complaint, within};

/// Bringing calendars in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncConfig {
    /// Between two polls of a connection that does not say itself.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// Between two full comparisons of a calendar.
    #[serde(with = "humantime_serde")]
    pub full_sync_every: Duration,
    /// Between two readings of a connection's list of calendars.
    #[serde(with = "humantime_serde")]
    pub calendars_every: Duration,
    /// Between two runs of a calendar that notifications ask for.
    #[serde(with = "humantime_serde")]
    pub notification_spacing: Duration,
    /// Between two polls of a calendar whose provider tells of its changes.
    #[serde(with = "humantime_serde")]
    pub watched_poll_interval: Duration,
    /// For how long a provider is asked to tell of changes.
    #[serde(with = "humantime_serde")]
    pub watch_lifetime: Duration,
    /// Pages after which a long import gives up its slot.
    pub turn_pages: usize,
    /// Time after which a long import gives up its slot.
    #[serde(with = "humantime_serde")]
    pub turn_time: Duration,
}

impl SyncConfig {
    pub(super) fn check(&self, complaints: &mut Vec<Complaint>) {
        let (minute, day) = (Duration::from_mins(1), Duration::from_hours(24));
        within(complaints, "sync.poll_interval", &self.poll_interval, minute..=7 * day);
        within(complaints, "sync.full_sync_every", &self.full_sync_every, 60 * minute..=30 * day);
        within(complaints, "sync.calendars_every", &self.calendars_every, 5 * minute..=30 * day);
        within(
            complaints,
            "sync.notification_spacing",
            &self.notification_spacing,
            Duration::ZERO..=10 * minute,
        );
        within(complaints, "sync.watched_poll_interval", &self.watched_poll_interval, minute..=day);
        within(complaints, "sync.watch_lifetime", &self.watch_lifetime, 60 * minute..=7 * day);
        within(complaints, "sync.turn_pages", &self.turn_pages, 1..=10_000);
        within(complaints, "sync.turn_time", &self.turn_time, Duration::from_secs(1)..=10 * minute);
    }
}
