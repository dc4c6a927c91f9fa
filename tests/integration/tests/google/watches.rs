//! Google tells of changes: channels are begun, proved, renewed, doubted and stopped, and whatever a provider does
//! with them, no change is overlooked for longer than is said (laws 28 and 44).

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Finish, Kind, WorkState};
use calfleet_domain::model::ConnectionId;
use calfleet_sandbox::{Fault, FaultRule, NotificationHabits};
use calfleet_service::Actor;
use calfleet_store::events::{self, RangeQuery};
use calfleet_store::work;
use serde_json::json;

use super::fleet::ADA;
use super::watched::{A_MOMENT, Watched};
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    a_change_arrives_through_the_channel_and_polls_become_rare,
    a_burst_doubled_late_and_forged_is_two_syncs,
    a_channel_is_renewed_before_it_ends_and_the_two_overlap,
    a_channel_that_google_drops_without_a_word_is_found_out_by_a_poll_and_replaced,
    a_notification_that_is_only_late_ends_the_doubt,
    what_is_paused_or_gone_is_no_longer_watched,
    a_watch_that_was_given_up_is_looked_after_again_when_its_connection_is_resumed,
    a_channel_whose_answer_was_lost_is_known_by_its_first_notification,
    a_calendar_that_cannot_be_watched_is_polled_and_says_why,
    the_channel_of_a_renamed_account_is_replaced,
];

const HOUR: Duration = Duration::from_hours(1);

fn plant(watched: &Watched<'_>, id: &str) {
    let event = json!({
        "id": id, "summary": id,
        "start": { "dateTime": "2026-10-06T12:00:00+02:00", "timeZone": "Europe/Paris" },
        "end": { "dateTime": "2026-10-06T13:00:00+02:00", "timeZone": "Europe/Paris" },
    });
    watched.fleet.google().plant(ADA, &event).unwrap();
}

async fn titles(watched: &Watched<'_>) -> Vec<String> {
    let calendars = vec![watched.id().await];
    let tx = watched.read().await;
    let query = RangeQuery { calendars, from: None, until: None, after: None, limit: 1000 };
    let rows = events::in_range(&tx, &query).await.unwrap();
    let mut titles: Vec<String> =
        rows.into_iter().map(|(_, row)| row.event.provider_id.as_str().to_owned()).collect();
    titles.sort();
    titles
}

/// Sends a notification as it was once delivered, with other values for some headers.
async fn send(watched: &Watched<'_>, delivery: usize, changes: &[(&str, &str)]) -> u16 {
    let delivered = watched.fleet.sandbox.deliveries().swap_remove(delivery);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(&delivered.address);
    for (name, value) in &delivered.headers {
        let changed = changes.iter().find(|(changed, _)| name.eq_ignore_ascii_case(changed));
        request = request.header(name, changed.map_or(value.as_str(), |(_, value)| value));
    }
    loop {
        let answer = request.try_clone().unwrap().send().await.unwrap();
        // a busy machine: send it again, as a provider does
        if answer.status() != 503 {
            return answer.status().as_u16();
        }
    }
}

async fn a_change_arrives_through_the_channel_and_polls_become_rare(database: &TestStore) {
    let mut watched = Watched::start(database).await;
    let interval = watched.fleet.connection(watched.connection).await.settings.poll_interval;
    assert_eq!(watched.fleet.google().channels().len(), 1);
    assert!(watched.known().await[0].verified_at.is_some());

    watched.fleet.advance(A_MOMENT);
    plant(&watched, "lunch");
    watched.is_told(1).await;
    watched.run_due().await;

    assert_eq!(titles(&watched).await, ["lunch"]);
    let calendar = watched.calendar().await;
    let wait = calendar.sync.due_at.since(watched.fleet.service.now());
    assert!(wait >= HOUR * 9 / 10 && wait <= HOUR && wait > interval, "{wait:?}");
    assert_eq!(watched.known().await[0].doubted_at, None);
}

