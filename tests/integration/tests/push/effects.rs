//! One effect, whatever gets lost on the way (laws 3, 4, 5, 9).

use std::time::Duration;

use calfleet_domain::job::WorkState;
use calfleet_domain::model::Body;
use calfleet_sandbox::{Fault, FaultRule, RetryAfter};
use calfleet_store::calendar_sync;
use calfleet_store::events::EventState;
use calfleet_store::outbox::OutboxState;

use super::world::World;
use crate::databases::{TestStore, on_both_databases};

on_both_databases![
    an_event_of_ours_reaches_the_provider_and_its_echo_changes_nothing,
    edits_that_wait_fold_into_one_write,
    what_was_made_and_deleted_before_the_provider_heard_of_it_is_never_sent,
    a_lost_answer_is_found_again,
    a_request_that_never_arrived_is_sent_again,
    a_server_in_trouble_gets_it_later,
    a_push_that_dies_at_any_step_has_one_effect,
    a_provider_that_is_away_gets_everything_in_order_once_it_is_back,
    a_permanent_refusal_gives_one_event_up_and_no_other,
    a_throttle_is_obeyed_and_costs_no_attempt,
    what_a_page_shows_while_a_write_is_on_its_way_outlives_the_answer,
    an_earlier_edit_of_ours_does_not_win_by_the_time_of_a_later_one,
];

async fn an_event_of_ours_reaches_the_provider_and_its_echo_changes_nothing(store: &TestStore) {
    let world = World::start(store).await;

    let id = world.create("Review").await;
    assert_eq!(world.resources(), []);
    world.push().await;

    let [resource] = &world.resources()[..] else { panic!("one object") };
    assert!(resource.body.contains("SUMMARY:Review"), "{}", resource.body);
    let row = world.row(id).await;
    assert!(row.event.base.is_none() && row.event.edited_at.is_none() && row.event.settled_at.is_some());
    world.assert_in_step().await;
    assert_eq!(world.live().await, [id]);
    assert_eq!(world.requests("PUT"), 1);

    world.retitle(id, "Retro").await;
    world.push().await;
    assert!(world.resources()[0].body.contains("SUMMARY:Retro"));
    world.delete(id).await;
    world.push().await;
    assert_eq!(world.resources(), []);
    assert_eq!(world.row(id).await.state, EventState::Tombstone);
    world.assert_in_step().await;
}

async fn edits_that_wait_fold_into_one_write(store: &TestStore) {
    let world = World::start(store).await;
    let id = world.create("One").await;
    world.retitle(id, "Two").await;
    world.retitle(id, "Three").await;

    world.push().await;

    assert_eq!(world.requests("PUT"), 1);
    assert!(world.resources()[0].body.contains("SUMMARY:Three"));
    assert_eq!(world.outbox(OutboxState::Folded).await.len(), 2);
    assert_eq!(world.outbox(OutboxState::Done).await.len(), 1);
    world.assert_in_step().await;
}

async fn what_was_made_and_deleted_before_the_provider_heard_of_it_is_never_sent(store: &TestStore) {
    let world = World::start(store).await;
    let id = world.create("Never").await;
    world.delete(id).await;
    let before = world.sandbox.log().entries().len();

    world.push().await;

    assert_eq!(world.sandbox.log().entries().len(), before);
    assert_eq!(world.row(id).await.state, EventState::Tombstone);
    world.assert_in_step().await;
}

async fn a_lost_answer_is_found_again(store: &TestStore) {
    survives(store, Fault::AnswerLost).await;
}

async fn a_request_that_never_arrived_is_sent_again(store: &TestStore) {
    survives(store, Fault::CutBefore).await;
}

async fn a_server_in_trouble_gets_it_later(store: &TestStore) {
    survives(store, Fault::Status { code: 503, retry_after: None }).await;
}

/// The fault strikes a create, an edit and a deletion.
async fn survives(store: &TestStore, fault: Fault) {
    let world = World::start(store).await;
    let lost = |method: &str| {
        world.sandbox.inject(FaultRule::next(fault.clone()).method(method));
    };
    lost("PUT");
    let id = world.create("Review").await;
    world.push().await;
    world.advance(Duration::from_mins(20));
    world.push().await;
    assert_eq!(world.resources().len(), 1);

    lost("PUT");
    world.retitle(id, "Retro").await;
    world.push().await;
    world.advance(Duration::from_mins(20));
    world.push().await;
    assert!(world.resources()[0].body.contains("SUMMARY:Retro"));
    assert!(
        world.resources()[0].body.contains("SEQUENCE:0") || !world.resources()[0].body.contains("SEQUENCE")
    );

    lost("DELETE");
    world.delete(id).await;
    world.push().await;
    world.advance(Duration::from_mins(20));
    world.push().await;
    assert_eq!(world.resources(), []);
    assert_eq!(world.sandbox.faults().len(), 0, "every fault struck");
    world.assert_in_step().await;
}

async fn a_push_that_dies_at_any_step_has_one_effect(store: &TestStore) {
    let world = World::start(store).await;
    let mut steps = 1;
    let mut has_ended = false;
    while !has_ended {
        let id = world.create("Review").await;
        has_ended = world.push_for(steps).await;
        world.push().await;
        let title = format!("Retro {steps}");
        world.retitle(id, &title).await;
        has_ended &= world.push_for(steps).await;
        world.push().await;
        assert_eq!(world.resources().len(), 1, "after {steps} steps");
        assert!(world.resources()[0].body.contains(&title), "after {steps} steps");
        world.delete(id).await;
        has_ended &= world.push_for(steps).await;
        world.push().await;

        assert_eq!(world.resources(), [], "after {steps} steps");
        assert_eq!(world.outbox(OutboxState::Pending).await, []);
        steps += 1 + steps / 8;
    }
    // The faster the database answers, the fewer steps a run takes.
    assert!(steps > 5, "{steps} steps are no run");
    world.assert_in_step().await;
}

