//! What an event says after a request: everything is read and checked before anything is stored. Pure.

use calfleet_domain::model::{Body, Event, Fields, Master, ProviderKind, RecurrenceId, Series, Status, Uid};
use calfleet_domain::reconcile::edit::{self, Exclusions, Remastered};
use calfleet_domain::recurrence;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::findings::{Adjustment, Findings, Invalid};
use super::input::{EventInput, EventPatch, Given};
use super::limits::{LINE_CHARS, Limits};
use super::text::{self, Lines, Link};
use super::times::{self, TimeGround};
use super::{people, repeat};

/// Where an event is to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground {
    /// At which provider.
    pub(super) provider: ProviderKind,
    /// The calendar's zone.
    pub(super) zone: Option<Tz>,
}

/// What came of reading a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    /// What happens when.
    pub(super) body: Body,
    /// Times that could not be taken as they were given.
    pub(super) adjusted: Vec<Adjustment>,
    /// Instances that departed from the series and have no place in it any more.
    pub(super) lost: Vec<RecurrenceId>,
}

/// What a new event says.
pub(super) fn create(input: &EventInput, ground: Ground) -> Result<Draft, Vec<Invalid>> {
    change_whole(None, &input.0, ground)
}

/// What a whole event says after a change: a single one, or the master of a series and all that follows it.
/// `Invalid` is also said of a series whose master is not known.
pub(super) fn change_whole(
    before: Option<&Event>,
    patch: &EventPatch,
    ground: Ground,
) -> Result<Draft, Vec<Invalid>> {
    let (held, master) = match before.map(|event| &event.body) {
        None => (None, None),
        Some(Body::Single(fields)) => (Some(fields), None),
        Some(Body::Series(series)) => {
            let master = series.master.as_ref().ok_or_else(master_unknown)?;
            (Some(&master.fields), Some(master))
        }
    };
    let recurs = match &patch.recurrence {
        Given::Absent => master.is_some(),
        Given::Cleared => false,
        Given::Value(lines) => !lines.is_empty(),
    };
    let mut findings = Findings::default();
    let drafted = fields(held, patch, ground, recurs, &mut findings);
    let body = drafted.and_then(|fields| {
        let (master, source) = repeat::apply(patch, fields, master, ground.zone, &mut findings)?;
        let made = remade(before, master, source);
        happens(&made.body, &mut findings).then_some(made)
    });
    let (made, adjusted) = findings.sound(body)?;
    Ok(Draft { body: made.body, adjusted, lost: made.lost })
}

/// What one instance says after a change.
pub(super) fn change_instance(
    before: &Fields,
    patch: &EventPatch,
    ground: Ground,
) -> Result<(Fields, Vec<Adjustment>), Vec<Invalid>> {
    let mut findings = Findings::default();
    for (field, is_mentioned) in
        [("recurrence", patch.recurrence.is_mentioned()), ("exclusions", patch.exclusions.is_mentioned())]
    {
        if is_mentioned {
            let message = "One instance does not recur; change the series with scope=all or scope=following.";
            findings.refuse(field, "not_an_instance", message);
        }
    }
    let fields = fields(Some(before), patch, ground, false, &mut findings);
    findings.sound(fields)
}

fn master_unknown() -> Vec<Invalid> {
    let message = "Only some instances of this series are known; give scope=this and a recurrence_id.";
    vec![Invalid { field: "scope".to_owned(), code: "master_unknown", message: message.to_owned() }]
}

fn fields(
    before: Option<&Fields>,
    patch: &EventPatch,
    ground: Ground,
    recurs: bool,
    findings: &mut Findings,
) -> Option<Fields> {
    let times = TimeGround {
        before: before.map(|fields| (&fields.start, &fields.end)),
        calendar_zone: ground.zone,
        recurs,
    };
    let placed = times::apply(patch, &times, findings);
    // the rest is looked at all the same, so that everything that is wrong is said at once
    let (start, end) = match (placed.clone(), before) {
        (Some(placed), _) => placed,
        (None, Some(before)) => (before.start.clone(), before.end.clone()),
        (None, None) => return rest_of(patch, ground, findings),
    };
    let mut fields = before.cloned().unwrap_or_else(|| Fields::new(start.clone(), end.clone()));
    (fields.start, fields.end) = (start, end);
    others(patch, ground, &mut fields, findings);
    placed.map(|_| fields)
}

