//! The one definition of "means the same": every atom as canonical bytes.
//!
//! Left out are stamps, defaults, the order of sets, line ends, white space at the end of lines, the composition of
//! letters (NFC), names of the same zone, and the spelling of a length as end or duration. Bytes go straight into
//! a [`Sink`], a hash or a buffer to compare; no tree is built. Texts end with a byte that UTF-8 never holds,
//! so that two fields cannot run into each other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use sha2::{Digest, Sha256};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::diff::Atom;
use crate::model::{
    Attendee, AttendeeKind, AttendeeRole, ConferenceType, End, Fields, Master, ParticipationStatus,
    RecurrenceId, Reminder, Status, Transparency, Visibility, When, Zone,
};

/// Where canonical bytes go.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Sha256 {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Ends every text; never a byte of UTF-8.
const END_OF_TEXT: u8 = 0xff;

/// Whether a length belongs to one point in time or to every instance of a rule, where a change of the clocks tells
/// nominal from exact lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recurs {
    No,
    Yes,
}

impl Recurs {
    pub(super) fn of(master: &Master) -> Self {
        if master.rules.is_empty() && master.additions.is_empty() { Self::No } else { Self::Yes }
    }
}

/// The atoms that every event has, in the order in which they are hashed. Guests are apart.
pub(super) const FIXED: [Atom; 12] = [
    Atom::When,
    Atom::Place,
    Atom::Title,
    Atom::Text,
    Atom::Url,
    Atom::Organizer,
    Atom::Reminders,
    Atom::Status,
    Atom::Visibility,
    Atom::Transparency,
    Atom::Categories,
    Atom::Color,
];

/// The mark of an atom in the hash; a mark is never used again for something else.
fn mark(atom: &Atom) -> u8 {
    match atom {
        Atom::When => 1,
        Atom::Place => 2,
        Atom::Title => 3,
        Atom::Text => 4,
        Atom::Url => 5,
        Atom::Organizer => 6,
        Atom::Reminders => 7,
        Atom::Status => 8,
        Atom::Visibility => 9,
        Atom::Transparency => 10,
        Atom::Categories => 11,
        Atom::Color => 12,
        Atom::Guest(_) => 13,
        Atom::Answer(_) => 14,
        Atom::Existence => 15,
    }
}

/// Writes all atoms; those that say nothing are left out, so that a field added later moves no old hash.
pub(super) fn write_fields(fields: &Fields, recurs: Recurs, sink: &mut impl Sink) {
    let mut bytes = Vec::with_capacity(64);
    for atom in &FIXED {
        // The description is the long one: straight into the sink.
        if *atom == Atom::Text {
            if !is_blank(fields.description.as_deref()) {
                sink.put(&[mark(atom)]);
                write_text(fields.description.as_deref(), sink);
            }
            continue;
        }
        bytes.clear();
        write_atom(atom, fields, recurs, &mut bytes);
        if !bytes.is_empty() {
            sink.put(&[mark(atom)]);
            sink.put(&bytes);
        }
    }
    for guest in guests(fields) {
        bytes.clear();
        write_guest(guest, &mut bytes);
        write_answer(guest, &mut bytes);
        sink.put(&[13]);
        sink.put(&bytes);
    }
}

/// Writes the atoms in which an override departs from what its instance inherits; returns whether there were any.
pub(super) fn write_departures(inherited: &Inherited<'_>, own: &Fields, sink: &mut impl Sink) -> bool {
    let mut departs = false;
    for atom in departures(inherited, own) {
        departs = true;
        sink.put(&[mark(&atom)]);
        if let Atom::Guest(address) | Atom::Answer(address) = &atom {
            write_text(Some(address), sink);
        }
        write_atom(&atom, own, Recurs::No, sink);
        sink.put(&[END_OF_TEXT]);
    }
    departs
}

