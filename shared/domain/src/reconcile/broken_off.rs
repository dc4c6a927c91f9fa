//! What both sides agreed on, in view of a write of ours whose answer was lost, or that was broken off in the middle.
//!
//! A person may have edited the event since it was sent. Then our own write, found at the provider, differs from what
//! we hold as somebody else's would; so what was sent is kept until it is answered.
//!
//! Providers drop what departs from a series when its frame moves: the new frame is written first, then the overrides
//! are put back one by one. Read in between, the provider has the frame that was wanted and lacks overrides, as if
//! somebody had taken them away. Nobody has: they are still to be written. A new series is made in the same way, its
//! master first, and at some providers its guests last.

use std::collections::{BTreeMap, BTreeSet};

use super::anchor::moved;
use super::diff::differing_fields;
use super::sheet::Sheet;
use super::version;
use crate::model::{Body, Event, Master, Override, RecurrenceId, Series};

/// The base against which to compare after a write that was to make the event say `sent`, and may have been applied.
/// `None` where nothing was ever agreed on.
pub fn found_again(base: Option<Event>, sent: &Event, remote: &Event) -> Option<Event> {
    // some providers name what is made by themselves
    let sent = &Event { uid: remote.uid.clone(), body: sent.body.clone() };
    if version::is_same(sent, remote) {
        return Some(remote.clone());
    }
    match base {
        // It is there because we made it: the rest was done since.
        None if matches!(sent.body, Body::Single(_)) => Some(sent.clone()),
        None => half_made(sent, remote),
        Some(base) if is_applied(&base, sent, remote) => Some(sent.clone()),
        Some(base) => Some(broken_off(base, sent, remote)),
    }
}

/// Whether a single event, which is written at once, has something that only our write says.
fn is_applied(base: &Event, sent: &Event, remote: &Event) -> bool {
    let (Body::Single(base), Body::Single(sent), Body::Single(remote)) =
        (&base.body, &sent.body, &remote.body)
    else {
        return false;
    };
    let differs_still = differing_fields(sent, remote);
    differing_fields(base, sent).iter().any(|atom| !differs_still.contains(atom))
}

/// The base against which to compare when a write may have been broken off: without the overrides that the provider
/// lacks under the very frame that our side wanted. As it was in every other case.
fn broken_off(base: Event, local: &Event, remote: &Event) -> Event {
    let lacking = lacking(&base, local, remote);
    if lacking.is_empty() {
        return base;
    }
    let Body::Series(mut series) = base.body else { return base };
    for key in lacking {
        series.overrides.remove(&key);
    }
    Event { uid: base.uid, body: Body::Series(series) }
}

/// The base against which to compare a new series of ours that may have been made by half: its master as the provider
/// has it, where that says what ours does. What else either side has it has added. `None` for what somebody has
/// changed since, and for a single event, which is made at once.
fn half_made(local: &Event, remote: &Event) -> Option<Event> {
    let (mut ours, theirs) = (bare(local)?, bare(remote)?);
    // some providers name what is made by themselves
    ours.uid.clone_from(&theirs.uid);
    if theirs.fields().is_some_and(|fields| fields.attendees.is_empty())
        && let Body::Series(Series { master: Some(master), .. }) = &mut ours.body
    {
        master.fields.attendees.clear();
    }
    version::is_same(&ours, &theirs).then_some(theirs)
}

/// A series without anything that departs from it.
fn bare(event: &Event) -> Option<Event> {
    let Body::Series(Series { master: Some(master), .. }) = &event.body else { return None };
    let master = Master { exclusions: BTreeSet::new(), ..master.clone() };
    let series = Series { master: Some(master), overrides: BTreeMap::new() };
    Some(Event { uid: event.uid.clone(), body: Body::Series(series) })
}