/// Looks at everything but the times of a new event that has none.
fn rest_of(patch: &EventPatch, ground: Ground, findings: &mut Findings) -> Option<Fields> {
    let epoch = calfleet_domain::model::When::Utc(DateTime::<Utc>::UNIX_EPOCH);
    let mut fields = Fields::new(epoch, calfleet_domain::model::End::Unspecified);
    others(patch, ground, &mut fields, findings);
    None
}

fn others(patch: &EventPatch, ground: Ground, fields: &mut Fields, findings: &mut Findings) {
    let limits = Limits::of(ground.provider);
    let description = (Lines::Many, limits.description_chars);
    text::apply(&patch.title, "title", (Lines::One, LINE_CHARS), &mut fields.title, findings);
    text::apply(&patch.description, "description", description, &mut fields.description, findings);
    text::apply(&patch.location, "location", (Lines::One, LINE_CHARS), &mut fields.location, findings);
    match &patch.url {
        Given::Absent => {}
        Given::Cleared => fields.url = None,
        Given::Value(url) => fields.url = text::link(url, "url", Link::Any, findings),
    }
    people::guests(&patch.attendees, &limits, fields, findings);
    people::reminders(&patch.reminders, &limits, fields, findings);
    people::conference(&patch.conference, ground.provider, fields, findings);
    set(&patch.transparency, &mut fields.transparency);
    set(&patch.visibility, &mut fields.visibility);
    set(&patch.status, &mut fields.status);
    if patch.status == Given::Value(Status::Cancelled) {
        findings.refuse("status", "not_offered", "To cancel an event, delete it.");
    }
}

fn set<T: Copy + Default>(given: &Given<T>, to: &mut T) {
    match given {
        Given::Absent => {}
        Given::Cleared => *to = T::default(),
        Given::Value(value) => *to = *value,
    }
}

fn remade(before: Option<&Event>, master: Master, source: Exclusions) -> Remastered {
    if let Some(before) = before {
        return edit::with_master(before, master, source);
    }
    let recurs = !master.rules.is_empty() || !master.additions.is_empty();
    let body = if recurs {
        Body::Series(Series { master: Some(master), overrides: std::collections::BTreeMap::new() })
    } else {
        Body::Single(master.fields)
    };
    Remastered { body, lost: Vec::new() }
}

