//! Sample accounts at the simulated provider: generated calendars, files of the test corpus, a feed.

use anyhow::Context;
use calfleet_sandbox::{
    Access, AccountAccess, AccountSpec, AuthScheme, CalendarSpec, Control, FeedSpec, GeneratorPlan,
    GoogleAccountSpec, MicrosoftAccountSpec, Profile,
};
use serde_json::json;

/// Files of the corpus that show what calendars in the wild are like. One of them cannot be read, on purpose: it
/// is shown as such and stops nothing.
const CORPUS: [(&str, &str); 6] = [
    ("all-day.ics", include_str!("../../tests/data/ics/nodeical-test_date_duration.ics")),
    ("berlin.ics", include_str!("../../tests/data/ics/nodeical-whole_day_moved_over_dst_change_berlin.ics")),
    ("kyiv.ics", include_str!("../../tests/data/ics/nodeical-google-calendar-kiev-tz.ics")),
    ("overrides.ics", include_str!("../../tests/data/ics/own-master-two-overrides-exdate.ics")),
    ("lightning.ics", include_str!("../../tests/data/ics/vobject-radicale-0827.ics")),
    ("broken.ics", include_str!("../../tests/data/ics/pyical-broken_dtstart.ics")),
];

/// An organization of the sample: whose account, and under which name it is shown.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The organization's name.
    pub(crate) organization: &'static str,
    /// Its account at the simulated CalDAV server.
    pub(crate) account: AccountAccess,
    /// The calendars of that account that keep changing.
    pub(crate) lively: Vec<&'static str>,
    /// The address of a feed it subscribes to.
    pub(crate) feed: Option<String>,
}

/// Fills the sandbox.
pub(crate) fn fill(sandbox: &Control, seed: u64) -> anyhow::Result<Vec<Sample>> {
    let ada = AccountSpec::new("ada", "ada-secret")
        .profile(Profile::radicale())
        .scheme(AuthScheme::Basic)
        .scheme(AuthScheme::DigestSha256)
        .calendar(CalendarSpec::new("work").titled("Work").coloured("#3367D6"))
        .calendar(CalendarSpec::new("corpus").titled("Calendars in the wild").coloured("#7CB342"))
        .calendar(CalendarSpec::new("team").titled("Team (read only)").with_access(Access::Read));
    let grace = AccountSpec::new("grace", "grace-secret")
        .profile(Profile::cyrus())
        .scheme(AuthScheme::Basic)
        .scheme(AuthScheme::DigestSha256)
        .calendar(CalendarSpec::new("research").titled("Research").coloured("#8E24AA"))
        .calendar(CalendarSpec::new("archive").titled("Archive"));
    let ada = sandbox.create_account(ada).context("create the sample account ada")?;
    let grace = sandbox.create_account(grace).context("create the sample account grace")?;
    let plans = [
        ("ada", "work", 1_000, 1),
        ("ada", "team", 120, 2),
        ("grace", "research", 400, 3),
        ("grace", "archive", 3_000, 4),
    ];
    for (account, calendar, events, number) in plans {
        let plan = GeneratorPlan { events, seed: seed.wrapping_add(number) };
        sandbox.generate(account, calendar, plan).context("generate sample events")?;
    }
    for (name, text) in CORPUS {
        sandbox.plant("ada", "corpus", name, text).context("plant a file of the corpus")?;
    }
    let spec = FeedSpec {
        title: Some("Research, published".to_owned()),
        calendar: Some(("grace".to_owned(), "research".to_owned())),
        ..FeedSpec::default()
    };
    let feed = sandbox.set_feed("research", spec);
    Ok(vec![
        Sample { organization: "Analytical Engines", account: ada, lively: vec!["work"], feed: Some(feed) },
        Sample { organization: "Compilers United", account: grace, lively: vec!["research"], feed: None },
    ])
}

/// The sample accounts at the simulated Google and Microsoft.
const GOOGLE: &str = "ada@example.com";
const MICROSOFT: &str = "grace@example.com";
/// Its events, by the day of the month on which they begin.
const DAYS: u32 = 28;

/// Fills the simulated Google: an account that waits to be connected.
pub(crate) fn fill_google(sandbox: &Control) -> anyhow::Result<()> {
    let google = sandbox.google();
    google.create_account(GoogleAccountSpec::new(GOOGLE)).context("create the sample Google account")?;
    for day in 1..=DAYS {
        let event = json!({
            "id": format!("sample{day}"),
            "summary": format!("Review {day}"),
            "start": { "dateTime": format!("2026-12-{day:02}T10:00:00Z"), "timeZone": "Europe/London" },
            "end": { "dateTime": format!("2026-12-{day:02}T10:30:00Z"), "timeZone": "Europe/London" },
        });
        google.plant(GOOGLE, &event).context("plant a sample event")?;
    }
    let standup = json!({
        "id": "samplestandup",
        "summary": "Standup",
        "start": { "dateTime": "2026-11-02T09:00:00Z", "timeZone": "Europe/London" },
        "end": { "dateTime": "2026-11-02T09:15:00Z", "timeZone": "Europe/London" },
        "recurrence": ["RRULE:FREQ=WEEKLY;BYDAY=MO,WE,FR"],
    });
    google.plant(GOOGLE, &standup).context("plant a sample series")?;
    Ok(())
}

/// Changes an event there, as a person would; its new title.
pub(crate) fn change_google(sandbox: &Control, seed: u64) -> String {
    let day = seed % u64::from(DAYS) + 1;
    let title = format!("Review {day}, version {seed}");
    let path = format!("/calendars/{GOOGLE}/events/sample{day}");
    sandbox.google().call(GOOGLE, "PATCH", &path, &json!({ "summary": title }));
    title
}

/// Fills the simulated Microsoft in the same way.
pub(crate) fn fill_microsoft(sandbox: &Control) -> anyhow::Result<()> {
    let microsoft = sandbox.microsoft();
    let grace = MicrosoftAccountSpec::new(MICROSOFT).zone("GMT Standard Time");
    microsoft.create_account(grace).context("create the sample Microsoft account")?;
    for day in 1..=DAYS {
        let time = |minute: u32| json!({ "dateTime": format!("2026-12-{day:02}T14:{minute:02}:00"), "timeZone": "UTC" });
        let event = json!({ "subject": format!("Interview {day}"), "start": time(0), "end": time(45) });
        let (status, answer) = microsoft.call(MICROSOFT, "POST", "me/events", &event);
        anyhow::ensure!(status == 201, "plant a sample event: {status} {answer}");
    }
    Ok(())
}

/// Changes an event there, as a person would; its new title.
pub(crate) fn change_microsoft(sandbox: &Control, seed: u64) -> anyhow::Result<String> {
    let microsoft = sandbox.microsoft();
    let events = microsoft.events(&microsoft.default_calendar(MICROSOFT)?)?;
    let number = usize::try_from(seed)? % events.len().max(1);
    let id = events.get(number).and_then(|event| event.get("id")?.as_str()).context("find a sample event")?;
    let title = format!("Interview {}, version {seed}", number + 1);
    microsoft.call(MICROSOFT, "PATCH", &format!("me/events/{id}"), &json!({ "subject": title }));
    Ok(title)
}
