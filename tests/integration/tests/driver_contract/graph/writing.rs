//! Events written to Microsoft: one effect, in place, nobody mailed unasked, and nothing that others put there is lost.

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Attendee, Body, Conference, ConferenceStatus, ConferenceType, End, Event, Fields, Notify,
    ParticipationStatus, ProviderId, Reminder, RemoteChange, RemoteEvent, Transparency, Visibility, When,
};
use calfleet_providers::driver::{Change, Errand, Problem, Write, Written};
use calfleet_sandbox::{Fault, FaultRule, GraphHabits};
use serde_json::{Value, json};

use super::desk::{ADA, BOB, CAROL, Desk, agreed, assert_same, at, fields, name, ours, review};

#[expect(clippy::unnecessary_wraps, reason = "most fields of an event may be absent")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn told(whom: &[&str], of: &str) -> std::collections::BTreeSet<(String, String)> {
    whom.iter().map(|one| ((*one).to_owned(), of.to_owned())).collect()
}

#[tokio::test]
async fn a_new_event_is_made_whole_in_one_request() {
    let desk = Desk::open().await;
    let mut wanted = review();
    wanted.description = text("Bring  numbers\n  & <coffee>");
    wanted.location = text("Room 4");
    wanted.reminders = vec![Reminder::BeforeStart(900)];
    wanted.visibility = Visibility::Private;
    wanted.transparency = Transparency::Transparent;
    wanted.categories = vec!["Red category".to_owned()];
    let event = ours(Body::Single(wanted));

    let made = desk.create(1, &event, Notify::None).await.unwrap().unwrap();

    assert_same(&event, &made);
    assert_eq!(made.created_as, Some(name(1)));
    let writes = desk.relay.take_writes();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].body["transactionId"], "00000000-0000-0000-0000-000000000001");
    assert_eq!((desk.count(), desk.sandbox.mails().len()), (1, 0));
    desk.close();
}

#[tokio::test]
async fn a_lost_answer_is_found_again_and_the_event_is_made_once() {
    let desk = Desk::open().await;
    let mut wanted = review();
    wanted.attendees = vec![Attendee::new(BOB), Attendee::new(CAROL)];
    let event = ours(Body::Single(wanted));
    desk.sandbox.inject(FaultRule::next(Fault::AnswerLost).method("POST"));

    let lost = desk.create(2, &event, Notify::All).await;
    let writes = desk.relay.take_writes().len();
    let looked = desk.driver.read(&desk.calendar, &[name(2)]).await.unwrap();
    let found = desk.create(2, &event, Notify::All).await.unwrap().unwrap();

    assert_eq!(lost.unwrap_err().0, FailureClass::Transient);
    assert_eq!(writes, 1, "a write is not repeated by itself");
    assert!(matches!(&looked[..], [RemoteChange::Upsert(one)] if one.provider_id == found.provider_id));
    assert_eq!(desk.count(), 1);
    assert_eq!(desk.mails(), told(&[BOB, CAROL], "Invitation"));
    desk.close();
}

#[tokio::test]
async fn a_name_under_which_nothing_was_made_is_absent_and_one_whose_event_was_deleted_is_gone() {
    let desk = Desk::open().await;
    let event = ours(Body::Single(review()));

    let never = desk.driver.read(&desk.calendar, &[name(3)]).await.unwrap();
    let made = desk.create(3, &event, Notify::None).await.unwrap().unwrap();
    desk.call(ADA, "DELETE", &format!("me/events/{}", made.provider_id), &Value::Null);
    let again = desk.create(3, &event, Notify::None).await;

    assert_eq!(never, [RemoteChange::Removed { provider_id: name(3) }]);
    assert_eq!(again, Ok(None));
    assert_eq!(desk.count(), 0);
    desk.close();
}

#[tokio::test]
async fn a_copy_that_a_person_made_is_not_taken_for_ours() {
    let desk = Desk::open().await;
    let event = ours(Body::Single(review()));
    desk.create(4, &event, Notify::None).await.unwrap().unwrap();
    let mut copy = desk.relay.take_writes().remove(0).body;
    copy.as_object_mut().unwrap().remove("transactionId");
    let original = desk.driver.read(&desk.calendar, &[name(4)]).await.unwrap().remove(0);
    desk.call(ADA, "DELETE", &format!("me/events/{}", original.provider_id()), &Value::Null);
    desk.call(ADA, "POST", "me/events", &copy);

    let found = desk.driver.read(&desk.calendar, &[name(4)]).await.unwrap();

    assert_eq!(found, [RemoteChange::Removed { provider_id: name(4) }]);
    desk.close();
}