fn lacking(base: &Event, local: &Event, remote: &Event) -> Vec<RecurrenceId> {
    let Body::Series(series) = &base.body else { return Vec::new() };
    let (theirs, wanted) = (Sheet::of(remote), Sheet::of(local));
    let (Some(old), Some(new), Some(ours)) = (Sheet::of(base).master, theirs.master, wanted.master) else {
        return Vec::new();
    };
    if old.has_frame_of(&new) || !new.has_frame_of(&ours) {
        return Vec::new();
    }
    let is_lacking = |key: &RecurrenceId, over: &Override| {
        let mut alone =
            Series { master: series.master.clone(), overrides: BTreeMap::from([(*key, over.clone())]) };
        if let Some(master) = &mut alone.master {
            master.exclusions.clear();
        }
        let alone = Event { uid: base.uid.clone(), body: Body::Series(alone) };
        let placed = moved(&Sheet::of(&alone), Some(&new)).instances;
        let is_there = |key: &RecurrenceId| theirs.instances.contains_key(key);
        !placed.keys().any(is_there)
    };
    let changed = series.overrides.iter().filter(|(_, over)| matches!(over, Override::Changed(_)));
    changed.filter(|(key, over)| is_lacking(key, over)).map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{End, Fields, Rule, Uid, When};

    fn fields(wall: &str, title: &str) -> Fields {
        let mut fields = Fields::new(When::Floating(wall.parse().unwrap()), End::Unspecified);
        fields.title = Some(title.to_owned());
        fields
    }

    fn key(wall: &str) -> RecurrenceId {
        RecurrenceId::Wall(wall.parse().unwrap())
    }

    /// Every day at that hour; these days are called otherwise.
    fn daily(hour: &str, renamed: &[&str]) -> Event {
        let master = Master {
            fields: fields(&format!("2026-03-02T{hour}:00:00"), "Standup"),
            rules: vec![Rule("FREQ=DAILY".to_owned())],
            additions: BTreeMap::new(),
            exclusions: [key(&format!("2026-03-09T{hour}:00:00"))].into(),
        };
        let renamed = renamed.iter().map(|day| {
            let wall = format!("2026-03-{day}T{hour}:00:00");
            (key(&wall), Override::Changed(Box::new(fields(&wall, "Late"))))
        });
        let series = Series { master: Some(master), overrides: renamed.collect() };
        Event { uid: Uid::from("a"), body: Body::Series(series) }
    }

    fn kept(event: &Event) -> Vec<String> {
        let Body::Series(series) = &event.body else { panic!("no series") };
        series.overrides.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_provider_dropped_with_our_new_frame_is_still_to_be_put_back() {
        let (base, local) = (daily("10", &["03", "04"]), daily("11", &["03", "04"]));

        let halfway = broken_off(base.clone(), &local, &daily("11", &["03"]));
        let begun = broken_off(base, &local, &daily("11", &[]));

        assert_eq!(kept(&halfway), ["20260303T100000"]);
        assert!(kept(&begun).is_empty());
    }

    #[test]
    fn what_somebody_took_away_stays_away() {
        let base = daily("10", &["03", "04"]);

        for (local, remote) in [
            (daily("10", &["03", "04"]), daily("10", &["03"])),
            (daily("10", &["03", "04"]), daily("11", &[])),
            (daily("11", &["03", "04"]), daily("10", &["03"])),
            (daily("11", &["03", "04"]), daily("12", &[])),
        ] {
            assert_eq!(broken_off(base.clone(), &local, &remote), base);
        }
    }

    #[test]
    fn what_is_left_of_a_new_series_is_still_to_be_made() {
        let local = daily("10", &["03", "04"]);

        let base = half_made(&local, &daily("10", &["03"])).unwrap();

        assert!(kept(&base).is_empty(), "both sides have added what they have");
        assert_eq!(half_made(&local, &daily("11", &[])), None, "somebody has moved it since");
    }

    #[test]
    fn our_own_write_is_what_both_sides_agree_on_and_somebody_elses_is_not() {
        let single = |title: &str, place: Option<&str>| {
            let mut fields = fields("2026-03-02T10:00:00", title);
            fields.location = place.map(str::to_owned);
            Event { uid: Uid::from("a"), body: Body::Single(fields) }
        };
        let base = single("Review", None);
        let sent = single("Retro", Some("Room 1"));
        let moved_since = single("Retro", Some("Room 2"));
        let by_another = single("Planning", None);

        assert_eq!(found_again(Some(base.clone()), &sent, &sent), Some(sent.clone()));
        assert_eq!(found_again(Some(base.clone()), &sent, &moved_since), Some(sent.clone()));
        assert_eq!(found_again(Some(base.clone()), &sent, &base), Some(base.clone()), "it never arrived");
        assert_eq!(found_again(Some(base.clone()), &sent, &by_another), Some(base));
        assert_eq!(found_again(None, &sent, &moved_since), Some(sent), "it was made, and moved since");
    }
}
