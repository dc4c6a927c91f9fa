//! Microsoft tells of changes: subscriptions are begun after a handshake, prolonged in place, doubted and replaced, and
//! what Graph says of their lives is heeded (laws 28 and 44).

use std::time::Duration;

use calfleet_sandbox::{GraphLifecycle, NotificationHabits};
use serde_json::{Value, json};

use super::{DAY, Outlook, event, live, start};
use crate::databases::{TestStore, on_both_databases};
use crate::google::watched::{A_MOMENT, Watched};

on_both_databases![
    a_change_arrives_through_the_subscription_and_polls_become_rare,
    a_burst_doubled_and_forged_is_two_syncs,
    a_subscription_is_prolonged_in_place_before_it_ends,
    a_subscription_that_graph_drops_without_a_word_is_found_out_by_a_poll_and_replaced,
    what_graph_says_of_a_subscriptions_life_is_heeded,
    a_paused_account_is_not_watched,
];

const HOUR: Duration = Duration::from_hours(1);

/// Ada's account, imported, and a subscription that Graph has answered for.
async fn watched(database: &TestStore) -> Watched<'_> {
    let watched = Watched::over(start(database, 30 * DAY, 365 * DAY).await).await;
    watched.run_due().await;
    watched
}

fn plant(watched: &Watched<'_>, title: &str) {
    Outlook::of(&watched.fleet).plant(&event(title, "2026-10-06T12:00:00", "2026-10-06T13:00:00"));
}

async fn titles(watched: &Watched<'_>) -> Vec<String> {
    let rows = live(&watched.fleet, watched.connection).await;
    let title = |row: &calfleet_store::events::StoredRow| {
        row.event.event.as_ref().unwrap().fields().unwrap().title.clone().unwrap()
    };
    let mut titles: Vec<String> = rows.iter().map(title).collect();
    titles.sort();
    titles
}

fn subscriptions(watched: &Watched<'_>) -> Vec<String> {
    watched.fleet.sandbox.microsoft().subscriptions()
}

/// How often the calendar was listed.
fn listings(watched: &Watched<'_>) -> usize {
    let log = watched.fleet.sandbox.log().entries();
    log.iter().filter(|entry| entry.method == "GET" && entry.path.contains("/calendarView/delta")).count()
}

/// Time until the next poll.
async fn wait(watched: &Watched<'_>) -> Duration {
    watched.calendar().await.sync.due_at.since(watched.fleet.service.now())
}

/// Posts a notification as it was once delivered, with another word in one place.
async fn send(watched: &Watched<'_>, change: &[(&str, &str)]) -> u16 {
    let subscription = subscriptions(watched).remove(0);
    let delivered = watched.fleet.sandbox.deliveries();
    let delivered = delivered.iter().rev().find(|one| one.body.contains(&subscription)).unwrap();
    let mut body: Value = serde_json::from_str(&delivered.body).unwrap();
    for (name, value) in change {
        body["value"][0][*name] = json!(value);
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        let request = client.post(&delivered.address).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        // a busy machine: send it again, as a provider does
        if answer.status() != 503 {
            return answer.status().as_u16();
        }
    }
}

async fn a_change_arrives_through_the_subscription_and_polls_become_rare(database: &TestStore) {
    let mut watched = watched(database).await;
    let interval = watched.fleet.connection(watched.connection).await.settings.poll_interval;
    assert_eq!(subscriptions(&watched).len(), 1);

    watched.fleet.advance(A_MOMENT);
    plant(&watched, "Lunch");
    watched.is_told(1).await;
    watched.run_due().await;

    assert_eq!(titles(&watched).await, ["Lunch"]);
    let known = watched.known().await;
    assert!(known[0].is_proven(watched.fleet.service.now()), "{known:?}");
    let rare = wait(&watched).await;
    assert!(rare > interval && rare <= HOUR, "{rare:?}");
}

async fn a_burst_doubled_and_forged_is_two_syncs(database: &TestStore) {
    let mut watched = watched(database).await;
    watched.fleet.advance(A_MOMENT);
    let before = listings(&watched);

    watched.fleet.sandbox.set_notification_habits(NotificationHabits { duplicates: 2, ..Default::default() });
    for number in 0..20 {
        plant(&watched, &format!("Lunch {number}"));
        watched.is_told(3).await;
        watched.run_due().await;
        watched.fleet.advance(Duration::from_millis(400));
    }
    watched.fleet.advance(A_MOMENT);
    watched.run_due().await;
    assert_eq!(titles(&watched).await.len(), 20);
    assert_eq!(listings(&watched) - before, 2);

    watched.fleet.advance(A_MOMENT);
    for forged in [("clientState", "guessed"), ("clientState", ""), ("subscriptionId", "another")] {
        assert_eq!(send(&watched, &[forged]).await, 202, "{forged:?}");
        watched.run_due().await;
        assert_eq!(listings(&watched) - before, 2, "{forged:?}");
    }
    assert_eq!(send(&watched, &[]).await, 202);
    watched.run_due().await;
    assert_eq!(listings(&watched) - before, 3, "what bears the secret is believed");
}

