//! The budgets of a program, as the configuration says: shared through Redis, or its own where it is alone.

use std::sync::Arc;

use calfleet_domain::clock::{Clock, Rng};
use calfleet_providers::limit::{Budgets, FleetSettings, Limits, ProviderLimits, Quota};
use calfleet_runtime::config::Config;
use calfleet_runtime::config::limits::{ProviderLimitsConfig, QuotaConfig};

/// The budgets.
pub(crate) fn budgets(config: &Config, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> anyhow::Result<Budgets> {
    let limits = limits(config);
    if !config.queue.is_redis() {
        return Ok(Budgets::alone(limits, clock, rng));
    }
    let settings = FleetSettings { url: config.queue.url.clone(), prefix: config.queue.prefix.clone() };
    Ok(Budgets::of_fleet(limits, &settings, clock, rng)?)
}

fn limits(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        google: provider(&limits.google, &config.providers.google.client_id),
        microsoft: provider(&limits.microsoft, ""),
        caldav: provider(&limits.caldav, ""),
        feed: provider(&limits.feed, ""),
        organization_percent: limits.organization_percent,
        programs: limits.programs,
    }
}

fn provider(limits: &ProviderLimitsConfig, project: &str) -> ProviderLimits {
    let quota = |quota: &QuotaConfig| Quota { requests: quota.requests, window: quota.per };
    ProviderLimits {
        project: project.to_owned(),
        per_project: quota(&limits.project),
        per_account: quota(&limits.account),
        concurrent: limits.concurrent,
    }
}
