//! Our nouns → what Graph is sent: a new event whole, of a held one only what differs, laid over its raw payload.
//!
//! What is not mentioned in a patch stays at Graph (`Update event`); properties are replaced whole, and so are lists.
//! So nothing is mentioned that did not change, and lists and bodies start from the raw ones.

use std::collections::BTreeSet;

use calfleet_domain::model::{
    self, Conference, ConferenceStatus, ConferenceType, Event, Fields, Master, Override, ParticipationStatus,
    RecurrenceId, Reminder, Series, Transparency, Visibility,
};
use calfleet_domain::reconcile::diff::{differing_fields, has_same_frame};
use calfleet_domain::reconcile::{Atom, has_instance};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::normalise::Setting;
use super::recurrence::NoPattern;
use super::{body, fields, guests, spans, wire};
use crate::instances::has_stray;

/// The body of a request, or the raw payload that it is laid over.
pub(super) type Body = Map<String, Value>;

/// The named property by which we find what we made; its value is the transaction id, so that it does not fit a copy.
pub(super) const MARKER: &str = "String {8d1f6f0b-6f7c-4a53-9c0e-5c1a8b0c5d27} Name calfleet";

/// What Graph cannot be told; completes "this provider cannot …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsayable {
    #[error("repeat an event in a time zone with rules of its own")]
    CustomZone,
    #[error("repeat an event by more or less than one rule")]
    SeveralRules,
    #[error("add single dates to a series")]
    Additions,
    #[error("{0}")]
    Pattern(NoPattern),
    #[error("make instances of a series without the series")]
    NoMaster,
    #[error("change an instance that its series does not have")]
    NoInstance,
    #[error("bring back a deleted instance of a series")]
    Revival,
    #[error("take an answer back; accept, decline or accept tentatively")]
    NoAnswer,
    #[error("change the description of this online meeting, which would lose its link")]
    JoinBlock,
    #[error("change an event that has guests without mailing them")]
    Silence,
    #[error("mail some guests of an event and not the others")]
    Choice,
}

/// What a write of a copy may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everything.
    Everything,
    /// A guest's copy: what is personal; and the own answer, where the owner's address is known.
    Own(Option<String>),
}

impl Reach {
    /// By Graph's own flag, never by comparing addresses.
    pub(super) fn of(raw: &Body, setting: &Setting) -> Self {
        let has_organizer = raw.get("organizer").is_some_and(|organizer| !organizer.is_null());
        match raw.get("isOrganizer") {
            Some(Value::Bool(false)) if has_organizer || guests::is_any(raw) => {
                Self::Own(setting.owner.clone())
            }
            _ => Self::Everything,
        }
    }

    fn admits(&self, atom: &Atom) -> bool {
        match self {
            Self::Everything => true,
            Self::Own(_) => atom.is_personal() && !matches!(atom, Atom::Answer(_)),
        }
    }
}

/// An answer to an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The action: `accept`, `decline`, `tentativelyAccept`.
    pub(super) verb: &'static str,
    /// What is said with it.
    pub(super) comment: Option<String>,
}

/// The answer that the owner of a guest's copy gives by saying `after` where it said `before`.
pub(super) fn answer(
    reach: &Reach,
    (before, after): (&Fields, &Fields),
) -> Result<Option<Answer>, Unsayable> {
    let Reach::Own(Some(own)) = reach else { return Ok(None) };
    if !differing_fields(before, after).contains(&Atom::Answer(own.clone())) {
        return Ok(None);
    }
    let Some(guest) = after.attendees.iter().find(|guest| guest.address.eq_ignore_ascii_case(own)) else {
        return Ok(None);
    };
    let verb = match guest.status {
        ParticipationStatus::Accepted => "accept",
        ParticipationStatus::Declined => "decline",
        ParticipationStatus::Tentative => "tentativelyAccept",
        ParticipationStatus::NeedsAction | ParticipationStatus::Delegated => return Err(Unsayable::NoAnswer),
    };
    Ok(Some(Answer { verb, comment: guest.comment.clone() }))
}

