//! What stands in a Microsoft calendar comes in, and stays so.

use calfleet_domain::job::WorkState;
use calfleet_domain::model::ConnectionId;
use calfleet_sandbox::{Fault, FaultRule, GraphHabits};
use serde_json::json;

use super::{DAY, Outlook, event, expected, held, live, paris, start};
use crate::databases::{TestStore, on_both_databases};
use crate::google::fleet::{ADA, Fleet};

on_both_databases![
    singles_and_series_with_exceptions_come_in_as_they_are,
    edits_cancellations_and_deletions_by_another_client_follow,
    a_moved_frame_forgets_what_outlook_forgot,
    a_link_that_died_between_two_polls_ends_as_a_fresh_account_would,
    a_link_that_dies_at_any_page_ends_as_a_fresh_account_would,
    tokens_that_live_once_are_refreshed_for_as_long_as_it_takes,
    a_quiet_poll_is_one_request,
];

pub(super) struct Standup<'a> {
    pub(super) fleet: Fleet<'a>,
    outlook: Outlook,
    pub(super) id: ConnectionId,
    series: String,
    lunch: String,
}

/// Six Mondays: the second is late, the third is cancelled. And a lunch.
pub(super) async fn with_standup(database: &TestStore) -> Standup<'_> {
    let fleet = start(database, 30 * DAY, 365 * DAY).await;
    let outlook = Outlook::of(&fleet);
    let mut standup = event("Standup", "2026-10-05T09:00:00", "2026-10-05T09:15:00");
    standup["recurrence"] = json!({
        "pattern": { "type": "weekly", "interval": 1, "daysOfWeek": ["monday"] },
        "range": { "type": "numbered", "startDate": "2026-10-05", "numberOfOccurrences": 6 },
    });
    let series = outlook.plant(&standup);
    let lunch = outlook.plant(&event("Lunch 1", "2026-10-06T12:00:00", "2026-10-06T13:00:00"));
    let late = json!({ "subject": "Standup, late", "start": paris("2026-10-12T11:00:00"), "end": paris("2026-10-12T11:15:00") });
    outlook.patch(&outlook.instance(&series, "2026-10-12"), &late);
    outlook.delete(&outlook.instance(&series, "2026-10-19"));
    let id = fleet.connect().await;
    fleet.sync(id).await;
    Standup { fleet, outlook, id, series, lunch }
}

const AT_FIRST: &[(&str, &str)] = &[
    ("10-05 07:00", "Standup"),
    ("10-06 10:00", "Lunch 1"),
    ("10-12 09:00", "Standup, late"),
    ("10-26 08:00", "Standup"),
    ("11-02 08:00", "Standup"),
    ("11-09 08:00", "Standup"),
];

async fn singles_and_series_with_exceptions_come_in_as_they_are(database: &TestStore) {
    let Standup { fleet, id, .. } = with_standup(database).await;

    assert_eq!(held(&fleet, id).await, expected(AT_FIRST));
    let rows = live(&fleet, id).await;
    assert_eq!(rows.len(), 2, "an exception is part of its series");
    fleet.sync(id).await;
    assert_eq!(live(&fleet, id).await, rows, "a second look writes nothing");
    fleet.advance(DAY * 2);
    fleet.sync(id).await;
    assert_eq!(live(&fleet, id).await, rows, "nor does a complete one");
}

async fn edits_cancellations_and_deletions_by_another_client_follow(database: &TestStore) {
    let Standup { fleet, outlook, id, series, lunch } = with_standup(database).await;

    outlook.delete(&outlook.instance(&series, "2026-10-26"));
    fleet.sync(id).await;
    assert!(!held(&fleet, id).await.iter().any(|(at, _)| at == "10-26 08:00"), "seen within one sync");
    outlook.patch(&series, &json!({ "subject": "Daily" }));
    outlook.delete(&lunch);
    outlook.plant(&event("Lunch 2", "2026-10-06T12:00:00", "2026-10-06T13:00:00"));
    outlook.patch(&outlook.instance(&series, "2026-11-09"), &json!({ "subject": "The last one" }));
    fleet.sync(id).await;

    assert_eq!(
        held(&fleet, id).await,
        expected(&[
            ("10-05 07:00", "Daily"),
            ("10-06 10:00", "Lunch 2"),
            ("10-12 09:00", "Standup, late"),
            ("11-02 08:00", "Daily"),
            ("11-09 08:00", "The last one"),
        ])
    );
}

