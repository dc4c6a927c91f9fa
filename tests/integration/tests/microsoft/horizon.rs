//! A window that moves on: what enters it is announced once, and what leaves it is not deleted (law 41).

use std::collections::BTreeMap;

use calfleet_domain::model::EventId;
use calfleet_store::events::{EventState, StoredRow};
use calfleet_store::{Scope, history};
use chrono::{DateTime, NaiveDate, TimeDelta};
use serde_json::json;

use super::{DAY, Outlook, event, live, rows, start};
use crate::databases::{NOW, TestStore, on_both_databases};
use crate::google::fleet::Fleet;

on_both_databases![
    a_year_of_days_announces_everything_that_enters_once_and_deletes_nothing,
    an_event_that_was_moved_out_of_the_window_is_kept_and_one_that_was_deleted_is_not,
];

fn today() -> NaiveDate {
    DateTime::from_timestamp_millis(NOW.0).unwrap().date_naive()
}

fn title(row: &StoredRow) -> String {
    row.event.event.as_ref().and_then(|event| event.fields()?.title.clone()).unwrap()
}

/// What the history says of each copy.
async fn decisions(fleet: &Fleet<'_>, id: EventId) -> Vec<String> {
    let tx = fleet.database.store.read(Scope::Organization(fleet.database.here)).await.unwrap();
    let entries = history::of_event(&tx, id, 100).await.unwrap();
    entries.into_iter().map(|entry| entry.decision).collect()
}

async fn a_year_of_days_announces_everything_that_enters_once_and_deletes_nothing(database: &TestStore) {
    let fleet = start(database, 10 * DAY, 40 * DAY).await;
    let outlook = Outlook::of(&fleet);
    for number in 0..50 {
        let day = today() + TimeDelta::days(number * 9 - 30);
        let mut planted = event(&format!("{day}"), &format!("{day}T09:00:00"), &format!("{day}T10:00:00"));
        if number % 3 == 0 {
            let until = day + TimeDelta::days(2);
            planted = event(&format!("{day}"), &format!("{day}T00:00:00"), &format!("{until}T00:00:00"));
            planted["isAllDay"] = json!(true);
        }
        outlook.plant(&planted);
    }
    // More months lie between two of its instances than the window is long.
    let mut rare = event("rare", "2026-09-22T09:00:00", "2026-09-22T10:00:00");
    rare["recurrence"] = json!({
        "pattern": { "type": "absoluteMonthly", "interval": 4, "dayOfMonth": 22 },
        "range": { "type": "noEnd", "startDate": "2026-09-22" },
    });
    outlook.plant(&rare);
    let id = fleet.connect().await;

    let mut known: BTreeMap<String, EventId> = BTreeMap::new();
    for day in 0..365 {
        fleet.sync(id).await;
        let seen = rows(&fleet, id).await;
        let names: Vec<String> = seen.iter().map(title).collect();
        assert!(known.keys().all(|name| names.contains(name)), "day {day}: something was deleted");
        for row in &seen {
            let before = known.insert(title(row), row.event.id);
            assert!(
                before.is_none_or(|before| before == row.event.id),
                "day {day}: {} is new again",
                title(row)
            );
        }
        let live = live(&fleet, id).await;
        let shown = |name: &str| live.iter().any(|row| title(row) == name);
        for number in 0..50 {
            let at = number * 9 - 30 - day;
            let name = (today() + TimeDelta::days(number * 9 - 30)).to_string();
            if (-7..39).contains(&at) {
                assert!(shown(&name), "day {day}: {name} is inside and not shown");
            }
        }
        fleet.advance(DAY);
    }

    for (name, id) in known.iter().filter(|(name, _)| name.as_str() != "rare") {
        let decisions = decisions(&fleet, *id).await;
        let announced = decisions.iter().filter(|decision| decision.as_str() == "insert").count();
        assert!(announced <= 1 && decisions.len() <= 1, "{name}: {decisions:?}");
    }
    let outside = rows(&fleet, id).await.into_iter().filter(|row| row.state == EventState::OutOfWindow);
    assert!(outside.count() > 30);
}

async fn an_event_that_was_moved_out_of_the_window_is_kept_and_one_that_was_deleted_is_not(
    database: &TestStore,
) {
    let fleet = start(database, 10 * DAY, 40 * DAY).await;
    let outlook = Outlook::of(&fleet);
    let at = |days: i64, name: &str| {
        let day = today() + TimeDelta::days(days);
        event(name, &format!("{day}T09:00:00"), &format!("{day}T10:00:00"))
    };
    let moved = outlook.plant(&at(5, "moved"));
    let deleted = outlook.plant(&at(6, "deleted"));
    let stranger = outlook.plant(&at(300, "stranger"));
    outlook.plant(&at(7, "other"));
    let id = fleet.connect().await;
    fleet.sync(id).await;

    outlook.patch(&moved, &at(200, "moved"));
    outlook.delete(&deleted);
    outlook.patch(&stranger, &at(301, "stranger"));
    fleet.sync(id).await;

    let rows = rows(&fleet, id).await;
    let mut names: Vec<String> = rows.iter().map(title).collect();
    names.sort();
    assert_eq!(names, ["moved", "other"], "what was never looked at is not known");
    let moved = rows.iter().find(|row| title(row) == "moved").unwrap();
    let start = moved.event.event.as_ref().unwrap().fields().unwrap().start.wall().date();
    assert_eq!(start, today() + TimeDelta::days(200));
}