/// Whether Graph mails somebody about a patch of an event, or about its deletion. It does not ask.
pub(super) fn mails(raw: &Body, patch: &Body, setting: &Setting) -> bool {
    Reach::of(raw, setting) == Reach::Everything && (guests::is_any(raw) || guests::is_any(patch))
}

/// Whether there is anything in an event that cannot be said, or in what it becomes.
pub(super) fn check(before: Option<&Event>, after: &Event) -> Result<(), Unsayable> {
    let Some((_, Some((series, master)))) = face(after) else { return Ok(()) };
    spans::pattern(master, None)?;
    let Some((_, Some((old_series, old)))) = before.and_then(face) else { return Ok(()) };
    let is_out = |series: &Series, master: &Master, key: &RecurrenceId| {
        master.exclusions.contains(key) || series.overrides.get(key) == Some(&Override::Cancelled)
    };
    let cancelled = old_series.overrides.keys().filter(|key| is_out(old_series, old, key));
    let mut left_out = old.exclusions.iter().chain(cancelled);
    let comes_back = |key: &RecurrenceId| !is_out(series, master, key) && has_instance(master, key);
    if has_same_frame(old, master) && left_out.any(comes_back) {
        return Err(Unsayable::Revival);
    }
    Ok(())
}

/// A new event: the single event, or the master; what departs from it is written afterwards.
pub(super) fn new_event(
    (transaction, mark): (Uuid, &str),
    event: &Event,
    setting: &Setting,
) -> Result<Body, Unsayable> {
    let (fields, series) = face(event).ok_or(Unsayable::NoMaster)?;
    let mut body = whole(fields, setting)?;
    if let Some((series, master)) = series {
        if has_stray(series, master) {
            return Err(Unsayable::NoInstance);
        }
        body.insert("recurrence".to_owned(), spans::pattern(master, setting.zone)?);
    }
    put_meeting(&mut body, fields, &Body::new());
    let marker = json!([{ "id": MARKER, "value": mark }]);
    body.insert("transactionId".to_owned(), json!(transaction.hyphenated().to_string()));
    body.insert("singleValueExtendedProperties".to_owned(), marker);
    Ok(body)
}

/// Everything that a set of fields says, over nothing.
fn whole(fields: &Fields, setting: &Setting) -> Result<Body, Unsayable> {
    let empty = Fields::new(fields.start.clone(), fields.end.clone());
    let mut atoms = differing_fields(&empty, fields);
    atoms.extend([Atom::When, Atom::Reminders]);
    say(&atoms, fields, &Body::new(), setting)
}

/// What has to be patched so that a single event or an instance says `after` where it said `before`.
pub(super) fn changes(
    (before, after): (&Fields, &Fields),
    raw: &Body,
    setting: &Setting,
) -> Result<Body, Unsayable> {
    patch(differing_fields(before, after), after, raw, setting)
}

/// The same of a whole object: a single event or a master, either of which may become the other.
pub(super) fn object_changes(
    (before, after): (&Event, &Event),
    raw: &Body,
    setting: &Setting,
) -> Result<Body, Unsayable> {
    let (Some((old, old_series)), Some((new, new_series))) = (face(before), face(after)) else {
        return Err(Unsayable::NoMaster);
    };
    let mut atoms = differing_fields(old, new);
    let recurs_anew = match (old_series, new_series) {
        (Some((_, old)), Some((_, new))) => !has_same_frame(old, new),
        (None, None) => false,
        _ => true,
    };
    if recurs_anew && new_series.is_some() {
        atoms.insert(Atom::When);
    }
    let has_conference = atoms.contains(&Atom::Conference);
    let mut body = patch(atoms, new, raw, setting)?;
    if Reach::of(raw, setting) != Reach::Everything {
        return Ok(body);
    }
    if recurs_anew {
        let pattern = match new_series {
            Some((_, master)) => spans::pattern(master, setting.zone)?,
            None => Value::Null,
        };
        body.insert("recurrence".to_owned(), pattern);
    }
    if has_conference {
        put_meeting(&mut body, new, raw);
    }
    Ok(body)
}

/// The fields of a single event or a master, with its series.
type Face<'e> = (&'e Fields, Option<(&'e Series, &'e Master)>);

