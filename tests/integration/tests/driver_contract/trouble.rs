//! Servers in trouble while a calendar is listed and read: what is one object's affair, what is a batch's, what is
//! the calendar's, and what is everybody's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{ProviderId, RemoteChange};
use calfleet_providers::driver::{CalendarRef, Driver, DriverError, Next, Problem, Since};
use calfleet_sandbox::{
    AccountSpec, CalendarSpec, Fault, FaultRule, GeneratorPlan, MissingHref, Profile, Sandbox,
};

use super::mirror::{Mirror, list};
use super::{account, connect, registry, sandbox, settings};

/// A calendar of so many objects, and who reads it.
struct Desk {
    sandbox: Sandbox,
    driver: Arc<dyn Driver>,
    calendar: CalendarRef,
    ids: Vec<ProviderId>,
}

impl Desk {
    async fn with(events: usize, profile: Profile) -> Self {
        let sandbox = sandbox().await;
        let work = CalendarSpec::new("work");
        let spec = AccountSpec::new("ada", "secret")
            .profile(profile)
            .calendar(work)
            .calendar(CalendarSpec::new("z"));
        let access = sandbox.create_account(spec).unwrap();
        sandbox.generate("ada", "work", GeneratorPlan { events, seed: 1 }).unwrap();
        let mut settings = settings(&[sandbox.address().port()]);
        settings.read_timeout = Duration::from_millis(300);
        let (_, driver) = connect(&registry(settings), account(&access)).await.unwrap();
        let calendars = driver.list_calendars().await.unwrap();
        let is_work = |path: &str| path.trim_end_matches('/').ends_with("/work");
        let work = calendars.iter().find(|calendar| is_work(calendar.provider_id.as_str())).unwrap();
        let calendar = Mirror::of(work).calendar;
        let (_, members) = list(driver.as_ref(), &calendar, &Since::Beginning).await.unwrap();
        let ids = members.into_iter().map(|member| member.provider_id).collect();
        Self { sandbox, driver, calendar, ids }
    }

    /// From now on everything that matches is answered with a bare status.
    fn answers(&self, code: u16, of: impl FnOnce(FaultRule) -> FaultRule) {
        let status = Fault::Status { code, retry_after: None };
        self.sandbox.inject(of(FaultRule::next(status).always()));
    }

    /// Reads so many of the objects; what came, and with how many requests.
    async fn read(&self, most: usize) -> (Result<Vec<RemoteChange>, DriverError>, u64) {
        let before = self.driver.requests_sent();
        let changes = self.driver.read(&self.calendar, &self.ids[..most]).await;
        (changes, self.driver.requests_sent() - before)
    }
}

fn ids_of(changes: &[RemoteChange], is_meant: impl Fn(&RemoteChange) -> bool) -> BTreeSet<ProviderId> {
    changes.iter().filter(|change| is_meant(change)).map(|change| change.provider_id().clone()).collect()
}

fn is_removed(change: &RemoteChange) -> bool {
    matches!(change, RemoteChange::Removed { .. })
}

fn is_shown(change: &RemoteChange) -> bool {
    matches!(change, RemoteChange::Upsert(_))
}

#[tokio::test]
async fn a_calendar_that_is_not_there_says_nothing_of_its_events() {
    let desk = Desk::with(30, Profile::standard()).await;
    desk.answers(404, |rule| rule);

    for most in [30, 1] {
        let (read, sent) = desk.read(most).await;

        let error = read.expect_err("nothing was found, not even the calendar");
        assert_eq!(error.problem, Problem::NotFound, "{most}");
        assert!(sent <= 2, "{sent} requests for {most}");
    }
}

#[tokio::test]
async fn a_server_without_multiget_is_believed_only_while_its_calendar_is_there() {
    let desk = Desk::with(6, Profile::standard()).await;
    desk.answers(405, |rule| rule.body("calendar-multiget"));
    desk.answers(404, |rule| rule.method("GET"));

    let (read, _) = desk.read(6).await;
    assert_eq!(ids_of(&read.unwrap(), is_removed).len(), 6, "the calendar is there, its objects are not");
    desk.answers(404, |rule| rule.method("PROPFIND"));
    let (read, _) = desk.read(6).await;

    assert_eq!(read.expect_err("nor is the calendar").problem, Problem::NotFound);
}

#[tokio::test]
async fn what_is_left_out_of_an_answer_is_believed_only_while_its_calendar_is_there() {
    let profile = Profile { multiget_missing: MissingHref::Omitted, ..Profile::standard() };
    let desk = Desk::with(6, profile).await;
    let name = desk.ids[2].as_str().rsplit('/').next().unwrap();
    desk.sandbox.delete("ada", "work", name).unwrap();

    let (read, _) = desk.read(6).await;
    assert_eq!(ids_of(&read.unwrap(), is_removed), BTreeSet::from([desk.ids[2].clone()]));
    desk.answers(404, |rule| rule.method("GET"));
    desk.answers(404, |rule| rule.method("PROPFIND"));
    let (read, _) = desk.read(6).await;

    assert_eq!(read.expect_err("the calendar went away meanwhile").problem, Problem::NotFound);
}

