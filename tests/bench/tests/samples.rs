//! Generated calendars: singles, series with overrides, all-day events, many zones, guests.

use calfleet_sandbox::{AccountSpec, CalendarSpec, GeneratorPlan, Sandbox, SandboxOptions, StoredResource};
use chrono::{NaiveDate, NaiveTime, TimeDelta};

/// The account and the calendar of every sandbox here.
pub(crate) const USER: &str = "ada";
pub(crate) const PASSWORD: &str = "secret";
pub(crate) const CALENDAR: &str = "work";

/// A sandbox with one calendar of generated events; the same at every call.
pub(crate) async fn sandbox(events: usize) -> Sandbox {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let account = AccountSpec::new(USER, PASSWORD).calendar(CalendarSpec::new(CALENDAR));
    sandbox.create_account(account).unwrap();
    sandbox.generate(USER, CALENDAR, GeneratorPlan { events, seed: 1 }).unwrap();
    sandbox
}

/// Names and texts of such a calendar.
pub(crate) async fn texts(events: usize) -> Vec<(String, String)> {
    let resources = resources(events).await;
    resources.into_iter().map(|one| (one.name, one.body.to_string())).collect()
}

/// Names and texts of meetings of an hour, one after the other, that have a title and nothing else.
pub(crate) fn plain_texts(events: usize) -> Vec<(String, String)> {
    let first = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap().and_time(NaiveTime::MIN);
    let at = |hour: usize| {
        let hour = TimeDelta::hours(i64::try_from(hour).unwrap());
        (first + hour).format("%Y%m%dT%H%M%SZ").to_string()
    };
    let text = |number: usize| {
        format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Calfleet//Bench//EN\r\nBEGIN:VEVENT\r\n\
             UID:{number}@example.com\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:{}\r\nDTEND:{}\r\n\
             SUMMARY:Meeting {number}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            at(number),
            at(number + 1),
        )
    };
    (0..events).map(|number| (format!("{number:05}.ics"), text(number))).collect()
}

/// What such a calendar holds.
pub(crate) async fn resources(events: usize) -> Vec<StoredResource> {
    let sandbox = sandbox(events).await;
    let resources = sandbox.resources(USER, CALENDAR).unwrap();
    sandbox.shutdown().await;
    resources
}