/// What an instance has where its override says nothing: the master's fields at the instance's time.
#[derive(Debug, Clone)]
pub(super) struct Inherited<'a> {
    /// The master's fields; their start and end are those of the first instance.
    pub(super) fields: &'a Fields,
    /// Start of the instance.
    pub(super) start: When,
    /// Its end.
    pub(super) end: End,
}

impl<'a> Inherited<'a> {
    pub(super) fn of(master: &'a Fields, key: &RecurrenceId) -> Self {
        let start = start_at(&master.start, key);
        let end = match &master.end {
            End::At(end) => match (seconds_between(&master.start, end), &start) {
                (Some(seconds), When::Zoned { zone: Zone::Iana(_), .. }) => end_after(&start, end, seconds),
                _ => End::At(end.with_wall(end.wall() + (start.wall() - master.start.wall()))),
            },
            other => other.clone(),
        };
        Self { fields: master, start, end }
    }
}

/// The end `seconds` after a start, in the form and zone of `like`.
fn end_after(start: &When, like: &When, seconds: i64) -> End {
    let instant = instant_of(start).and_then(|start| start.checked_add_signed(TimeDelta::seconds(seconds)));
    match (instant, like) {
        (Some(instant), When::Zoned { zone: Zone::Iana(zone), .. }) => {
            End::At(like.with_wall(instant.with_timezone(zone).naive_local()))
        }
        (Some(instant), _) => End::At(When::Utc(instant)),
        (None, _) => End::At(like.clone()),
    }
}

/// The atoms in which an override differs from what its instance inherits.
pub(super) fn departures(inherited: &Inherited<'_>, own: &Fields) -> Vec<Atom> {
    let mut atoms = Vec::new();
    let (mut one, mut other) = (Vec::new(), Vec::new());
    write_when(&inherited.start, &inherited.end, Recurs::No, &mut one);
    write_when(&own.start, &own.end, Recurs::No, &mut other);
    if one != other {
        atoms.push(Atom::When);
    }
    differing(inherited.fields, own, &mut atoms);
    atoms
}

/// The atoms, but for *when*, in which two sets of fields differ.
pub(super) fn differing(one: &Fields, other: &Fields, atoms: &mut Vec<Atom>) {
    for atom in FIXED.iter().filter(|atom| **atom != Atom::When) {
        if !is_same(atom, one, other, Recurs::No) {
            atoms.push(atom.clone());
        }
    }
    if one.attendees == other.attendees {
        return;
    }
    let addresses = guests(one).into_iter().chain(guests(other)).map(|guest| address_of(guest).into_owned());
    let addresses: std::collections::BTreeSet<String> = addresses.collect();
    for address in addresses {
        for atom in [Atom::Guest(address.clone()), Atom::Answer(address)] {
            if !is_same(&atom, one, other, Recurs::No) {
                atoms.push(atom);
            }
        }
    }
}