/// Whether anything of a series takes place at all.
fn happens(body: &Body, findings: &mut Findings) -> bool {
    let Body::Series(Series { master: Some(master), .. }) = body else { return true };
    if master.exclusions.is_empty() {
        return true;
    }
    let event = Event { uid: Uid::from(""), body: body.clone() };
    if !recurrence::happens(&event) {
        let message = "The series has no instances: all of them are excluded.";
        findings.refuse("exclusions", "no_instances", message);
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUND: Ground = Ground { provider: ProviderKind::Google, zone: Some(Tz::Europe__Paris) };

    fn made(json: &str) -> Result<Draft, Vec<(String, &'static str)>> {
        let input: EventInput = serde_json::from_str(json).unwrap();
        create(&input, GROUND)
            .map_err(|invalid| invalid.into_iter().map(|one| (one.field, one.code)).collect())
    }

    fn at_eight(more: &str) -> String {
        format!(r#"{{"start": "2026-07-13T08:00:00", "end": "2026-07-13T09:00:00"{more}}}"#)
    }

    #[test]
    fn every_fault_of_a_request_is_named_at_once() {
        let long = "x".repeat(1_001);
        let json = format!(
            r#"{{"title": "{long}", "end": "2026-07-14", "url": "javascript:x", "status": "cancelled",
                "attendees": [{{"address": "nobody"}}]}}"#
        );

        let invalid = made(&json).unwrap_err();

        assert_eq!(
            invalid,
            [
                ("start".to_owned(), "required"),
                ("title".to_owned(), "too_long"),
                ("url".to_owned(), "not_a_link"),
                ("attendees.0.address".to_owned(), "not_an_address"),
                ("status".to_owned(), "not_offered"),
            ]
        );
    }

    #[test]
    fn rules_that_nothing_comes_of_are_refused() {
        for (recurrence, field, code) in [
            (r#"["RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"]"#, "recurrence.0", "no_instances"),
            (r#"["FREQ=DAILY;UNTIL=20260101T000000Z"]"#, "recurrence.0", "no_instances"),
            (r#"["FREQ=WEEKLY;BYDAY=WE"]"#, "recurrence.0", "start_not_in_rule"),
            (r#"["FREQ=OFTEN"]"#, "recurrence.0", "malformed"),
            (r#"["RSCALE=CHINESE;FREQ=YEARLY"]"#, "recurrence.0", "not_supported"),
            (r#"["FREQ=SECONDLY"]"#, "recurrence.0", "too_frequent"),
            (r#"["EXRULE:FREQ=DAILY"]"#, "recurrence.0", "malformed"),
            (r#"["FREQ=DAILY", "FREQ=WEEKLY"]"#, "recurrence", "too_many"),
            (r#"["FREQ=DAILY;COUNT=1", "EXDATE:20260713T060000Z"]"#, "exclusions", "no_instances"),
        ] {
            let read = made(&at_eight(&format!(r#", "recurrence": {recurrence}"#)));
            assert_eq!(read.unwrap_err(), [(field.to_owned(), code)], "{recurrence}");
        }
    }

    #[test]
    fn a_series_is_made_of_its_lines() {
        let draft = made(&at_eight(
            r#", "recurrence": ["RRULE:FREQ=WEEKLY;COUNT=4"], "exclusions": ["20260720T080000"]"#,
        ))
        .unwrap();

        let Body::Series(Series { master: Some(master), .. }) = draft.body else { panic!("a series") };
        assert_eq!(master.rules[0].0, "FREQ=WEEKLY;COUNT=4");
        assert_eq!(
            master.exclusions.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["20260720T080000"]
        );
    }

    #[test]
    fn what_is_not_mentioned_stays_and_null_clears() {
        let Draft { body, .. } = made(&at_eight(r#", "title": "Review", "location": "Room 2""#)).unwrap();
        let event = Event { uid: Uid::from("a"), body };
        let patch: EventPatch = serde_json::from_str(r#"{"location": null, "description": "x"}"#).unwrap();

        let changed = change_whole(Some(&event), &patch, GROUND).unwrap();

        let Body::Single(fields) = changed.body else { panic!("a single event") };
        assert_eq!(
            (fields.title.as_deref(), fields.location, fields.description.as_deref()),
            (Some("Review"), None, Some("x"))
        );
    }

    #[test]
    fn a_series_that_ends_recurring_names_the_instances_it_loses() {
        let Draft { body, .. } = made(&at_eight(r#", "recurrence": ["FREQ=WEEKLY"]"#)).unwrap();
        let event = Event { uid: Uid::from("a"), body };
        let (key, mut fields) = edit::instance(&event, &"20260720T080000".parse().unwrap()).unwrap();
        fields.title = Some("Other".to_owned());
        let event = edit::with_instance(&event, key, Some(fields));
        let patch: EventPatch = serde_json::from_str(r#"{"recurrence": null}"#).unwrap();

        let draft = change_whole(Some(&event), &patch, GROUND).unwrap();

        assert!(matches!(draft.body, Body::Single(_)));
        assert_eq!(draft.lost, [key]);
    }
}