async fn a_moved_frame_forgets_what_outlook_forgot(database: &TestStore) {
    let Standup { fleet, outlook, id, series, .. } = with_standup(database).await;

    let later = json!({ "start": paris("2026-10-05T10:00:00"), "end": paris("2026-10-05T10:15:00") });
    outlook.patch(&series, &later);
    fleet.sync(id).await;

    let standups: Vec<_> = held(&fleet, id)
        .await
        .into_iter()
        .filter(|(_, title)| title == "Standup")
        .map(|(at, _)| at)
        .collect();
    assert_eq!(
        standups,
        ["10-05 08:00", "10-12 08:00", "10-19 08:00", "10-26 09:00", "11-02 09:00", "11-09 09:00"]
    );
}

async fn a_link_that_died_between_two_polls_ends_as_a_fresh_account_would(database: &TestStore) {
    let Standup { fleet, outlook, id, series, lunch } = with_standup(database).await;
    let calendar = outlook.0.default_calendar(ADA).unwrap();
    outlook.delete(&outlook.instance(&series, "2026-11-09"));
    for number in 2..9 {
        let title = format!("Lunch {number}");
        outlook.plant(&event(&title, "2026-10-06T12:00:00", "2026-10-06T13:00:00"));
    }
    outlook.delete(&lunch);

    outlook.0.expire_deltas(&calendar).unwrap();
    fleet.sync(id).await;

    let held = held(&fleet, id).await;
    assert_eq!(held.len(), 4 + 7, "{held:?}");
    assert!(!held.iter().any(|(_, title)| title == "Lunch 1"));
    assert_eq!(live(&fleet, id).await.len(), 8);
}

async fn a_link_that_dies_at_any_page_ends_as_a_fresh_account_would(database: &TestStore) {
    let Standup { fleet, outlook, id, .. } = with_standup(database).await;
    let mut daily = event("Daily", "2026-10-01T08:00:00", "2026-10-01T08:15:00");
    daily["recurrence"] = json!({
        "pattern": { "type": "daily", "interval": 1 },
        "range": { "type": "numbered", "startDate": "2026-10-01", "numberOfOccurrences": 300 },
    });
    let daily = outlook.plant(&daily);
    fleet.sync(id).await;

    for page in 0..2 {
        let title = format!("Daily {page}");
        outlook.patch(&daily, &json!({ "subject": title }));
        outlook.delete(&outlook.instance(&daily, &format!("2026-12-0{}", page + 1)));
        outlook.plant(&event(&title, "2026-10-06T12:00:00", "2026-10-06T13:00:00"));
        fleet.sandbox.inject(FaultRule::next(Fault::ExpiredToken).path("*/calendarView/delta*").after(page));
        fleet.sync(id).await;

        assert_eq!(held(&fleet, id).await, outlook.year(), "died at page {page}");
    }
    let listings = fleet.sandbox.log().entries();
    let refused = listings.iter().filter(|entry| entry.path.contains("delta") && entry.status == 410).count();
    assert_eq!(refused, 2, "every link died");
}

async fn tokens_that_live_once_are_refreshed_for_as_long_as_it_takes(database: &TestStore) {
    let Standup { fleet, outlook, id, .. } = with_standup(database).await;
    outlook.0.set_habits(GraphHabits { strict_rotation: true, ..outlook.0.habits() });

    for number in 2..5 {
        fleet.advance(DAY / 4);
        let title = format!("Lunch {number}");
        outlook.plant(&event(&title, "2026-10-06T12:00:00", "2026-10-06T13:00:00"));
        let finish = fleet.sync(id).await;
        assert_eq!(finish.state, WorkState::Active);
        assert!(held(&fleet, id).await.iter().any(|(_, held)| *held == title), "{title}");
    }

    let account = fleet.connection(id).await.settings.account;
    assert_eq!(account.matches('/').count(), 1, "tenant and object: {account}");
}

async fn a_quiet_poll_is_one_request(database: &TestStore) {
    let Standup { fleet, outlook, id, .. } = with_standup(database).await;
    outlook.0.set_habits(GraphHabits { slim_occurrences: false, ..outlook.0.habits() });

    let before = fleet.sandbox.log().entries().len();
    fleet.sync(id).await;

    assert_eq!(fleet.sandbox.log().entries().len() - before, 1);
}
