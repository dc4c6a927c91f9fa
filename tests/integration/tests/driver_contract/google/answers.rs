//! Guests, their answers and the mail they get.

use std::collections::BTreeSet;

use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Attendee, Body, Notify, ParticipationStatus, Reminder, Transparency};
use calfleet_providers::driver::{CalendarRef, Change};
use serde_json::{Value, json};

use super::desk::{ADA, BOB, CAROL, Desk, agreed, at, fields, foreign, ours, review};

fn carols() -> CalendarRef {
    CalendarRef { provider_id: CAROL.into(), time_zone: Some("Europe/Paris".to_owned()), setting: None }
}

fn answer_of(event: &Value, address: &str) -> String {
    let guests = event["attendees"].as_array().unwrap();
    let guest = guests.iter().find(|guest| guest["email"] == address).unwrap();
    guest["responseStatus"].as_str().unwrap().to_owned()
}

fn told(mails: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    mails.iter().map(|(to, kind)| ((*to).to_owned(), (*kind).to_owned())).collect()
}

#[tokio::test]
async fn an_answer_that_came_in_the_meantime_is_never_written_back_older() {
    let desk = Desk::open().await;
    let mut wanted = review();
    wanted.attendees = vec![Attendee::new(BOB), Attendee::new(CAROL)];
    let held = desk.create(&ours(1, Body::Single(wanted)), Notify::None).await.unwrap().unwrap();
    let path = format!("calendars/{CAROL}/events/{}", held.provider_id);
    desk.call(
        CAROL,
        "PATCH",
        &path,
        &json!({ "attendees": [{ "email": CAROL, "responseStatus": "accepted" }] }),
    );
    let mut after = held.event.clone();
    fields(&mut after).attendees.push(Attendee::new("dan@elsewhere.test"));

    let first = desk.update(&held, &after, Notify::None).await;
    let read = desk.held(held.provider_id.as_str()).await;
    // Somebody's older view of the answer, merged badly: still not the organizer's to write.
    let mut after = read.event.clone();
    fields(&mut after).attendees.push(Attendee::new("dan@elsewhere.test"));
    for guest in &mut fields(&mut after).attendees {
        guest.status = ParticipationStatus::NeedsAction;
    }
    desk.update(&read, &after, Notify::None).await.unwrap();

    assert_eq!(first.unwrap_err().0, FailureClass::Conflict);
    let stored = desk.stored(held.provider_id.as_str());
    assert_eq!(answer_of(&stored, CAROL), "accepted");
    assert_eq!(stored["attendees"].as_array().unwrap().len(), 3);
    desk.close();
}

#[tokio::test]
async fn mail_goes_to_whom_the_intent_names_and_to_nobody_else() {
    let mut wanted = review();
    wanted.attendees = vec![Attendee::new(BOB), Attendee::new(CAROL)];
    let event = ours(1, Body::Single(wanted));
    for (notify, guests) in
        [(Notify::None, &[][..]), (Notify::External, &[BOB][..]), (Notify::All, &[BOB, CAROL][..])]
    {
        let desk = Desk::open().await;
        let expect = |kind| told(&guests.iter().map(|guest| (*guest, kind)).collect::<Vec<_>>());

        let held = desk.create(&event, notify).await.unwrap().unwrap();
        assert_eq!(desk.mails(), expect("Invitation"), "{notify:?}");
        desk.sandbox.clear_mails();
        let mut after = held.event.clone();
        fields(&mut after).start = at("2026-03-16T10:30:00");
        let held = desk.update(&held, &after, notify).await.unwrap().unwrap();
        assert_eq!(desk.mails(), expect("Update"), "{notify:?}");
        desk.sandbox.clear_mails();
        desk.delete(&held, notify).await.unwrap();
        assert_eq!(desk.mails(), expect("Cancellation"), "{notify:?}");
        desk.close();
    }
}

#[tokio::test]
async fn of_a_guests_copy_only_the_own_answer_and_what_is_personal_is_sent() {
    let desk = Desk::of(CAROL).await;
    let mut body = foreign();
    body.as_object_mut().unwrap().remove("attachments");
    desk.call(ADA, "POST", &format!("calendars/{ADA}/events?conferenceDataVersion=1"), &body);
    let held = desk.read(&carols(), "foreign01").await;
    let mut after = held.event.clone();
    let everything = fields(&mut after);
    everything.title = Some("Hijacked".to_owned());
    everything.start = at("2026-03-16T09:00:00");
    everything.location = Some("Elsewhere".to_owned());
    everything.reminders = vec![Reminder::BeforeStart(300)];
    everything.transparency = Transparency::Transparent;
    everything.color = Some("#5484ED".to_owned());
    for guest in &mut everything.attendees {
        guest.status = ParticipationStatus::Declined;
        guest.comment = Some("away".to_owned());
    }
    everything.attendees.push(Attendee::new("dan@elsewhere.test"));
    desk.relay.take();

    let change = Change::Update { held: agreed(&held), after: &after };
    let now = desk.write(&carols(), &held.provider_id, change, Notify::All).await.unwrap().unwrap();

    let writes = desk.relay.take_writes();
    assert_eq!(writes.len(), 1);
    assert_eq!(
        writes[0].mentions(),
        ["attendees", "attendeesOmitted", "colorId", "reminders", "transparency"]
    );
    let sent = writes[0].body["attendees"].as_array().unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!((&sent[0]["email"], &sent[0]["responseStatus"]), (&json!(CAROL), &json!("declined")));
    let stored = desk.stored("foreign01");
    assert_eq!(stored["summary"], "Review");
    assert_eq!((answer_of(&stored, BOB), answer_of(&stored, CAROL)), ("tentative".into(), "declined".into()));
    assert_eq!(now.event.fields().unwrap().title.as_deref(), Some("Review"));
    assert_eq!(desk.mails(), told(&[(ADA, "Response")]));
    desk.close();
}