#[tokio::test]
async fn a_listing_of_another_place_is_not_one_of_an_empty_calendar() {
    for profile in [Profile::standard(), Profile::ctag_only(), Profile::etag_only()] {
        let desk = Desk::with(6, profile).await;
        let empty = desk.calendar.provider_id.as_str().replace("/work", "/z");
        let calendar = CalendarRef { provider_id: ProviderId(empty.clone()), ..desk.calendar.clone() };
        let listed = list(desk.driver.as_ref(), &calendar, &Since::Beginning).await;
        assert_eq!(listed.unwrap().1.len(), 0, "an empty calendar is one");
        let location = desk.calendar.provider_id.0.clone();
        let moved = Fault::Redirect { code: 308, location };
        desk.sandbox
            .inject(FaultRule::next(moved).path(&format!("{}*", empty.trim_end_matches('/'))).always());

        let listed = list(desk.driver.as_ref(), &calendar, &Since::Beginning).await;

        let error = listed.map(|(page, _)| page).expect_err("nothing that was listed lies in the calendar");
        assert!(matches!(error.problem, Problem::UnreadableAnswer { .. }), "{error:?}");
        assert_eq!(error.class, FailureClass::Transient);
    }
}

#[tokio::test]
async fn changes_of_another_place_do_not_move_the_cursor() {
    let desk = Desk::with(6, Profile::standard()).await;
    let (page, _) = list(desk.driver.as_ref(), &desk.calendar, &Since::Beginning).await.unwrap();
    let Next::Token(token) = page.next else { panic!("{:?}", page.next) };
    let old = desk.calendar.provider_id.as_str().replace("/work", "/z");
    let calendar = CalendarRef { provider_id: ProviderId(old.clone()), ..desk.calendar.clone() };
    let moved = Fault::Redirect { code: 301, location: desk.calendar.provider_id.0.clone() };
    desk.sandbox.inject(FaultRule::next(moved).path(&format!("{}*", old.trim_end_matches('/'))).always());
    let since = Since::Token(token);
    let unchanged = list(desk.driver.as_ref(), &calendar, &since).await;
    assert!(unchanged.is_ok(), "what has not changed lies nowhere: {unchanged:?}");
    let name = desk.ids[2].as_str().rsplit('/').next().unwrap();
    desk.sandbox.delete("ada", "work", name).unwrap();

    let listed = list(desk.driver.as_ref(), &calendar, &since).await;

    let error = listed.map(|(page, _)| page).expect_err("the deletion is not of this calendar");
    assert!(matches!(error.problem, Problem::UnreadableAnswer { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_from_another_place_deletes_nothing() {
    let desk = Desk::with(6, Profile::standard()).await;
    let old = desk.calendar.provider_id.as_str().replace("/work", "/z");
    let calendar = CalendarRef { provider_id: ProviderId(old.clone()), ..desk.calendar.clone() };
    let moved = Fault::Redirect { code: 301, location: desk.calendar.provider_id.0.clone() };
    desk.sandbox.inject(FaultRule::next(moved).path(&old).always());
    let held: Vec<_> = desk.ids.iter().map(|id| ProviderId(id.as_str().replace("/work/", "/z/"))).collect();

    let read = desk.driver.read(&calendar, &held).await;

    assert_eq!(read.expect_err("it knows nothing under the old names").problem, Problem::NotFound);
}

#[tokio::test]
async fn an_object_that_the_server_fails_at_is_in_nobodys_way() {
    for profile in [Profile::standard(), Profile::davical()] {
        let desk = Desk::with(32, profile).await;
        let bad = desk.ids[20].clone();
        desk.answers(500, |rule| rule.body(bad.as_str()));
        desk.answers(500, |rule| rule.method("GET").path(bad.as_str()));

        for most in [32, 21] {
            let (read, sent) = desk.read(most).await;
            let changes = read.unwrap();
            assert_eq!(changes.len(), most, "each is answered once");
            assert_eq!(ids_of(&changes, |change| !is_shown(change)), BTreeSet::from([bad.clone()]));
            assert!(!changes.iter().any(is_removed));
            assert!(sent <= 14, "{sent} requests");
        }
        let alone = desk.driver.read(&desk.calendar, std::slice::from_ref(&bad)).await.unwrap();
        assert!(!is_shown(&alone[0]) && !is_removed(&alone[0]), "{alone:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_asked_a_few_times_only() {
    let desk = Desk::with(200, Profile::standard()).await;
    desk.answers(500, |rule| rule.method("REPORT"));
    desk.answers(500, |rule| rule.method("GET"));
    let (half, some) = desk.read(200).await;
    desk.answers(500, |rule| rule.method("PROPFIND"));
    let (down, few) = desk.read(200).await;
    let (one, two) = desk.read(1).await;

    for read in [half, down, one] {
        let error = read.expect_err("nothing was answered");
        assert_eq!(error.problem, Problem::ServerError { status: 500 });
        assert_eq!(error.class, FailureClass::Transient);
    }
    assert!(some <= 20, "{some} requests");
    assert_eq!((few, two), (2, 2));
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_asked_for_in_parts_that_do_not() {
    let desk = Desk::with(32, Profile::standard()).await;
    let slow = FaultRule::next(Fault::Latency(900)).body("calendar-multiget").times(2);
    desk.sandbox.inject(slow);

    let (read, sent) = desk.read(32).await;
    assert_eq!(ids_of(&read.unwrap(), is_shown).len(), 32);
    assert_eq!(sent, 2 + 1 + 4, "two too large, a look at the calendar, and four of eight");
    let (read, sent) = desk.read(32).await;

    assert_eq!(ids_of(&read.unwrap(), is_shown).len(), 32);
    assert_eq!(sent, 4, "the size that worked is kept");
}

#[tokio::test]
async fn a_batch_whose_answer_breaks_off_is_asked_for_in_parts() {
    let desk = Desk::with(32, Profile::standard()).await;
    desk.sandbox.inject(FaultRule::next(Fault::CutBody(9_000)).body("calendar-multiget"));

    let (read, _) = desk.read(32).await;

    let changes = read.unwrap();
    assert_eq!((changes.len(), ids_of(&changes, is_shown).len()), (32, 32));
}
