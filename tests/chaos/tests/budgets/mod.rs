//! No quota is exceeded and no `Retry-After` broken by several workers on one Redis, whatever happens to it.
//!
//! The provider is emulated by when it is asked; the clock moves on by itself when somebody sleeps, so that minutes
//! pass in a moment. Requests are made one after the other, but by any of the workers.

mod waits;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use calfleet_domain::clock::{Clock, Rng, Timestamp};
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Authentication, OrganizationId, ProviderKind};
use calfleet_harness::{Ending, Redis};
use calfleet_providers::driver::{Account, DriverError, Payer, Problem, Urgency};
use calfleet_providers::limit::{Budgets, FleetSettings, Limits, Meter, ProviderLimits, Quota, Scope};
use calfleet_providers::marker::Marks;
use calfleet_runtime::clock::SystemRng;
use reqwest::Method;
use url::Url;
use uuid::Uuid;

/// A clock that moves when somebody sleeps.
#[derive(Debug)]
struct Sleepless(AtomicI64);

impl Sleepless {
    fn start() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_800_000_000_000)))
    }

    fn advance(&self, by_ms: u64) {
        self.0.fetch_add(i64::try_from(by_ms).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Sleepless {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.fetch_max(at.0, Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    }
}

const WORKERS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(20);

fn quota(requests: u32) -> Quota {
    Quota { requests, window: Duration::from_mins(1) }
}

fn limits(project: u32, account: u32) -> Limits {
    let none = ProviderLimits {
        project: String::new(),
        per_project: quota(0),
        per_account: quota(0),
        concurrent: 0,
    };
    let google = ProviderLimits { per_project: quota(project), per_account: quota(account), ..none.clone() };
    Limits {
        google,
        microsoft: none.clone(),
        caldav: none.clone(),
        feed: none,
        organization_percent: 25,
        programs: 3,
    }
}

fn account(name: &str, organization: u128, urgency: Urgency) -> Account {
    Account {
        provider: ProviderKind::Google,
        url: Url::parse("https://calendar.example.com/").unwrap(),
        authentication: Authentication::Oauth,
        username: None,
        secret: None,
        capabilities: None,
        payer: Payer {
            organization: Some(OrganizationId(Uuid::from_u128(organization))),
            account: Some(name.to_owned()),
            urgency,
        },
        marks: Marks::new(Arc::default(), ""),
    }
}

fn fleet(redis: &Redis, clock: &Arc<Sleepless>, limits: &Limits) -> Vec<Budgets> {
    let settings = FleetSettings { url: redis.url(), prefix: redis.key_prefix() };
    let worker = |_| {
        let clock: Arc<dyn Clock> = clock.clone();
        Budgets::of_fleet(limits.clone(), &settings, clock, Arc::new(SystemRng)).unwrap()
    };
    (0..WORKERS).map(worker).collect()
}

async fn ask(meter: &Meter) -> Result<(), DriverError> {
    meter.admit("list changes", &Method::GET, DEADLINE).await.map(drop)
}

/// Budgets begin empty; after this long they are full.
async fn fill(budgets: &[Budgets], clock: &Sleepless) {
    ask(&budgets[0].meter(&account("nobody", 99, Urgency::Interactive))).await.unwrap();
    clock.advance(120_000);
}

fn retry_after(error: &DriverError) -> Duration {
    let FailureClass::Throttled { retry_after: Some(wait) } = error.class else { panic!("{error:?}") };
    wait
}

/// The most in any closed window of a minute.
fn busiest_minute(times: &mut [i64]) -> usize {
    times.sort_unstable();
    let within = |(at, from): (usize, &i64)| times.partition_point(|other| *other <= from + 60_000) - at;
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

fn any(most: u64) -> u64 {
    SystemRng.next_u64() % most
}

/// What happens to Redis in the middle of it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mishap {
    None,
    Flushed,
    Away,
}

/// Three workers ask as often as they may for twelve minutes; gives the busiest minute and the average.
async fn hurry(redis: &Redis, mishap: Mishap) -> (usize, usize) {
    let clock = Sleepless::start();
    let budgets = fleet(redis, &clock, &limits(300, 120));
    let accounts: Vec<Account> =
        (0..4).map(|at| account(&format!("{at}"), u128::from(any(2)), Urgency::Interactive)).collect();
    let meters: Vec<(usize, Meter)> = budgets
        .iter()
        .flat_map(|budgets| accounts.iter().enumerate().map(|(at, account)| (at, budgets.meter(account))))
        .collect();
    let begun = clock.now();
    let (mut sent, mut of_first, mut step) = (Vec::new(), Vec::new(), 0);
    while clock.now().since(begun) < Duration::from_mins(12) {
        step += 1;
        match mishap {
            Mishap::Flushed if step % 50 == 0 => redis.flush(),
            Mishap::Away if step == 500 => redis.stop(Ending::Kill),
            Mishap::Away if step == 1_000 => redis.start_again(),
            _ => {}
        }
        clock.advance(if any(200) == 0 { any(30_000) } else { any(100) });
        let (number, meter) = &meters[usize::try_from(any(meters.len() as u64)).unwrap()];
        match ask(meter).await {
            Ok(()) => {
                // what the provider sees may be later than what we allowed
                let at = clock.now().0 + i64::try_from(any(3_000)).unwrap();
                sent.push(at);
                if *number == 0 {
                    of_first.push(at);
                }
            }
            Err(error) => assert!(matches!(error.problem, Problem::BudgetUsedUp { .. }), "{error}"),
        }
    }
    assert!(busiest_minute(&mut of_first) <= 120, "{mishap:?}: one account");
    let average = sent.len() / 12;
    (busiest_minute(&mut sent), average)
}

#[tokio::test]
async fn no_sliding_minute_of_three_workers_is_above_the_quota() {
    let Some(redis) = Redis::start() else { return };

    let (busiest, average) = hurry(&redis, Mishap::None).await;

    assert!(busiest <= 300, "{busiest}");
    assert!(average > 100, "much of the quota can be used: {average}");
}

#[tokio::test]
async fn a_redis_that_forgets_everything_lets_nobody_ask_more() {
    let Some(redis) = Redis::start() else { return };

    let (busiest, _) = hurry(&redis, Mishap::Flushed).await;

    assert!(busiest <= 300, "{busiest}");
}

#[tokio::test]
async fn workers_without_redis_keep_to_their_own_share_and_go_on() {
    let Some(redis) = Redis::start() else { return };

    let (busiest, average) = hurry(&redis, Mishap::Away).await;

    assert!(busiest <= 300, "{busiest}");
    assert!(average > 5, "{average}");
}

#[tokio::test]
async fn redis_and_memory_decide_alike() {
    let Some(redis) = Redis::start() else { return };
    let (clock, twin) = (Sleepless::start(), Sleepless::start());
    // a fleet keeps a twentieth of its quotas aside
    let budgets = fleet(&redis, &clock, &limits(400, 200));
    let alone = Budgets::alone(limits(380, 190), twin.clone(), Arc::new(SystemRng));
    let pairs: Vec<(Meter, Meter)> = (0..6)
        .map(|at| {
            let urgency = if at % 2 == 0 { Urgency::Interactive } else { Urgency::Background };
            let account = account(&format!("{}", at % 3), at % 2, urgency);
            (budgets[0].meter(&account), alone.meter(&account))
        })
        .collect();

    // what is unknown is empty since the first time that anybody asked
    ask(&pairs[0].0).await.unwrap();
    ask(&pairs[0].1).await.unwrap();
    let mut answers = [0, 0];
    for step in 0..3_000 {
        let pause = any(40) * any(10);
        clock.advance(pause);
        twin.advance(pause);
        let (there, here) = &pairs[usize::try_from(any(pairs.len() as u64)).unwrap()];
        if step % 500 == 499 {
            let wait = (step % 1_000 < 500).then_some(Duration::from_secs(3));
            there.refused(Scope::Account, wait).await;
            here.refused(Scope::Account, wait).await;
        }
        let (mut said_there, mut said_here) = (ask(there).await, ask(here).await);
        // a wait at the very end of patience, which rounding puts on either side of it, is over a millisecond later
        if said_there.is_ok() && said_here.is_err() {
            twin.advance(1);
            said_here = ask(here).await;
        } else if said_here.is_ok() && said_there.is_err() {
            clock.advance(1);
            said_there = ask(there).await;
        }
        let (there, here) = (said_there, said_here);
        assert_eq!(there.is_ok(), here.is_ok(), "step {step}: {there:?} {here:?}");
        assert!(clock.now().0.abs_diff(twin.now().0) <= 1, "step {step}");
        // rounding of a millisecond is not to add up
        let later = clock.now().max(twin.now());
        clock.sleep_until(later).await;
        twin.sleep_until(later).await;
        answers[usize::from(there.is_ok())] += 1;
    }
    assert!(answers.iter().all(|count| *count > 100), "both answers are met with: {answers:?}");
}

#[tokio::test]
async fn a_noisy_organization_does_not_make_the_others_wait() {
    let Some(redis) = Redis::start() else { return };
    let clock = Sleepless::start();
    let budgets = fleet(&redis, &clock, &limits(600, 0));
    let noisy: Vec<Meter> =
        budgets.iter().map(|budgets| budgets.meter(&account("noisy", 1, Urgency::Background))).collect();
    let quiet = budgets[2].meter(&account("quiet", 2, Urgency::Background));
    fill(&budgets, &clock).await;

    let (mut waits, mut got) = (Vec::new(), 0);
    for step in 0..4_000 {
        clock.advance(20);
        got += u32::from(ask(&noisy[step % WORKERS]).await.is_ok());
        if step % 100 == 99 {
            let asked_at = clock.now();
            ask(&quiet).await.expect("within its share");
            waits.push(clock.now().since(asked_at));
        }
    }

    assert!(got > 400, "the noisy one gets what nobody else wants: {got}");
    assert!(waits.iter().all(Duration::is_zero), "{waits:?}");
}