async fn a_subscription_is_prolonged_in_place_before_it_ends(database: &TestStore) {
    let mut watched = watched(database).await;
    let first = subscriptions(&watched);

    for _ in 0..6 {
        watched.after(Duration::from_hours(15)).await;
        assert_eq!(subscriptions(&watched), first, "it lives on");
        assert_eq!(watched.known().await.len(), 1);
    }
    plant(&watched, "Lunch");
    watched.is_told(1).await;
    watched.after(A_MOMENT).await;
    assert_eq!(titles(&watched).await, ["Lunch"]);
}

async fn a_subscription_that_graph_drops_without_a_word_is_found_out_by_a_poll_and_replaced(
    database: &TestStore,
) {
    let mut watched = watched(database).await;
    watched.fleet.advance(A_MOMENT);
    plant(&watched, "Breakfast");
    watched.is_told(1).await;
    watched.after(Duration::from_mins(20)).await;
    let first = subscriptions(&watched);
    assert!(watched.fleet.sandbox.microsoft().drop_subscription(&first[0]));

    plant(&watched, "Lunch");
    let bound = wait(&watched).await;
    assert!(bound <= HOUR, "what is said of the lag");
    watched.after(bound).await;
    assert_eq!(titles(&watched).await, ["Breakfast", "Lunch"]);
    assert!(watched.known().await[0].doubted_at.is_some());
    watched.after(Duration::from_mins(6)).await;

    let second = subscriptions(&watched);
    assert_eq!(second.len(), 1);
    assert_ne!(second, first);
    plant(&watched, "Supper");
    watched.is_told(1).await;
    watched.after(A_MOMENT).await;
    assert_eq!(titles(&watched).await, ["Breakfast", "Lunch", "Supper"]);
    assert_eq!(watched.known().await.len(), 1);
}

async fn what_graph_says_of_a_subscriptions_life_is_heeded(database: &TestStore) {
    let mut watched = watched(database).await;
    let microsoft = watched.fleet.sandbox.microsoft();
    let first = subscriptions(&watched);

    watched.fleet.sandbox.set_notification_habits(NotificationHabits { dropped: true, ..Default::default() });
    plant(&watched, "Breakfast");
    watched.fleet.sandbox.set_notification_habits(NotificationHabits::default());
    watched.fleet.advance(A_MOMENT);
    assert!(microsoft.tell_lifecycle(&first[0], GraphLifecycle::Missed));
    watched.is_told(1).await;
    watched.run_due().await;
    assert_eq!(titles(&watched).await, ["Breakfast"], "what was missed is asked for");

    assert!(microsoft.tell_lifecycle(&first[0], GraphLifecycle::ReauthorizationRequired));
    watched.is_told(1).await;
    watched.run_due().await;
    assert_eq!(subscriptions(&watched), first);
    watched.fleet.advance(A_MOMENT);
    plant(&watched, "Lunch");
    watched.is_told(1).await;
    watched.run_due().await;
    assert_eq!(titles(&watched).await, ["Breakfast", "Lunch"], "once prolonged, it tells again");

    assert!(microsoft.tell_lifecycle(&first[0], GraphLifecycle::SubscriptionRemoved));
    watched.is_told(1).await;
    watched.after(A_MOMENT).await;
    let second = subscriptions(&watched);
    assert_eq!((second.len(), watched.known().await.len()), (1, 1));
    assert_ne!(second, first);
    plant(&watched, "Supper");
    watched.is_told(1).await;
    watched.after(A_MOMENT).await;
    assert_eq!(titles(&watched).await, ["Breakfast", "Lunch", "Supper"]);
}

async fn a_paused_account_is_not_watched(database: &TestStore) {
    let watched = watched(database).await;
    let (organization, id) = (database.here, watched.connection);
    let (service, actor) = (&watched.fleet.service, calfleet_service::Actor::operator());
    assert_eq!(subscriptions(&watched).len(), 1);

    service.pause(organization, id, &actor).await.unwrap();
    watched.run_due().await;
    assert_eq!((subscriptions(&watched), watched.known().await.len()), (Vec::new(), 0));
    service.resume(organization, id, &actor).await.unwrap();
    watched.run_due().await;
    assert_eq!((subscriptions(&watched).len(), watched.known().await.len()), (1, 1));
}
