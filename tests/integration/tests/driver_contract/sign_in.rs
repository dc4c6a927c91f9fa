//! Credentials: every scheme, wrong ones, and where they must not go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::Authentication;
use calfleet_providers::driver::Problem;
use calfleet_sandbox::{
    AccountSpec, AuthScheme, CalendarSpec, Fault, FaultRule, FeedSpec, Profile, WellKnown,
};
use tokio::net::TcpListener;

use super::mirror::Mirror;
use super::{account, connect, feed, registry, sandbox, settings};

#[tokio::test]
async fn every_scheme_is_answered_and_a_poll_stays_one_request() {
    use AuthScheme::{Basic, Bearer, DigestMd5, DigestSha256};
    for schemes in [vec![Basic], vec![DigestMd5], vec![DigestSha256], vec![Basic, DigestSha256], vec![Bearer]]
    {
        let sandbox = sandbox().await;
        let spec = AccountSpec::new("ada", "s3cret").calendar(CalendarSpec::new("work"));
        let spec = schemes.iter().fold(spec, |spec, scheme| spec.scheme(*scheme));
        let access = sandbox.create_account(spec).unwrap();
        let registry = registry(settings(&[sandbox.address().port()]));
        let mut typed = account(&access);
        if schemes == [Bearer] {
            typed.authentication = Authentication::Bearer;
        }

        let (stored, driver) =
            connect(&registry, typed).await.unwrap_or_else(|error| panic!("{schemes:?}: {error}"));
        let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
        mirror.sync(driver.as_ref()).await.unwrap();
        sandbox.log().clear();
        mirror.sync(registry.open(stored).unwrap().as_ref()).await.unwrap();

        assert_eq!(sandbox.log().count(), 1, "{schemes:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_tried_again() {
    for scheme in [AuthScheme::Basic, AuthScheme::DigestMd5] {
        let sandbox = sandbox().await;
        let spec = AccountSpec::new("ada", "s3cret").scheme(scheme).calendar(CalendarSpec::new("work"));
        let mut access = sandbox.create_account(spec).unwrap();
        access.secret = "wrong".to_owned();
        let registry = registry(settings(&[sandbox.address().port()]));

        let error = connect(&registry, account(&access)).await.expect_err("the password is wrong");

        assert_eq!(
            (error.class, error.problem),
            (FailureClass::Auth, Problem::WrongCredentials),
            "{scheme:?}"
        );
        assert!(sandbox.log().count() <= 3, "{:?}", sandbox.log().entries());
    }
}

#[tokio::test]
async fn a_server_that_answers_strangers_is_signed_in_to_all_the_same() {
    let sandbox = sandbox().await;
    let profile = Profile { anonymous_root: true, well_known: WellKnown::Missing, ..Profile::standard() };
    let spec = AccountSpec::new("ada", "s3cret").profile(profile).calendar(CalendarSpec::new("work"));
    let access = sandbox.create_account(spec).unwrap();
    let registry = registry(settings(&[sandbox.address().port()]));

    let (_, driver) = connect(&registry, account(&access)).await.unwrap();

    assert_eq!(driver.list_calendars().await.unwrap().len(), 1);
}

#[tokio::test]
async fn credentials_never_follow_a_redirect_to_another_origin() {
    for code in [301, 302, 307, 308] {
        let (home, away) = (sandbox().await, sandbox().await);
        let spec = AccountSpec::new("ada", "s3cret").calendar(CalendarSpec::new("work"));
        let access = home.create_account(spec.clone()).unwrap();
        away.create_account(spec).unwrap();
        let registry = registry(settings(&[home.address().port(), away.address().port()]));
        let (_, driver) = connect(&registry, account(&access)).await.unwrap();
        let mut mirror = Mirror::of(&driver.list_calendars().await.unwrap()[0]);
        let location = format!("http://{}{}", away.address(), mirror.calendar.provider_id);
        home.inject(FaultRule::next(Fault::Redirect { code, location }).body("sync-collection"));

        let error = mirror.sync(driver.as_ref()).await.expect_err("it leads away");

        assert!(matches!(error.problem, Problem::RedirectRefused { .. }), "{error}");
        assert_eq!(away.log().count(), 0, "{code}");
    }
}

/// Whoever connects to the second loopback address: a private one that nobody allowed. `None` on systems that have
/// only one.
async fn forbidden_place() -> Option<(u16, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.2:0").await.ok()?;
    let (port, visits) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = visits.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    Some((port, visits))
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    let Some((port, visits)) = forbidden_place().await else { return };
    let sandbox = sandbox().await;
    let spec = AccountSpec::new("ada", "s3cret").calendar(CalendarSpec::new("work"));
    let access = sandbox.create_account(spec).unwrap();
    let mut settings = settings(&[sandbox.address().port(), port]);
    settings.allowed_networks = vec!["127.0.0.1/32".parse().unwrap()];
    settings.allow_http = true;
    let registry = registry(settings);
    let mut typed = account(&access);
    typed.url = typed.url.join("/nowhere/").unwrap();
    let news = feed(&sandbox.set_feed("news", FeedSpec::default()));
    for location in [
        format!("http://127.0.0.2:{port}/"),
        format!("https://127.0.0.2:{port}/"),
        format!("http://0x7f.2:{port}/"),
        format!("http://[::ffff:127.0.0.2]:{port}/"),
        "https://169.254.169.254/latest/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let redirect = Fault::Redirect { code: 302, location: location.clone() };
        // both are followed to other servers: the place where a server says its calendars are, and a feed
        sandbox.inject(FaultRule::next(redirect.clone()).path("/.well-known/*").always());
        sandbox.inject(FaultRule::next(redirect).method("GET").always());

        let found = registry.open(typed.clone()).unwrap().probe().await;
        let read =
            registry.open(news.clone()).unwrap().probe().await.expect_err("it leads to a private place");

        assert_eq!(read.class, FailureClass::Permanent, "{location}: {read}");
        // The root may be tried next and work: what counts is that nobody went there.
        assert!(
            found.is_ok() || found.is_err_and(|error| error.class == FailureClass::Permanent),
            "{location}"
        );
        assert_eq!(visits.load(Ordering::SeqCst), 0, "{location}");
        sandbox.clear_faults();
    }
}