type Edit = fn(&mut Fields);

#[tokio::test]
async fn an_edit_sends_what_differs_as_of_the_revision_it_was_made_against() {
    let desk = Desk::open().await;
    let mut held = desk.create(5, &ours(Body::Single(review())), Notify::None).await.unwrap().unwrap();
    desk.relay.take();
    let edits: [(&[&str], Edit); 9] = [
        (&["subject"], |fields| fields.title = text("Retro")),
        (&["subject"], |fields| fields.title = None),
        (&["location"], |fields| fields.location = text("Room 5")),
        (&["location"], |fields| fields.location = None),
        (&["body"], |fields| fields.description = text("One\ntwo")),
        (&["isReminderOn", "reminderMinutesBeforeStart"], |fields| {
            fields.reminders = vec![Reminder::BeforeStart(600)];
        }),
        (&["isReminderOn"], |fields| fields.reminders = Vec::new()),
        (&["end", "isAllDay", "start"], |fields| {
            (fields.start, fields.end) = (at("2026-07-16T09:00:00"), End::At(at("2026-07-16T09:30:00")));
        }),
        (&["end", "isAllDay", "start"], |fields| {
            let day = |day: &str| When::Date(day.parse().unwrap());
            (fields.start, fields.end) = (day("2026-04-01"), End::At(day("2026-04-03")));
        }),
    ];

    for (mentioned, edit) in edits {
        let revision = held.revision.clone().unwrap();
        held = desk.edit(&held, edit).await;
        let writes = desk.relay.take_writes();
        assert_eq!(writes.len(), 1, "{mentioned:?}");
        assert_eq!(writes[0].mentions(), mentioned);
        assert_eq!(writes[0].if_match, Some(format!("W/\"{}\"", revision.as_str())));
    }
    let again = desk.update(&held, &held.event, Notify::None).await.unwrap().unwrap();
    assert_eq!((desk.relay.take_writes().len(), again.revision), (0, held.revision));
    desk.close();
}

#[tokio::test]
async fn what_changed_there_meanwhile_is_a_conflict_and_what_is_gone_too() {
    let desk = Desk::open().await;
    let held = desk.create(6, &ours(Body::Single(review())), Notify::None).await.unwrap().unwrap();
    let path = format!("me/events/{}", held.provider_id);
    desk.call(ADA, "PATCH", &path, &json!({ "subject": "Theirs" }));
    let mut after = held.event.clone();
    fields(&mut after).title = text("Ours");

    let stale = desk.update(&held, &after, Notify::None).await;
    let stale_deletion = desk.delete(&held, Notify::None).await;
    desk.call(ADA, "DELETE", &path, &Value::Null);
    let gone = desk.update(&held, &after, Notify::None).await;
    let gone_deletion = desk.delete(&held, Notify::None).await;

    for conflict in [&stale, &stale_deletion, &gone] {
        assert_eq!(conflict.as_ref().unwrap_err().0, FailureClass::Conflict);
    }
    assert_eq!(gone_deletion, Ok(None));
    desk.close();
}

#[tokio::test]
async fn events_of_a_calendar_that_is_gone_are_not_deleted() {
    let desk = Desk::open().await;
    let held = desk.create(7, &ours(Body::Single(review())), Notify::None).await.unwrap().unwrap();
    desk.microsoft().remove_calendar(desk.calendar.provider_id.as_str());

    let deletion = desk.delete(&held, Notify::None).await;

    assert_eq!(deletion, Err((FailureClass::Permanent, Problem::NotFound)));
    desk.close();
}

/// An event with much that we do not model, as another client made it.
fn foreign() -> Value {
    json!({ "subject": "Review", "importance": "high", "showAs": "oof", "allowNewTimeProposals": false,
        "body": { "contentType": "html", "content": "<div>Bring <b>numbers</b></div>" },
        "start": { "dateTime": "2026-03-16T10:00:00", "timeZone": "Romance Standard Time" },
        "end": { "dateTime": "2026-03-16T11:00:00", "timeZone": "Romance Standard Time" },
        "isReminderOn": true, "reminderMinutesBeforeStart": 10, "hideAttendees": true,
        "locations": [{ "displayName": "Room 4" }, { "displayName": "Room 5" }],
        "attendees": [
            { "type": "optional", "emailAddress": { "name": "Bob", "address": BOB } },
            { "type": "resource", "emailAddress": { "name": "Room 4", "address": "room4@example.com" } },
        ] })
}