/// Whether an atom means the same on both sides.
pub(super) fn is_same(atom: &Atom, one: &Fields, other: &Fields, recurs: Recurs) -> bool {
    if is_equal(atom, one, other) {
        return true;
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    write_atom(atom, one, recurs, &mut left);
    write_atom(atom, other, recurs, &mut right);
    left == right
}

/// The cheap half of [`is_same`]: equal as written.
fn is_equal(atom: &Atom, one: &Fields, other: &Fields) -> bool {
    match atom {
        Atom::When => one.start == other.start && one.end == other.end,
        Atom::Place => one.location == other.location && one.conference == other.conference,
        Atom::Title => one.title == other.title,
        Atom::Text => one.description == other.description,
        Atom::Url => one.url == other.url,
        Atom::Organizer => one.organizer == other.organizer,
        Atom::Reminders => one.reminders == other.reminders,
        Atom::Status => one.status == other.status,
        Atom::Visibility => one.visibility == other.visibility,
        Atom::Transparency => one.transparency == other.transparency,
        Atom::Categories => one.categories == other.categories,
        Atom::Color => one.color == other.color,
        Atom::Guest(_) | Atom::Answer(_) => one.attendees == other.attendees,
        Atom::Existence => true,
    }
}

/// Writes one atom; nothing for one that says nothing.
pub(super) fn write_atom(atom: &Atom, fields: &Fields, recurs: Recurs, sink: &mut impl Sink) {
    match atom {
        Atom::When => write_when(&fields.start, &fields.end, recurs, sink),
        Atom::Place => write_place(fields, sink),
        Atom::Title => write_present(fields.title.as_deref(), sink),
        Atom::Text => write_present(fields.description.as_deref(), sink),
        Atom::Url => write_present(fields.url.as_deref(), sink),
        Atom::Organizer => {
            if let Some(organizer) = &fields.organizer {
                write_text(Some(&lower(&organizer.address)), sink);
                write_text(organizer.name.as_deref(), sink);
            }
        }
        Atom::Reminders => write_reminders(&fields.reminders, sink),
        Atom::Status => match fields.status {
            Status::Confirmed => {}
            Status::Tentative => sink.put(b"t"),
            Status::Cancelled => sink.put(b"c"),
        },
        Atom::Visibility => match fields.visibility {
            Visibility::Public => {}
            Visibility::Private => sink.put(b"p"),
            Visibility::Confidential => sink.put(b"c"),
        },
        Atom::Transparency => match fields.transparency {
            Transparency::Opaque => {}
            Transparency::Transparent => sink.put(b"t"),
        },
        Atom::Categories => write_categories(&fields.categories, sink),
        Atom::Color => {
            if !is_blank(fields.color.as_deref()) {
                write_text(fields.color.as_deref().map(lower).as_deref(), sink);
            }
        }
        Atom::Guest(address) => guest(fields, address).into_iter().for_each(|guest| write_guest(guest, sink)),
        Atom::Answer(address) => {
            guest(fields, address).into_iter().for_each(|guest| write_answer(guest, sink));
        }
        Atom::Existence => {}
    }
}

fn write_place(fields: &Fields, sink: &mut impl Sink) {
    if is_blank(fields.location.as_deref()) && fields.conference.is_none() {
        return;
    }
    write_text(fields.location.as_deref(), sink);
    if let Some(conference) = &fields.conference {
        sink.put(match conference.kind {
            ConferenceType::GoogleMeet => b"g",
            ConferenceType::MicrosoftTeams => b"m",
            ConferenceType::Custom => b"c",
        });
        write_text(Some(&conference.link), sink);
    }
}

fn write_reminders(reminders: &[Reminder], sink: &mut impl Sink) {
    let mut sorted: Vec<&Reminder> = reminders.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    for reminder in sorted {
        let (kind, number) = match reminder {
            Reminder::BeforeStart(seconds) => (b"s", *seconds),
            Reminder::BeforeEnd(seconds) => (b"e", *seconds),
            Reminder::At(instant) => (b"a", instant.0),
        };
        sink.put(kind);
        write_number(number, sink);
    }
}

fn write_categories(categories: &[String], sink: &mut impl Sink) {
    let mut texts: Vec<Vec<u8>> = Vec::with_capacity(categories.len());
    for category in categories.iter().filter(|category| !is_blank(Some(category))) {
        let mut bytes = Vec::with_capacity(category.len() + 1);
        write_text(Some(category), &mut bytes);
        texts.push(bytes);
    }
    texts.sort_unstable();
    texts.dedup();
    texts.iter().for_each(|text| sink.put(text));
}

/// Guests in the order of their addresses, each address once.
pub(super) fn guests(fields: &Fields) -> Vec<&Attendee> {
    let mut guests: Vec<&Attendee> = fields.attendees.iter().collect();
    guests.sort_by_cached_key(|guest| address_of(guest).into_owned());
    guests.dedup_by(|later, earlier| address_of(later) == address_of(earlier));
    guests
}

/// The guest of an address in canonical form.
pub(super) fn guest<'a>(fields: &'a Fields, address: &str) -> Option<&'a Attendee> {
    fields.attendees.iter().find(|guest| address_of(guest) == address)
}

