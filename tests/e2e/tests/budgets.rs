//! Three worker processes and one account: never above its quota, and never before the provider wants to be asked.

use std::time::{Duration, Instant};

use calfleet_harness::{Postgres, Redis, wait_until};
use calfleet_sandbox::{Fault, FaultRule, RequestEntry, RetryAfter};

use crate::fleet::{Fleet, database, reaching};
use crate::provider::{PASSWORD, account, start};

/// The account's quota: so many in any stretch of ten seconds.
const QUOTA: usize = 30;
const WINDOW_MS: i64 = 10_000;
/// How long everybody asks.
const RUSH: Duration = Duration::from_secs(45);
/// A request that was under way when another one was refused could not know.
const UNDER_WAY_MS: i64 = 250;

/// The most in any closed window.
fn busiest(entries: &[RequestEntry]) -> usize {
    let mut times: Vec<i64> = entries.iter().map(|entry| entry.at).collect();
    times.sort_unstable();
    let within = |(at, from): (usize, &i64)| times.partition_point(|other| *other <= from + WINDOW_MS) - at;
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

/// Lets real time pass.
async fn pass(time: Duration) {
    let ends = Instant::now() + time;
    wait_until(2 * time, || Instant::now() >= ends).await;
}

/// Asks for syncs of all connections again and again, as people do who are impatient.
async fn rush(fleet: &Fleet, connections: &[String]) {
    let ends = Instant::now() + RUSH;
    while Instant::now() < ends {
        for connection in connections {
            fleet.admin(&["sync", connection]).await;
        }
    }
}

#[tokio::test]
async fn three_workers_keep_the_quota_of_an_account_and_wait_as_long_as_they_are_told() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::shared()) else { return };
    let sandbox = start().await;
    account(&sandbox, "ada", &[("work", 20), ("home", 5)]);
    let database = database(postgres).await;
    let mut settings = reaching(&[sandbox.address().port()]);
    settings.push(("limits.caldav.account.requests", QUOTA.to_string()));
    settings.push(("limits.caldav.account.per", "10s".to_owned()));
    let fleet = Fleet::full(&database, redis, &settings);
    let _scheduler = fleet.start("scheduler").await;
    let mut connections = Vec::new();
    fleet.organizations(&["one", "two", "three", "four"]).await;
    for name in ["one", "two", "three", "four"] {
        let of = ["--organization", name];
        connections.push(fleet.connect(sandbox.url(), "ada", PASSWORD, &of).await);
    }
    let _workers = [fleet.start("worker").await, fleet.start("worker").await, fleet.start("worker").await];
    // what connecting asked is out of every window that counts
    pass(Duration::from_secs(11)).await;
    sandbox.log().clear();
    let wait = Fault::Status { code: 429, retry_after: Some(RetryAfter::Seconds(4)) };
    sandbox.inject(FaultRule::next(wait.clone()).after(15));
    sandbox.inject(FaultRule::next(wait).after(28));

    rush(&fleet, &connections).await;

    let entries = sandbox.log().entries();
    let most = busiest(&entries);
    assert!(most <= QUOTA, "{most} in {WINDOW_MS} ms");
    assert!(entries.len() > QUOTA / 2, "the quota is used: {}", entries.len());
    let refusals: Vec<&RequestEntry> = entries.iter().filter(|entry| entry.status == 429).collect();
    assert!(!refusals.is_empty());
    for refusal in refusals {
        let told_at = refusal.at + i64::try_from(refusal.took_us / 1000).unwrap();
        let early = entries.iter().filter(|entry| {
            entry.number > refusal.number
                && entry.at > told_at + UNDER_WAY_MS
                && entry.at < refusal.at + 4_000
        });
        assert_eq!(early.count(), 0, "asked before Retry-After was over");
    }
}