async fn a_burst_doubled_late_and_forged_is_two_syncs(database: &TestStore) {
    let mut watched = Watched::start(database).await;
    watched.fleet.advance(A_MOMENT);
    let before = watched.listings();

    watched.fleet.sandbox.set_notification_habits(NotificationHabits { duplicates: 2, ..Default::default() });
    for number in 0..20 {
        plant(&watched, &format!("lunch{number}"));
        watched.is_told(3).await;
        watched.run_due().await;
        watched.fleet.advance(Duration::from_millis(400));
    }
    watched.fleet.advance(A_MOMENT);
    watched.run_due().await;
    assert_eq!(titles(&watched).await.len(), 20);
    assert_eq!(watched.listings() - before, 2);

    watched.fleet.advance(A_MOMENT);
    let last = watched.fleet.sandbox.deliveries().len() - 1;
    let notified_at = watched.known().await[0].notified_at;
    for forged in [
        [("x-goog-channel-token", "guessed")].as_slice(),
        &[("x-goog-channel-token", "")],
        &[("x-goog-channel-id", "another"), ("x-goog-message-number", "9999")],
        &[("x-goog-resource-id", "another"), ("x-goog-message-number", "9999")],
        &[],
        &[("x-goog-message-number", "2")],
    ] {
        assert_eq!(send(&watched, last, forged).await, 202, "{forged:?}");
        watched.run_due().await;
        assert_eq!(watched.listings() - before, 2, "{forged:?}");
    }
    assert_eq!(watched.known().await[0].notified_at, notified_at, "a stranger's word is no proof of life");
    assert_eq!(send(&watched, last, &[("x-goog-resource-state", "odd")]).await, 400);
    assert_eq!(send(&watched, last, &[("x-goog-message-number", "9999")]).await, 202);
    watched.run_due().await;
    assert_eq!(watched.listings() - before, 3, "the same with the next number is believed");
}

async fn a_channel_is_renewed_before_it_ends_and_the_two_overlap(database: &TestStore) {
    let mut watched = Watched::start(database).await;
    let first = watched.fleet.google().channels();

    watched.after(Duration::from_hours(15)).await;
    watched.is_told(1).await;
    watched.run_due().await;
    let log = watched.fleet.sandbox.log().entries();
    let last = |end: &str| log.iter().rposition(|entry| entry.path.ends_with(end));
    assert!(last("/events/watch") < last("/channels/stop"), "the two overlap");
    plant(&watched, "lunch");
    watched.is_told(1).await;
    watched.fleet.advance(A_MOMENT);
    watched.run_due().await;

    assert_eq!(titles(&watched).await, ["lunch"]);
    let now = watched.fleet.google().channels();
    assert_eq!(now.len(), 1);
    assert_ne!(now, first);
    assert_eq!(watched.known().await.len(), 1);
    for _ in 0..5 {
        watched.after(Duration::from_hours(15)).await;
        watched.is_told(1).await;
        watched.run_due().await;
        assert_eq!(watched.fleet.google().channels().len(), 1);
    }
}

async fn a_channel_that_google_drops_without_a_word_is_found_out_by_a_poll_and_replaced(
    database: &TestStore,
) {
    let mut watched = Watched::start(database).await;
    // the poll that was planned before the channel proved alive
    watched.after(Duration::from_mins(20)).await;
    let first = watched.fleet.google().channels();
    assert!(watched.fleet.google().drop_channel(&first[0]));

    plant(&watched, "lunch");
    let bound = watched.calendar().await.sync.due_at.since(watched.fleet.service.now());
    assert!(bound <= HOUR, "what is said of the lag");
    watched.after(bound).await;
    assert_eq!(titles(&watched).await, ["lunch"]);
    assert!(watched.known().await[0].doubted_at.is_some());
    let next = watched.calendar().await.sync.due_at.since(watched.fleet.service.now());
    let interval = watched.fleet.connection(watched.connection).await.settings.poll_interval;
    watched.after(Duration::from_mins(6)).await;
    watched.is_told(1).await;
    watched.run_due().await;

    let second = watched.fleet.google().channels();
    assert_eq!(second.len(), 1);
    assert_ne!(second, first);
    assert_eq!(watched.known().await.len(), 1);
    assert!(next <= HOUR);
    watched.after(next).await;
    let later = watched.calendar().await.sync.due_at.since(watched.fleet.service.now());
    assert!(later > interval, "the new one is relied on");
}

async fn a_notification_that_is_only_late_ends_the_doubt(database: &TestStore) {
    let mut watched = Watched::start(database).await;
    watched.after(Duration::from_mins(20)).await;
    let first = watched.fleet.google().channels();
    watched.fleet.sandbox.set_notification_habits(NotificationHabits { dropped: true, ..Default::default() });
    plant(&watched, "lunch");
    watched.after(HOUR).await;
    assert!(watched.known().await[0].doubted_at.is_some());

    let number = [("x-goog-message-number", "50"), ("x-goog-resource-state", "exists")];
    assert_eq!(send(&watched, 0, &number).await, 202);
    watched.after(Duration::from_mins(10)).await;

    assert_eq!(watched.known().await[0].doubted_at, None);
    assert_eq!(watched.fleet.google().channels(), first);
    watched.is_told(0).await;
}

