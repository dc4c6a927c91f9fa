//! The one definition of "means the same": every atom as canonical bytes.
//!
//! Left out are stamps, defaults, the order of sets, line ends, white space at the end of lines, the composition of
//! letters (NFC), names of the same zone, and the spelling of a length as end or duration. Bytes go straight into
//! one buffer, to be hashed or compared; no tree is built. Texts end with a byte that UTF-8 never holds, so that two
//! fields cannot run into each other.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::diff::Atom;
use super::point::{Recurs, write_when};
use crate::model::{
    Attendee, AttendeeKind, AttendeeRole, Conference, ConferenceStatus, ConferenceType, Fields,
    ParticipationStatus, Reminder, Status, Transparency, Visibility,
};

/// Ends every text; never a byte of UTF-8.
pub(super) const END_OF_TEXT: u8 = 0xff;

/// The atoms that every event has, in the order in which they are hashed. Guests are apart.
pub(super) const FIXED: [Atom; 13] = [
    Atom::When,
    Atom::Location,
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
    Atom::Conference,
];

/// The mark of a guest in the hash.
const GUEST: u8 = 13;

/// The mark of an atom in the hash; a mark is never used again for something else.
fn mark(atom: &Atom) -> u8 {
    match atom {
        Atom::When => 1,
        Atom::Location => 2,
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
        Atom::Guest(_) => GUEST,
        Atom::Answer(_) => 14,
        Atom::Existence => 15,
        Atom::Conference => 16,
    }
}

/// Writes all atoms; those that say nothing are left out, so that a field added later moves no old hash.
pub(super) fn write_fields(fields: &Fields, recurs: Recurs, sink: &mut Vec<u8>) {
    for atom in &FIXED {
        let begin = sink.len();
        sink.push(mark(atom));
        write_atom(atom, fields, recurs, sink);
        if sink.len() == begin + 1 {
            sink.truncate(begin);
        }
    }
    for guest in guests(fields) {
        sink.push(GUEST);
        write_guest(guest, sink);
        write_answer(guest, sink);
    }
}

/// Writes one atom of an override, even where it says nothing: it then says so against its master. `invited` are its
/// [`guests`].
pub(super) fn write_departure(atom: &Atom, fields: &Fields, invited: &[&Attendee], sink: &mut Vec<u8>) {
    sink.push(mark(atom));
    if let Atom::Guest(address) | Atom::Answer(address) = atom {
        write_text(Some(address), sink);
        match (of_address(invited, address), atom) {
            (Some(guest), Atom::Guest(_)) => write_guest(guest, sink),
            (Some(guest), _) => write_answer(guest, sink),
            (None, _) => {}
        }
    } else {
        write_atom(atom, fields, Recurs::No, sink);
    }
    sink.push(END_OF_TEXT);
}

/// Whether two guests of one address are the same but for the answer.
pub(super) fn is_same_guest(one: Option<&Attendee>, other: Option<&Attendee>) -> bool {
    let bytes = |guest: Option<&Attendee>| {
        let mut bytes = Vec::new();
        if let Some(guest) = guest {
            write_guest(guest, &mut bytes);
        }
        bytes
    };
    bytes(one) == bytes(other)
}

/// Whether two guests have answered the same.
pub(super) fn is_same_answer(one: Option<&Attendee>, other: Option<&Attendee>) -> bool {
    let bytes = |guest: Option<&Attendee>| {
        let mut bytes = Vec::new();
        if let Some(guest) = guest {
            write_answer(guest, &mut bytes);
        }
        bytes
    };
    bytes(one) == bytes(other)
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
        Atom::Location => one.location == other.location,
        Atom::Conference => one.conference == other.conference,
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
pub(super) fn write_atom(atom: &Atom, fields: &Fields, recurs: Recurs, sink: &mut Vec<u8>) {
    match atom {
        Atom::When => write_when(&fields.start, &fields.end, recurs, sink),
        Atom::Location => write_present(fields.location.as_deref(), sink),
        Atom::Conference => write_conference(fields.conference.as_ref(), sink),
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
            Status::Tentative => sink.extend_from_slice(b"t"),
            Status::Cancelled => sink.extend_from_slice(b"c"),
        },
        Atom::Visibility => match fields.visibility {
            Visibility::Public => {}
            Visibility::Private => sink.extend_from_slice(b"p"),
            Visibility::Confidential => sink.extend_from_slice(b"c"),
        },
        Atom::Transparency => match fields.transparency {
            Transparency::Opaque => {}
            Transparency::Transparent => sink.extend_from_slice(b"t"),
        },
        Atom::Categories => write_categories(&fields.categories, sink),
        Atom::Color => {
            if !is_blank(fields.color.as_deref()) {
                write_text(fields.color.as_deref().map(lower).as_deref(), sink);
            }
        }
        Atom::Guest(address) => {
            if let Some(guest) = guest(fields, address) {
                write_guest(guest, sink);
            }
        }
        Atom::Answer(address) => {
            if let Some(guest) = guest(fields, address) {
                write_answer(guest, sink);
            }
        }
        Atom::Existence => {}
    }
}