#[tokio::test]
async fn what_others_put_there_survives_every_edit() {
    let desk = Desk::open().await;
    let made = desk.call(ADA, "POST", "me/events", &foreign());
    let held = desk.held(made["id"].as_str().unwrap()).await;
    let before = desk.stored(&held.provider_id).unwrap();
    let mut after = held.event.clone();
    fields(&mut after).title = text("Retro");
    fields(&mut after).attendees.push(Attendee::new(CAROL));

    let now = desk.update(&held, &after, Notify::All).await.unwrap().unwrap();

    assert_same(&after, &now);
    let stored = desk.stored(&held.provider_id).unwrap();
    for name in
        ["importance", "showAs", "allowNewTimeProposals", "body", "hideAttendees", "locations", "iCalUId"]
    {
        assert_eq!(stored[name], before[name], "{name}");
    }
    assert_eq!(stored["attendees"][0], before["attendees"][0]);
    assert_eq!(stored["attendees"][1], before["attendees"][1]);
    desk.close();
}

#[tokio::test]
async fn guests_are_mailed_once_if_that_was_asked_and_else_nothing_is_written() {
    let desk = Desk::open().await;
    let mut wanted = review();
    wanted.attendees = vec![Attendee::new(BOB)];
    let event = ours(Body::Single(wanted));
    for notify in [Notify::None, Notify::External] {
        let unasked = desk.create(8, &event, notify).await;
        assert_eq!((unasked.unwrap_err().0, desk.count()), (FailureClass::Permanent, 0));
    }

    let held = desk.create(8, &event, Notify::All).await.unwrap().unwrap();
    assert_eq!(desk.mails(), told(&[BOB], "Invitation"));
    desk.sandbox.clear_mails();
    let mut after = held.event.clone();
    fields(&mut after).title = text("Retro");
    let silent = [desk.update(&held, &after, Notify::None).await, desk.delete(&held, Notify::None).await];
    for refused in silent {
        let Err((FailureClass::Permanent, Problem::Unsupported { action })) = refused else { panic!() };
        assert_eq!(action, "change an event that has guests without mailing them");
    }
    assert_eq!(desk.sandbox.mails(), []);

    let gone = desk.delete(&held, Notify::All).await;

    assert_eq!(gone, Ok(None));
    assert_eq!(desk.mails(), told(&[BOB], "Cancellation"));
    desk.close();
}

/// Ada invites Carol; Carol's copy.
async fn invited(desk: &Desk) -> RemoteEvent {
    let mut invitation = foreign();
    invitation["attendees"] = json!([{ "emailAddress": { "address": CAROL } }]);
    desk.call(ADA, "POST", "me/events", &invitation);
    desk.sandbox.clear_mails();
    let events = desk.microsoft().events(desk.calendar.provider_id.as_str()).unwrap();
    desk.held(events[0]["id"].as_str().unwrap()).await
}

fn answered(held: &RemoteEvent, status: ParticipationStatus) -> Event {
    let mut after = held.event.clone();
    let own = &mut fields(&mut after).attendees[0];
    (own.status, own.comment) = (status, text("from the train"));
    after
}

#[tokio::test]
async fn an_invitation_is_answered_with_a_comment_and_nothing_else_is_sent() {
    let desk = Desk::of(CAROL).await;
    let held = invited(&desk).await;
    let mut after = answered(&held, ParticipationStatus::Tentative);
    fields(&mut after).title = text("Not mine to change");
    desk.relay.take();

    let now = desk.update(&held, &after, Notify::All).await.unwrap().unwrap();

    let writes = desk.relay.take_writes();
    assert_eq!(writes.len(), 1);
    assert!(writes[0].path.ends_with("/tentativelyAccept"), "{}", writes[0].path);
    assert_eq!(writes[0].body, json!({ "SendResponse": true, "Comment": "from the train" }));
    assert_eq!(now.event.fields().unwrap().attendees[0].status, ParticipationStatus::Tentative);
    assert_eq!(now.event.fields().unwrap().title, text("Review"));
    assert_eq!(desk.mails(), told(&[ADA], "Response"));
    desk.close();
}