async fn a_provider_that_is_away_gets_everything_in_order_once_it_is_back(store: &TestStore) {
    let world = World::start(store).await;
    let away = FaultRule::next(Fault::Status { code: 503, retry_after: None }).always();
    world.sandbox.inject(away);
    let first = world.create("First").await;
    world.push().await;
    let second = world.create("Second").await;
    world.retitle(first, "First, again").await;
    for _ in 0..6 {
        world.advance(Duration::from_mins(10));
        let now = world.now();
        let finish = world.push().await;
        assert_eq!(finish.state, WorkState::Active);
        assert!(finish.next > now, "it is tried again, and not at once");
    }
    assert_eq!(world.outbox(OutboxState::Pending).await.len(), 3);
    assert!(world.outbox(OutboxState::Pending).await.iter().any(|entry| entry.problem.is_some()));

    world.sandbox.clear_faults();
    world.advance(Duration::from_mins(20));
    world.push().await;

    assert_eq!(world.resources().len(), 2);
    world.assert_in_step().await;
    assert!(world.row(second).await.event.settled_at.is_some());
}

async fn a_permanent_refusal_gives_one_event_up_and_no_other(store: &TestStore) {
    let world = World::start(store).await;
    let refused = world.create("Refused").await;
    let rule =
        FaultRule::next(Fault::Status { code: 403, retry_after: None }).method("PUT").body("SUMMARY:Refused");
    world.sandbox.inject(rule.always());
    world.retitle(refused, "Refused, again").await;
    world.create("Taken").await;

    world.push().await;

    assert_eq!(world.resources().len(), 1);
    let dead = world.outbox(OutboxState::Dead).await;
    assert_eq!(dead.len(), 2, "the later edit is given up with it");
    assert!(dead.iter().all(|entry| entry.problem.as_ref().is_some_and(|(code, _)| code == "forbidden")));
    let requests = world.requests("PUT");
    world.push().await;
    assert_eq!(world.requests("PUT"), requests, "it costs nothing from then on");
}

async fn a_throttle_is_obeyed_and_costs_no_attempt(store: &TestStore) {
    let world = World::start(store).await;
    let retry_after = Some(RetryAfter::Seconds(40));
    world.sandbox.fail_next(Fault::Status { code: 429, retry_after });
    world.create("Review").await;

    let now = world.now();
    let finish = world.push().await;

    assert_eq!(finish.not_before, now.plus(Duration::from_secs(40)));
    assert_eq!(finish.attempt, 0);
    let [entry] = &world.outbox(OutboxState::Pending).await[..] else { panic!("one entry") };
    assert_eq!((entry.attempt, entry.sent_at), (0, None));
    world.advance(Duration::from_secs(40));
    world.push().await;
    world.assert_in_step().await;
}

async fn what_a_page_shows_while_a_write_is_on_its_way_outlives_the_answer(store: &TestStore) {
    let world = World::start(store).await;
    let id = world.create("Review").await;
    world.push().await;
    world.sync().await;
    world.retitle(id, "Ours").await;

    let happening = async {
        world.replace("SUMMARY:Ours", "SUMMARY:Theirs");
        world.sync_at_once().await;
    };
    world.push_while("SUMMARY:Ours", happening).await;

    let calendar = world.calendar().await.id;
    let tx = store.begin().await;
    let progress = calendar_sync::of_calendar(&tx, calendar).await.unwrap().unwrap();
    drop(tx);
    let is_due = progress.due_at <= world.now();
    world.sync().await;
    let event = world.row(id).await.event.event.unwrap();
    assert_eq!((event.fields().unwrap().title.as_deref(), is_due), (Some("Theirs"), true));
    world.assert_in_step().await;
}

async fn an_earlier_edit_of_ours_does_not_win_by_the_time_of_a_later_one(store: &TestStore) {
    let world = World::start(store).await;
    let id = world.create("Review").await;
    world.push().await;
    world.sync().await;
    let minutes = || world.advance(Duration::from_mins(5));

    let first = world.now();
    world.retitle(id, "Ours").await;
    minutes();
    let [resource] = &world.resources()[..] else { panic!("one object") };
    let stamp = world.now().to_utc().unwrap().format("DTSTAMP:%Y%m%dT%H%M%SZ").to_string();
    let is_stamp = |line: &&str| line.starts_with("DTSTAMP:") || line.starts_with("LAST-MODIFIED:");
    let lines: Vec<&str> = resource.body.lines().filter(|line| !is_stamp(line)).collect();
    let theirs = lines.join("\r\n").replace("SUMMARY:Review", &format!("{stamp}\r\nSUMMARY:Theirs"));
    world.put(&resource.name, &format!("{theirs}\r\n"));
    minutes();
    let last = world.now();
    world
        .edit(id, |event| {
            let Body::Single(fields) = &mut event.body else { panic!("a single event") };
            fields.location = Some("Room 2".to_owned());
        })
        .await;
    let row = world.row(id).await.event;
    assert_eq!((row.edited_since, row.edited_at), (Some(first), Some(last)));
    world.push().await;

    let body = &world.resources()[0].body;
    assert!(body.contains("SUMMARY:Theirs") && body.contains("LOCATION:Room 2"), "{body}");
    assert_eq!(world.row(id).await.event.edited_since, None);
    world.assert_in_step().await;
}
