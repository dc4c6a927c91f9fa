//! `[limits]`: how often providers may be asked, by the whole fleet together.

use std::time::Duration;

use serde::Deserialize;

use super::{Complaint, within};

/// How often providers may be asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// The part of a project's quota within which an organization comes before those over theirs.
    pub organization_percent: u32,
    /// Programs that may run at once.
    pub programs: u32,
    /// Google Calendar.
    pub google: ProviderLimitsConfig,
    /// Microsoft Graph.
    pub microsoft: ProviderLimitsConfig,
    /// CalDAV servers.
    pub caldav: ProviderLimitsConfig,
    /// Published calendars.
    pub feed: ProviderLimitsConfig,
}

/// What one provider allows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderLimitsConfig {
    /// Of all accounts together.
    pub project: QuotaConfig,
    /// Of one account.
    pub account: QuotaConfig,
    /// Requests at the same time for one account; 0 for any number.
    pub concurrent: u32,
}

/// So many requests in any stretch of time of that length.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// How many; 0 for no limit.
    pub requests: u32,
    /// In which time.
    #[serde(with = "humantime_serde")]
    pub per: Duration,
}

impl LimitsConfig {
    pub(super) fn check(&self, complaints: &mut Vec<Complaint>) {
        within(complaints, "limits.organization_percent", &self.organization_percent, 1..=100);
        within(complaints, "limits.programs", &self.programs, 1..=1_000);
        let quotas = [
            ("limits.google.project.per", &self.google.project),
            ("limits.google.account.per", &self.google.account),
            ("limits.microsoft.project.per", &self.microsoft.project),
            ("limits.microsoft.account.per", &self.microsoft.account),
            ("limits.caldav.project.per", &self.caldav.project),
            ("limits.caldav.account.per", &self.caldav.account),
            ("limits.feed.project.per", &self.feed.project),
            ("limits.feed.account.per", &self.feed.account),
        ];
        for (key, quota) in quotas {
            within(complaints, key, &quota.per, Duration::from_secs(1)..=Duration::from_hours(24));
        }
        let concurrent = [
            ("limits.google.concurrent", self.google.concurrent),
            ("limits.microsoft.concurrent", self.microsoft.concurrent),
            ("limits.caldav.concurrent", self.caldav.concurrent),
            ("limits.feed.concurrent", self.feed.concurrent),
        ];
        for (key, concurrent) in concurrent {
            within(complaints, key, &concurrent, 0..=1_000);
        }
    }
}