pub(super) fn face(event: &Event) -> Option<Face<'_>> {
    match &event.body {
        model::Body::Single(fields) => Some((fields, None)),
        model::Body::Series(series) => {
            let master = series.master.as_ref()?;
            Some((&master.fields, Some((series, master))))
        }
    }
}

fn patch(
    mut atoms: BTreeSet<Atom>,
    after: &Fields,
    raw: &Body,
    setting: &Setting,
) -> Result<Body, Unsayable> {
    let reach = Reach::of(raw, setting);
    atoms.retain(|atom| reach.admits(atom));
    say(&atoms, after, raw, setting)
}

fn say(atoms: &BTreeSet<Atom>, after: &Fields, raw: &Body, setting: &Setting) -> Result<Body, Unsayable> {
    let mut body = Body::new();
    for atom in atoms {
        let (name, value) = match atom {
            Atom::When => {
                spans::put(&mut body, after, setting.zone);
                continue;
            }
            Atom::Location => {
                ("location", json!({ "displayName": after.location.as_deref().unwrap_or_default() }))
            }
            Atom::Title => ("subject", json!(after.title.as_deref().unwrap_or_default())),
            Atom::Text => ("body", text(after, raw)?),
            Atom::Reminders => {
                put_reminder(&mut body, &after.reminders);
                continue;
            }
            Atom::Visibility => ("sensitivity", json!(sensitivity(after.visibility))),
            Atom::Transparency => ("showAs", json!(shown_as(after.transparency))),
            Atom::Categories => ("categories", json!(after.categories)),
            Atom::Guest(_) if body.contains_key("attendees") => continue,
            Atom::Guest(_) => ("attendees", Value::Array(guests::list(raw, after, atoms))),
            // Graph has no place for these, and answers are their givers'.
            Atom::Answer(_)
            | Atom::Url
            | Atom::Status
            | Atom::Color
            | Atom::Organizer
            | Atom::Conference
            | Atom::Existence => {
                continue;
            }
        };
        body.insert(name.to_owned(), value);
    }
    Ok(body)
}

fn text(after: &Fields, raw: &Body) -> Result<Value, Unsayable> {
    let held: wire::Event = serde_json::from_value(Value::Object(raw.clone())).unwrap_or_default();
    body::with_text(&held, after.description.as_deref()).map_err(|_| Unsayable::JoinBlock)
}

/// The one that Graph holds: the last before the start. Both properties, because Graph sets one by itself otherwise.
fn put_reminder(body: &mut Body, wanted: &[Reminder]) {
    let minutes = wanted.iter().filter_map(|reminder| match reminder {
        Reminder::BeforeStart(seconds) => Some(seconds.div_euclid(60)),
        Reminder::BeforeEnd(_) | Reminder::At(_) => None,
    });
    let minutes = minutes.filter(|minutes| i32::try_from(*minutes).is_ok_and(|minutes| minutes >= 0)).min();
    body.insert("isReminderOn".to_owned(), json!(minutes.is_some()));
    if let Some(minutes) = minutes {
        body.insert("reminderMinutesBeforeStart".to_owned(), json!(minutes));
    }
}

fn sensitivity(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "normal",
        Visibility::Private => "private",
        Visibility::Confidential => "confidential",
    }
}

fn shown_as(transparency: Transparency) -> &'static str {
    match transparency {
        Transparency::Opaque => "busy",
        Transparency::Transparent => "free",
    }
}

/// A Teams meeting that is wanted and was never asked for. One that is there stays: Graph cannot take it away.
fn put_meeting(body: &mut Body, fields: &Fields, raw: &Body) {
    let pending = Conference::without_link(ConferenceType::MicrosoftTeams, ConferenceStatus::Pending);
    if fields.conference.as_ref() == Some(&pending) && raw.get("isOnlineMeeting") != Some(&json!(true)) {
        body.insert("isOnlineMeeting".to_owned(), json!(true));
        body.insert("onlineMeetingProvider".to_owned(), json!(fields::TEAMS));
    }
}

#[cfg(test)]
mod tests;