fn write_conference(conference: Option<&Conference>, sink: &mut Vec<u8>) {
    let Some(conference) = conference else { return };
    sink.extend_from_slice(match conference.kind {
        ConferenceType::GoogleMeet => b"g",
        ConferenceType::MicrosoftTeams => b"m",
        ConferenceType::Custom => b"c",
    });
    match conference.status {
        ConferenceStatus::Ready => write_text(Some(&conference.link), sink),
        ConferenceStatus::Pending => sink.extend_from_slice(b"p"),
        ConferenceStatus::Failed => sink.extend_from_slice(b"f"),
    }
}

fn write_reminders(reminders: &[Reminder], sink: &mut Vec<u8>) {
    let mut sorted: Vec<&Reminder> = reminders.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    for reminder in sorted {
        let (kind, number) = match reminder {
            Reminder::BeforeStart(seconds) => (b"s", *seconds),
            Reminder::BeforeEnd(seconds) => (b"e", *seconds),
            Reminder::At(instant) => (b"a", instant.0),
        };
        sink.extend_from_slice(kind);
        write_number(number, sink);
    }
}

fn write_categories(categories: &[String], sink: &mut Vec<u8>) {
    let mut texts: Vec<Vec<u8>> = Vec::with_capacity(categories.len());
    for category in categories.iter().filter(|category| !is_blank(Some(category))) {
        let mut bytes = Vec::with_capacity(category.len() + 1);
        write_text(Some(category), &mut bytes);
        texts.push(bytes);
    }
    texts.sort_unstable();
    texts.dedup();
    for text in &texts {
        sink.extend_from_slice(text);
    }
}

/// Guests in the order of their addresses, each address once.
pub(super) fn guests(fields: &Fields) -> Vec<&Attendee> {
    let mut guests: Vec<&Attendee> = fields.attendees.iter().collect();
    guests.sort_by(|one, other| address_of(one).cmp(&address_of(other)));
    guests.dedup_by(|later, earlier| address_of(later) == address_of(earlier));
    guests
}

/// The one of that address among [`guests`].
pub(super) fn of_address<'a>(guests: &[&'a Attendee], address: &str) -> Option<&'a Attendee> {
    let place = guests.binary_search_by(|guest| address_of(guest).as_ref().cmp(address));
    place.ok().and_then(|place| guests.get(place).copied())
}

/// The guest of an address in canonical form.
pub(super) fn guest<'a>(fields: &'a Fields, address: &str) -> Option<&'a Attendee> {
    fields.attendees.iter().find(|guest| address_of(guest) == address)
}

/// A guest's address in the form in which addresses are compared.
pub(super) fn address_of(guest: &Attendee) -> Cow<'_, str> {
    lower(guest.address.trim())
}

fn write_guest(guest: &Attendee, sink: &mut Vec<u8>) {
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
    sink.extend_from_slice(&[role, kind]);
}

fn write_answer(guest: &Attendee, sink: &mut Vec<u8>) {
    let status = match guest.status {
        ParticipationStatus::NeedsAction => 0,
        ParticipationStatus::Accepted => 1,
        ParticipationStatus::Declined => 2,
        ParticipationStatus::Tentative => 3,
        ParticipationStatus::Delegated => 4,
    };
    if status != 0 || !is_blank(guest.comment.as_deref()) {
        sink.extend_from_slice(&[status]);
        write_text(guest.comment.as_deref(), sink);
    }
}

pub(super) fn write_number(number: i64, sink: &mut Vec<u8>) {
    sink.extend_from_slice(&number.to_be_bytes());
}

/// A text that says something, else nothing.
fn write_present(text: Option<&str>, sink: &mut Vec<u8>) {
    if !is_blank(text) {
        write_text(text, sink);
    }
}

/// Writes a text in NFC, with `\n` between lines, without white space at the end of lines or of the whole.
pub(super) fn write_text(text: Option<&str>, sink: &mut Vec<u8>) {
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
            (0..line_ends).for_each(|_| sink.extend_from_slice(b"\n"));
            line_ends = 0;
            sink.extend_from_slice(line.as_bytes());
        }
        line_ends += 1;
    }
    sink.extend_from_slice(&[END_OF_TEXT]);
}

/// Whether a text is absent or has nothing but white space.
pub(super) fn is_blank(text: Option<&str>) -> bool {
    text.is_none_or(|text| text.trim().is_empty())
}

fn lower(text: &str) -> Cow<'_, str> {
    let has_upper = if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_uppercase())
    } else {
        text.chars().any(char::is_uppercase)
    };
    if has_upper { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) }
}