async fn what_is_paused_or_gone_is_no_longer_watched(database: &TestStore) {
    let mut watched = Watched::start(database).await;
    let (organization, id) = (database.here, watched.connection);
    let service = &watched.fleet.service;

    service.pause(organization, id, &Actor::operator()).await.unwrap();
    watched.run_due().await;
    assert_eq!(watched.fleet.google().channels(), Vec::<String>::new());
    assert!(watched.known().await.is_empty());

    let service = &watched.fleet.service;
    service.resume(organization, id, &Actor::operator()).await.unwrap();
    watched.run_due().await;
    watched.is_told(1).await;
    assert_eq!(watched.fleet.google().channels().len(), 1);

    let team = watched.fleet.google().create_calendar("grace@example.com", "Team");
    assert!(team.is_err(), "only Ada is known here");
    let team = watched.fleet.google().create_calendar(ADA, "Team").unwrap();
    watched.after(Duration::from_hours(2)).await;
    watched.is_told(1).await;
    watched.run_due().await;
    assert_eq!(watched.fleet.google().channels().len(), 2);
    watched.fleet.google().remove_calendar(&team);
    watched.after(Duration::from_hours(2)).await;
    assert_eq!(watched.known().await.len(), 1);
    assert_eq!(watched.view().await.calendars.len(), 2, "its events are kept");

    watched.public_url = None;
    watched.after(Duration::from_hours(15)).await;
    assert_eq!(watched.fleet.google().channels(), Vec::<String>::new());
    assert!(watched.row().await.last_error.unwrap().contains("api.public_url"));
}

async fn a_watch_that_was_given_up_is_looked_after_again_when_its_connection_is_resumed(
    database: &TestStore,
) {
    let watched = Watched::start(database).await;
    let target = ConnectionId(watched.id().await.0);
    let claim = watched.fleet.claim(Kind::Watch, target).await;
    let given_up = Finish { state: WorkState::Dead, ..Finish::done(Timestamp::NEVER) };
    work::finish(&database.store, &[(&claim, &given_up)], watched.fleet.service.now()).await.unwrap();
    watched.after(2 * HOUR).await;
    let row = watched.row().await;
    assert_eq!((row.state, row.due_at < Timestamp::NEVER), (WorkState::Dead, true), "no machine wakes it");

    let service = &watched.fleet.service;
    service.resume(database.here, watched.connection, &Actor::operator()).await.unwrap();
    watched.run_due().await;

    assert_eq!(watched.row().await.state, WorkState::Active);
    assert_eq!(watched.known().await.len(), 1);
}

async fn a_channel_whose_answer_was_lost_is_known_by_its_first_notification(database: &TestStore) {
    let mut watched = Watched::connected(database).await;
    watched.fleet.sandbox.inject(FaultRule::next(Fault::AnswerLost).path("*/events/watch"));

    watched.run_due().await;
    watched.is_told(1).await;
    watched.after(Duration::from_mins(2)).await;

    assert_eq!(watched.fleet.google().channels().len(), 1);
    let known = watched.known().await;
    assert_eq!(known.len(), 1);
    assert!(known[0].is_proven(watched.fleet.service.now()));
    plant(&watched, "lunch");
    watched.is_told(1).await;
    watched.run_due().await;
    assert_eq!(titles(&watched).await, ["lunch"]);
}

async fn a_calendar_that_cannot_be_watched_is_polled_and_says_why(database: &TestStore) {
    let watched = Watched::connected(database).await;
    let refused = Fault::Refused { code: 400, reason: "pushNotSupportedForRequestedResource".to_owned() };
    watched.fleet.sandbox.inject(FaultRule::next(refused).path("*/events/watch").always());

    watched.run_due().await;
    plant(&watched, "lunch");
    watched.after(Duration::from_mins(5)).await;

    assert_eq!(titles(&watched).await, ["lunch"]);
    assert!(watched.known().await.is_empty());
    let row = watched.row().await;
    assert!(row.last_error.is_some(), "{row:?}");
    let wait = row.due_at.since(watched.fleet.service.now());
    assert!(wait > Duration::from_hours(20) && wait < Duration::from_hours(25), "{wait:?}");
}

async fn the_channel_of_a_renamed_account_is_replaced(database: &TestStore) {
    let mut watched = Watched::start(database).await;
    watched.after(Duration::from_mins(20)).await;
    let (first, id) = (watched.fleet.google().channels(), watched.id().await);

    watched.fleet.google().rename_account(ADA, "countess@example.com").unwrap();
    // which calendars there are is asked every hour
    watched.after(HOUR).await;
    watched.is_told(1).await;
    watched.run_due().await;

    let second = watched.fleet.google().channels();
    assert_eq!(second.len(), 1, "{second:?}");
    assert_ne!(second, first);
    let known = watched.known().await;
    assert_eq!(known.iter().map(|watch| watch.calendar_id).collect::<Vec<_>>(), [id]);
    assert!(known[0].is_proven(watched.fleet.service.now()));
}