/// A guest's address in the form in which addresses are compared.
pub(super) fn address_of(guest: &Attendee) -> Cow<'_, str> {
    lower(guest.address.trim())
}

fn write_guest(guest: &Attendee, sink: &mut impl Sink) {
    write_text(Some(&address_of(guest)), sink);
    write_text(guest.name.as_deref(), sink);
    let role = match guest.role {
        AttendeeRole::Required => 0,
        AttendeeRole::Chair => 1,
        AttendeeRole::Optional => 2,
        AttendeeRole::NonParticipant => 3,
    };
    let kind = match guest.kind {
        AttendeeKind::Individual => 0,
        AttendeeKind::Group => 1,
        AttendeeKind::Resource => 2,
        AttendeeKind::Room => 3,
        AttendeeKind::Unknown => 4,
    };
    sink.put(&[role, kind]);
}

fn write_answer(guest: &Attendee, sink: &mut impl Sink) {
    let status = match guest.status {
        ParticipationStatus::NeedsAction => 0,
        ParticipationStatus::Accepted => 1,
        ParticipationStatus::Declined => 2,
        ParticipationStatus::Tentative => 3,
        ParticipationStatus::Delegated => 4,
    };
    if status != 0 || !is_blank(guest.comment.as_deref()) {
        sink.put(&[status]);
        write_text(guest.comment.as_deref(), sink);
    }
}

/// Start and length; the same for an end and a duration that mean the same.
pub(super) fn write_when(start: &When, end: &End, recurs: Recurs, sink: &mut impl Sink) {
    write_point(start, sink);
    match extent(start, end, recurs) {
        Extent::Days(days) => {
            sink.put(b"d");
            write_number(days, sink);
        }
        Extent::Seconds(seconds) => {
            sink.put(b"s");
            write_number(seconds, sink);
        }
        Extent::Nominal { days, seconds } => {
            sink.put(b"n");
            write_number(days, sink);
            write_number(seconds, sink);
        }
        Extent::Apart(end) => {
            sink.put(b"a");
            write_point(end, sink);
        }
    }
}

/// How long something lasts, as far as that can be said without its place in time.
enum Extent<'a> {
    /// Whole days of an all-day event.
    Days(i64),
    /// Exact seconds.
    Seconds(i64),
    /// Days on the calendar and seconds: they differ from exact seconds where clocks change.
    Nominal { days: i64, seconds: i64 },
    /// An end in another form or zone than the start, or in a zone without a name: as written.
    Apart(&'a When),
}

const SECONDS_PER_DAY: i64 = 86_400;

fn extent<'a>(start: &When, end: &'a End, recurs: Recurs) -> Extent<'a> {
    if let When::Date(first) = start {
        return match end {
            End::At(When::Date(after)) => Extent::Days((*after - *first).num_days().max(1)),
            End::At(other) => Extent::Apart(other),
            End::After(length) => {
                let started = i64::from(length.seconds).div_euclid(SECONDS_PER_DAY)
                    + i64::from(i64::from(length.seconds) % SECONDS_PER_DAY != 0);
                Extent::Days((i64::from(length.days) + started).max(1))
            }
            End::Unspecified => Extent::Days(1),
        };
    }
    match end {
        End::At(end) if is_same_form(start, end) => {
            seconds_between(start, end).map_or(Extent::Apart(end), Extent::Seconds)
        }
        End::At(end) => Extent::Apart(end),
        End::Unspecified => Extent::Seconds(0),
        End::After(length) => {
            let (days, seconds) = (i64::from(length.days), i64::from(length.seconds));
            if days == 0 {
                return Extent::Seconds(seconds);
            }
            match (start, recurs) {
                (When::Zoned { wall, .. }, Recurs::No) => {
                    let nominal = start.with_wall(*wall + TimeDelta::days(days));
                    match seconds_between(start, &nominal) {
                        Some(exact) => Extent::Seconds(exact + seconds),
                        None => Extent::Nominal { days, seconds },
                    }
                }
                (When::Zoned { zone, .. }, Recurs::Yes) if !is_utc(zone) => Extent::Nominal { days, seconds },
                _ => Extent::Seconds(days * SECONDS_PER_DAY + seconds),
            }
        }
    }
}