#[tokio::test]
async fn an_answer_may_be_given_in_silence_and_a_refusal_takes_the_copy_away() {
    let desk = Desk::of(CAROL).await;
    let held = invited(&desk).await;
    let now = desk
        .update(&held, &answered(&held, ParticipationStatus::Accepted), Notify::None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(now.event.fields().unwrap().attendees[0].status, ParticipationStatus::Accepted);

    let gone = desk.update(&now, &answered(&now, ParticipationStatus::Declined), Notify::None).await;

    assert_eq!(gone, Ok(None));
    assert_eq!((desk.count(), desk.sandbox.mails().len()), (0, 0));
    desk.close();
}

#[tokio::test]
async fn a_guest_who_deletes_the_own_copy_declines_or_says_nothing() {
    for (notify, mails) in [(Notify::All, 1), (Notify::None, 0)] {
        let desk = Desk::of(CAROL).await;
        let held = invited(&desk).await;

        let gone = desk.delete(&held, notify).await;

        assert_eq!(gone, Ok(None));
        assert_eq!((desk.count(), desk.sandbox.mails().len()), (0, mails));
        desk.close();
    }
}

#[tokio::test]
async fn an_invitation_that_changed_meanwhile_is_not_answered() {
    let desk = Desk::of(CAROL).await;
    let held = invited(&desk).await;
    let path = format!("me/events/{}", held.provider_id);
    desk.call(CAROL, "PATCH", &path, &json!({ "showAs": "free" }));

    let answer = desk.update(&held, &answered(&held, ParticipationStatus::Accepted), Notify::All).await;

    assert_eq!(answer.unwrap_err().0, FailureClass::Conflict);
    assert_eq!(desk.sandbox.mails(), []);
    desk.close();
}

#[tokio::test]
async fn a_teams_link_is_made_and_survives_every_other_edit() {
    for late_join_url in [false, true] {
        let desk = Desk::open().await;
        desk.microsoft().set_habits(GraphHabits { late_join_url, ..GraphHabits::default() });
        let mut wanted = review();
        wanted.description = text("Agenda");
        wanted.conference =
            Some(Conference::without_link(ConferenceType::MicrosoftTeams, ConferenceStatus::Pending));

        let held = desk.create(9, &ours(Body::Single(wanted)), Notify::None).await.unwrap().unwrap();
        let Conference { kind, link, .. } = held.event.fields().unwrap().conference.clone().unwrap();
        assert!(kind == ConferenceType::MicrosoftTeams && link.starts_with("https://teams."), "{link}");
        assert_eq!(held.event.fields().unwrap().description, text("Agenda"), "without the block");

        let block = |id: &ProviderId| {
            let body = desk.stored(id).unwrap()["body"]["content"].as_str().unwrap().to_owned();
            let (_, block) = body.split_once("<div class=\"me-email-text\"").unwrap();
            block.split_once("</body>").unwrap().0.trim_end().to_owned()
        };
        let before = block(&held.provider_id);
        let held = desk.edit(&held, |fields| fields.title = text("Retro")).await;
        let held = desk.edit(&held, |fields| fields.description = text("Another\nagenda")).await;
        let held = desk.edit(&held, |fields| fields.description = None).await;

        assert_eq!(held.event.fields().unwrap().conference.clone().unwrap().link, link);
        assert_eq!(block(&held.provider_id), before);
        desk.close();
    }
}

#[tokio::test]
async fn errands_travel_together_and_each_is_what_it_would_be_alone() {
    let desk = Desk::open().await;
    let event = ours(Body::Single(review()));
    let kept = desk.create(1, &event, Notify::None).await.unwrap().unwrap();
    let dropped = desk.create(2, &event, Notify::None).await.unwrap().unwrap();
    let mut after = kept.event.clone();
    fields(&mut after).title = text("Retro");
    let (third, fourth, notify) = (name(3), name(4), Notify::None);
    desk.relay.take();
    let write = |provider_id, change| {
        Errand::Write(&desk.calendar, Write { provider_id, change, notify, message: None })
    };

    let results = desk
        .driver
        .together(&[
            write(&kept.provider_id, Change::Update { held: agreed(&kept), after: &after }),
            write(&dropped.provider_id, Change::Delete { held: agreed(&dropped) }),
            write(&third, Change::Create(&event)),
            Errand::Look(&desk.calendar, &fourth),
        ])
        .await;

    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    let [Written::Held(edited), Written::Gone, Written::Held(made), Written::Gone] = &results[..] else {
        panic!("{results:?}")
    };
    assert_same(&after, edited);
    assert_eq!(made.created_as, Some(third));
    assert_eq!(desk.relay.take_batches(), [4]);
    let mut writes = desk.relay.take_writes();
    writes.retain(|sent| sent.path != "$batch");
    assert_eq!(
        writes.iter().map(|sent| sent.method.as_str()).collect::<Vec<_>>(),
        ["PATCH", "DELETE", "POST"]
    );
    let revision = |held: &RemoteEvent| held.revision.as_ref().map(|revision| revision.0.clone());
    for (sent, held) in writes.iter().zip([&kept, &dropped]) {
        assert!(
            sent.if_match.as_ref().is_some_and(|sent| sent.contains(&revision(held).unwrap())),
            "{sent:?}"
        );
    }
    desk.close();
}
