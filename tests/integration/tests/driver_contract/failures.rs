//! What goes wrong on the way, and the sentence it ends in.

use std::time::Duration;

use calfleet_domain::failure::FailureClass;
use calfleet_providers::driver::Problem;
use calfleet_sandbox::{AccountSpec, CalendarSpec, Fault, FaultRule, GeneratorPlan, RetryAfter};

use super::mirror::Mirror;
use super::{account, connect, feed, registry, sandbox, settings};

/// What the first listing of a calendar fails with when `fault` strikes it.
async fn listing_with(fault: Fault) -> (FailureClass, Problem) {
    let sandbox = sandbox().await;
    let spec = AccountSpec::new("ada", "s3cret").calendar(CalendarSpec::new("work"));
    let access = sandbox.create_account(spec).unwrap();
    sandbox.generate("ada", "work", GeneratorPlan { events: 50, seed: 1 }).unwrap();
    let mut settings = settings(&[sandbox.address().port()]);
    settings.read_timeout = Duration::from_secs(2);
    settings.listing_timeout = Duration::from_secs(7);
    let registry = registry(settings);
    let (_, driver) = connect(&registry, account(&access)).await.unwrap();
    let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
    let name = format!("{fault:?}");
    sandbox.inject(FaultRule::next(fault).body("sync-collection").always());

    let Err(error) = mirror.sync(driver.as_ref()).await else { panic!("{name}: it worked") };

    assert!(!error.to_string().contains("s3cret"));
    (error.class, error.problem)
}

#[tokio::test]
async fn a_listing_that_breaks_off_has_listed_nothing() {
    for fault in [Fault::TruncatedBody, Fault::CutBody(3_000), Fault::CutBefore] {
        assert_eq!(listing_with(fault).await, (FailureClass::Transient, Problem::Truncated));
    }
}

#[tokio::test]
async fn hostile_answers_end_at_a_limit() {
    let (_, endless) = listing_with(Fault::Endless).await;
    // A server that drips is stopped by the clock, one that floods by the limit.
    let is_bounded = matches!(
        endless,
        Problem::TooLarge { .. } | Problem::Timeout { .. } | Problem::UnreadableAnswer { .. }
    );
    assert!(is_bounded, "{endless:?}");
    let (_, bomb) = listing_with(Fault::GzipBomb(16)).await;
    assert!(matches!(bomb, Problem::TooLarge { .. } | Problem::UnreadableAnswer { .. }), "{bomb:?}");
    for fault in [Fault::EntityBomb, Fault::ExternalEntity] {
        let (_, problem) = listing_with(fault).await;
        assert!(matches!(problem, Problem::UnreadableAnswer { .. }), "{problem:?}");
    }
}

#[tokio::test]
async fn a_web_page_a_slow_server_and_a_status_have_their_sentence() {
    assert_eq!(listing_with(Fault::Html).await.1, Problem::HtmlAnswer);
    let (class, problem) = listing_with(Fault::Latency(8_000)).await;
    assert_eq!(class, FailureClass::Transient);
    assert!(matches!(problem, Problem::Timeout { .. }), "{problem:?}");
    assert_eq!(listing_with(Fault::Unauthorized).await, (FailureClass::Auth, Problem::WrongCredentials));
    let status = |code, retry_after| Fault::Status { code, retry_after };
    assert_eq!(listing_with(status(404, None)).await, (FailureClass::Permanent, Problem::NotFound));
    let (class, problem) = listing_with(status(403, None)).await;
    assert_eq!(class, FailureClass::Permanent);
    assert!(matches!(problem, Problem::Forbidden { .. }));
    for (code, wait) in [(503, RetryAfter::Seconds(30)), (429, RetryAfter::DateIn(30))] {
        let (class, _) = listing_with(status(code, Some(wait))).await;
        assert_eq!(class, FailureClass::Throttled { retry_after: Some(Duration::from_secs(30)) });
    }
}

#[tokio::test]
async fn only_a_listing_may_think_for_long_before_it_begins() {
    let sandbox = sandbox().await;
    let spec = AccountSpec::new("ada", "secret").calendar(CalendarSpec::new("work"));
    let access = sandbox.create_account(spec).unwrap();
    sandbox.generate("ada", "work", GeneratorPlan { events: 3, seed: 1 }).unwrap();
    let mut settings = settings(&[sandbox.address().port()]);
    settings.read_timeout = Duration::from_millis(500);
    settings.first_byte_timeout = Duration::from_secs(10);
    let (_, driver) = connect(&registry(settings), account(&access)).await.unwrap();
    let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);

    sandbox.inject(FaultRule::next(Fault::Latency(1_500)).body("sync-collection"));
    mirror.sync(driver.as_ref()).await.unwrap();
    sandbox.generate("ada", "work", GeneratorPlan { events: 3, seed: 2 }).unwrap();
    sandbox.inject(FaultRule::next(Fault::Latency(1_500)).body("calendar-multiget").always());
    sandbox.inject(FaultRule::next(Fault::Latency(1_500)).method("GET").always());
    let Err(error) = mirror.sync(driver.as_ref()).await else { panic!("a read was waited for") };

    assert!(matches!(error.problem, Problem::Timeout { .. }), "{error:?}");
    assert_eq!(mirror.objects.len(), 3);
}

#[tokio::test]
async fn addresses_that_lead_nowhere_say_what_to_do() {
    let sandbox = sandbox().await;
    let port = sandbox.address().port();
    let registry = registry(settings(&[port, 1]));
    let probe = |url: String| {
        let registry = registry.clone();
        async move {
            let mut account = feed(&url);
            account.provider = calfleet_domain::model::ProviderKind::Caldav;
            match registry.open(account) {
                Ok(driver) => driver.probe().await.expect_err("it leads nowhere").problem.code(),
                Err(error) => error.problem.code(),
            }
        }
    };

    assert_eq!(probe("http://127.0.0.1:1/".to_owned()).await, "connect_failed");
    assert_eq!(probe("https://no-such-host.invalid/".to_owned()).await, "unknown_host");
    assert_eq!(probe("https://10.0.0.1/".to_owned()).await, "address_not_allowed");
    assert_eq!(probe("https://127.0.0.1:9/".to_owned()).await, "port_not_allowed");
    assert_eq!(probe("ftp://127.0.0.1/".to_owned()).await, "invalid_url");
    sandbox.inject(FaultRule::next(Fault::Html).always());
    assert_eq!(probe(format!("http://127.0.0.1:{port}/")).await, "html_answer");
    sandbox.clear_faults();
    sandbox.inject(FaultRule::next(Fault::Status { code: 405, retry_after: None }).always());
    assert_eq!(probe(format!("http://127.0.0.1:{port}/")).await, "not_a_calendar");
}