/// Whether two points are written in the same form and zone.
fn is_same_form(one: &When, other: &When) -> bool {
    match (one, other) {
        (When::Floating(_), When::Floating(_)) => true,
        (When::Zoned { zone: Zone::Iana(one), .. }, When::Zoned { zone: Zone::Iana(other), .. }) => {
            preferred(*one) == preferred(*other)
        }
        _ => is_instant(one) && is_instant(other),
    }
}

fn is_instant(point: &When) -> bool {
    match point {
        When::Utc(_) => true,
        When::Zoned { zone, .. } => is_utc(zone),
        When::Date(_) | When::Floating(_) => false,
    }
}

fn is_utc(zone: &Zone) -> bool {
    matches!(zone, Zone::Iana(zone) if preferred(*zone) == Tz::Etc__UTC)
}

/// Exact seconds from one point to another; `None` where that cannot be said without a reader's zone or without
/// evaluating rules that came with the event.
fn seconds_between(start: &When, end: &When) -> Option<i64> {
    if let (When::Floating(start), When::Floating(end)) = (start, end) {
        return Some((*end - *start).num_seconds());
    }
    Some((instant_of(end)? - instant_of(start)?).num_seconds())
}

/// The instant of a point in a known zone; in a gap of the clocks the offset before it counts, in an overlap the
/// first occurrence (RFC 5545 §3.3.5).
pub(super) fn instant_of(point: &When) -> Option<DateTime<Utc>> {
    match point {
        When::Utc(instant) => Some(*instant),
        When::Zoned { wall, zone: Zone::Iana(zone) } => {
            let offset = zone.offset_from_local_datetime(wall).earliest().or_else(|| {
                // No gap of the zone data is longer than a day.
                let before = wall.checked_sub_signed(TimeDelta::days(1))?;
                zone.offset_from_local_datetime(&before).latest()
            })?;
            wall.checked_sub_signed(TimeDelta::seconds(i64::from(offset.fix().local_minus_utc())))
                .map(|utc| utc.and_utc())
        }
        _ => None,
    }
}

/// The start of the instance of that key, in the form of the master's start.
pub(super) fn start_at(master: &When, key: &RecurrenceId) -> When {
    match key_in(master, key) {
        RecurrenceId::Date(date) => match master {
            When::Date(_) => When::Date(date),
            _ => master.with_wall(date.and_time(master.wall().time())),
        },
        RecurrenceId::Wall(wall) => master.with_wall(wall),
        RecurrenceId::Utc(instant) => match master {
            When::Utc(_) => When::Utc(instant),
            _ => master.with_wall(instant.naive_utc()),
        },
    }
}

/// A key in the form of its series: wall time in the zone of the start, a date, or UTC.
pub(super) fn key_in(start: &When, key: &RecurrenceId) -> RecurrenceId {
    match (start, key) {
        (When::Utc(_), RecurrenceId::Wall(wall)) => RecurrenceId::Utc(wall.and_utc()),
        (When::Zoned { zone, .. }, RecurrenceId::Wall(wall)) if is_utc(zone) => {
            RecurrenceId::Utc(wall.and_utc())
        }
        (When::Zoned { zone: Zone::Iana(zone), .. }, RecurrenceId::Utc(instant))
            if preferred(*zone) != Tz::Etc__UTC =>
        {
            RecurrenceId::Wall(instant.with_timezone(zone).naive_local())
        }
        _ => *key,
    }
}

