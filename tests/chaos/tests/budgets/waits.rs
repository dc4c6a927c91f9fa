//! Waits that providers ask for are kept by the whole fleet, and requests at the same time are counted over it.

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::Clock;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Authentication, ProviderKind};
use calfleet_harness::Redis;
use calfleet_providers::driver::{Account, Payer, Problem, Urgency};
use calfleet_providers::http::HttpSettings;
use calfleet_providers::limit::{Budgets, Limits, Meter, Pass, ProviderLimits, Scope};
use calfleet_providers::marker::Marks;
use calfleet_providers::registry::Registry;
use calfleet_providers::surroundings::Endpoints;
use calfleet_runtime::clock::SystemRng;
use calfleet_sandbox::{
    AccountSpec, CalendarSpec, Fault, FaultRule, RetryAfter, Sandbox, SandboxClock, SandboxOptions,
};
use reqwest::Method;

use super::{DEADLINE, Sleepless, account, ask, fill, fleet, limits, quota, retry_after};

#[tokio::test]
async fn nobody_of_the_fleet_asks_before_the_wait_is_over() {
    let Some(redis) = Redis::start() else { return };
    let clock = Sleepless::start();
    let budgets = fleet(&redis, &clock, &limits(3_000, 600));
    let [first, second] = ["ada", "bob"].map(|name| account(name, 1, Urgency::Interactive));
    let meters: Vec<Meter> = budgets.iter().map(|budgets| budgets.meter(&first)).collect();
    let other = budgets[1].meter(&second);
    fill(&budgets, &clock).await;
    for meter in &meters {
        ask(meter).await.unwrap(); // each has a permit left in hand
    }
    let told_at = clock.now();

    meters[0].refused(Scope::Account, Some(Duration::from_secs(30))).await;
    ask(&meters[0]).await.unwrap_err();
    clock.advance(1_000);

    for meter in &meters {
        let error = ask(meter).await.unwrap_err();
        assert_eq!(error.problem, Problem::Throttled);
        assert_eq!(told_at.plus(Duration::from_secs(30)), clock.now().plus(retry_after(&error)));
    }
    ask(&other).await.expect("budgets are of accounts");
    clock.advance(28_998);
    for meter in &meters {
        ask(meter).await.unwrap();
        assert!(clock.now().since(told_at) >= Duration::from_secs(30));
    }
}

#[tokio::test]
async fn permits_in_hand_are_not_spent_once_another_worker_was_told_to_wait() {
    let Some(redis) = Redis::start() else { return };
    let clock = Sleepless::start();
    let budgets = fleet(&redis, &clock, &limits(3_000, 600));
    let ada = account("ada", 1, Urgency::Interactive);
    let meters: Vec<Meter> = budgets.iter().map(|budgets| budgets.meter(&ada)).collect();
    fill(&budgets, &clock).await;
    // the subscriptions stand once a notice has arrived; until then slices end by themselves
    let mut has_heard = false;
    for attempt in 0..200 {
        ask(&meters[1]).await.unwrap();
        meters[0].refused(Scope::Account, Some(Duration::from_secs(5))).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_micros(200));
        }
        // no time has passed: what stops it is the notice
        has_heard = ask(&meters[1]).await.is_err();
        if has_heard {
            break;
        }
        assert!(attempt < 199);
        clock.advance(20_000);
    }

    assert!(has_heard);
}

fn four_at_once() -> Limits {
    let limits = limits(0, 0);
    let microsoft = ProviderLimits { per_account: quota(10_000), concurrent: 4, ..limits.google.clone() };
    Limits { microsoft, ..limits }
}

fn mailbox(name: &str) -> Account {
    Account { provider: ProviderKind::Microsoft, ..account(name, 1, Urgency::Interactive) }
}

async fn sit(meter: &Meter) -> Option<Pass> {
    meter.admit("list changes", &Method::GET, DEADLINE).await.ok()
}