fn write_point(point: &When, sink: &mut impl Sink) {
    match point {
        When::Date(date) => {
            sink.put(b"D");
            write_number(i64::from(chrono::Datelike::num_days_from_ce(date)), sink);
        }
        When::Floating(wall) => {
            sink.put(b"F");
            write_wall(wall, sink);
        }
        When::Utc(instant) => {
            sink.put(b"U");
            write_wall(&instant.naive_utc(), sink);
        }
        When::Zoned { wall, zone } if is_utc(zone) => {
            sink.put(b"U");
            write_wall(wall, sink);
        }
        When::Zoned { wall, zone: Zone::Iana(zone) } => {
            sink.put(b"Z");
            write_wall(wall, sink);
            write_text(Some(preferred(*zone).name()), sink);
        }
        When::Zoned { wall, zone: Zone::Custom(zone) } => {
            // A TZID of its own is only a label: the rules are the zone.
            sink.put(b"C");
            write_wall(wall, sink);
            for observance in &zone.observances {
                write_wall(&observance.onset, sink);
                write_text(observance.rule.as_ref().map(|rule| rule.0.as_str()), sink);
                observance.onsets.iter().for_each(|onset| write_wall(onset, sink));
                write_number(i64::from(observance.offset_before_seconds), sink);
                write_number(i64::from(observance.offset_after_seconds), sink);
            }
            sink.put(&[END_OF_TEXT]);
        }
    }
}

/// Writes a key, in the form of its series.
pub(super) fn write_key(key: &RecurrenceId, sink: &mut impl Sink) {
    match key {
        RecurrenceId::Date(date) => {
            sink.put(b"D");
            write_number(i64::from(chrono::Datelike::num_days_from_ce(date)), sink);
        }
        RecurrenceId::Wall(wall) => {
            sink.put(b"W");
            write_wall(wall, sink);
        }
        RecurrenceId::Utc(instant) => {
            sink.put(b"U");
            write_wall(&instant.naive_utc(), sink);
        }
    }
}

fn write_wall(wall: &NaiveDateTime, sink: &mut impl Sink) {
    write_number(wall.and_utc().timestamp(), sink);
}

fn write_number(number: i64, sink: &mut impl Sink) {
    sink.put(&number.to_be_bytes());
}

/// A text that says something, else nothing.
fn write_present(text: Option<&str>, sink: &mut impl Sink) {
    if !is_blank(text) {
        write_text(text, sink);
    }
}

/// Writes a text in NFC, with `\n` between lines, without white space at the end of lines or of the whole.
pub(super) fn write_text(text: Option<&str>, sink: &mut impl Sink) {
    let text = text.unwrap_or_default();
    let text = if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    };
    let text = if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        text
    } else {
        Cow::Owned(text.nfc().collect())
    };
    let mut line_ends = 0_usize;
    for line in text.split('\n').map(str::trim_end) {
        if !line.is_empty() {
            (0..line_ends).for_each(|_| sink.put(b"\n"));
            line_ends = 0;
            sink.put(line.as_bytes());
        }
        line_ends += 1;
    }
    sink.put(&[END_OF_TEXT]);
}

/// Whether a text is absent or has nothing but white space.
pub(super) fn is_blank(text: Option<&str>) -> bool {
    text.is_none_or(|text| text.trim().is_empty())
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_uppercase) { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) }
}

/// The one name among those that mean the same zone.
pub(super) fn preferred(zone: Tz) -> Tz {
    static LINKS: LazyLock<HashMap<Tz, Tz>> = LazyLock::new(|| {
        include_str!("data/zone_links.tsv")
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter_map(|(name, preferred)| Some((name.parse().ok()?, preferred.parse().ok()?)))
            .collect()
    });
    LINKS.get(&zone).copied().unwrap_or(zone)
}