#[tokio::test]
async fn never_more_than_four_requests_at_once_reach_a_mailbox() {
    let Some(redis) = Redis::start() else { return };
    let clock = Sleepless::start();
    let budgets = fleet(&redis, &clock, &four_at_once());
    let meters = || budgets.iter().cycle().map(|budgets| budgets.meter(&mailbox("ada")));
    fill(&budgets, &clock).await;
    assert!(sit(&budgets[0].meter(&mailbox("bob"))).await.is_some());
    clock.advance(120_000);

    let mut jobs: Vec<(Meter, Option<Pass>)> = Vec::new();
    for meter in meters().take(9) {
        let pass = sit(&meter).await;
        jobs.push((meter, pass));
    }
    let sitting = jobs.iter().filter(|(_, pass)| pass.is_some()).count();
    assert_eq!(sitting, 3, "the fourth is for a program without Redis");
    assert!(sit(&budgets[1].meter(&mailbox("bob"))).await.is_some(), "mailboxes are counted apart");

    // a job that ends makes room for one other, who waits for it less long than a lease lasts
    jobs.retain(|(_, pass)| pass.is_some());
    drop(jobs.pop());
    let next = meters().next().unwrap();
    let pass = sit(&next).await;
    assert!(pass.is_some());
    jobs.push((next, pass));

    // nobody knows who sat when Redis forgets it
    redis.flush();
    for meter in meters().take(6) {
        let pass = sit(&meter).await;
        jobs.push((meter, pass));
    }
    let sitting = jobs.iter().filter(|(_, pass)| pass.is_some()).count();
    assert_eq!(sitting, 4);
}

#[tokio::test]
async fn a_seat_whose_holder_died_is_free_when_its_lease_is_over() {
    let Some(redis) = Redis::start() else { return };
    let clock = Sleepless::start();
    let budgets = fleet(&redis, &clock, &four_at_once());
    assert!(sit(&budgets[0].meter(&mailbox("bob"))).await.is_some());
    clock.advance(120_000);
    for _ in 0..3 {
        let meter = budgets[0].meter(&mailbox("ada"));
        std::mem::forget(sit(&meter).await.unwrap());
        std::mem::forget(meter);
    }
    let late = budgets[1].meter(&mailbox("ada"));
    assert!(sit(&late).await.is_none());

    clock.advance(60_000);

    assert!(sit(&late).await.is_some());
}

#[tokio::test]
async fn a_process_that_is_alone_counts_its_own() {
    let clock = Sleepless::start();
    let budgets = Budgets::alone(four_at_once(), clock.clone(), Arc::new(SystemRng));
    clock.advance(120_000);
    let meters: Vec<Meter> = (0..6).map(|_| budgets.meter(&mailbox("ada"))).collect();

    let mut passes = Vec::new();
    for meter in &meters {
        passes.push(sit(meter).await);
    }

    assert_eq!(passes.iter().flatten().count(), 4);
    drop((passes, meters));
    assert!(sit(&budgets.meter(&mailbox("ada"))).await.is_some());
}

#[tokio::test]
async fn a_blocked_account_is_not_asked_at_all_and_its_neighbour_is() {
    let clock = Sleepless::start();
    let sandbox_clock = SandboxClock::standing_at(clock.now().0);
    let options = SandboxOptions { clock: sandbox_clock, ..SandboxOptions::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let limits = limits(0, 0);
    let caldav = ProviderLimits { per_account: quota(3_000), ..limits.google.clone() };
    let budgets = Budgets::alone(Limits { caldav, ..limits }, clock.clone(), Arc::new(SystemRng));
    let http = HttpSettings {
        allowed_networks: vec!["127.0.0.0/8".parse().unwrap()],
        allowed_ports: vec![sandbox.address().port()],
        ..HttpSettings::default()
    };
    let endpoints = Endpoints::production().unwrap();
    let registry =
        Registry::new(http, endpoints, clock.clone(), Arc::new(SystemRng)).unwrap().within(budgets);
    let open = |name: &str| {
        let spec = AccountSpec::new(name, "s3cret").calendar(CalendarSpec::new("work"));
        let access = sandbox.create_account(spec).unwrap();
        let account = Account {
            provider: ProviderKind::Caldav,
            url: access.url.parse().unwrap(),
            authentication: Authentication::Password,
            username: Some(access.username),
            secret: Some(access.secret.into()),
            capabilities: None,
            payer: Payer::default(),
            marks: Marks::new(Arc::default(), ""),
        };
        let registry = registry.clone();
        move || registry.open(account.clone()).unwrap()
    };
    let (ada, bob) = (open("ada"), open("bob"));
    clock.advance(120_000);
    ada().list_calendars().await.unwrap();
    let retry_after = Some(RetryAfter::Seconds(30));
    sandbox.inject(FaultRule::next(Fault::Status { code: 429, retry_after }));

    let told = ada().list_calendars().await.unwrap_err();
    let before = sandbox.log().count();
    clock.advance(10_000);
    let held = ada().list_calendars().await.unwrap_err();

    let wait = |seconds| FailureClass::Throttled { retry_after: Some(Duration::from_secs(seconds)) };
    assert_eq!((told.class, held.class), (wait(30), wait(20)));
    assert_eq!(held.problem, Problem::Throttled);
    assert_eq!(sandbox.log().count(), before, "nothing was sent");
    bob().list_calendars().await.unwrap();
    clock.advance(20_000);
    ada().list_calendars().await.unwrap();
}
