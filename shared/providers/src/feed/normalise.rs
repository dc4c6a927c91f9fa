//! From a document to items whose ids stay from poll to poll.
//!
//! An item is known by its `UID`; a second object with the same one gets `#2`, in the order of their starts, so
//! that a feed that shuffles them changes nothing. Where a publisher makes UIDs up, the id is the hash of the
//! content, and an edited event is a new one.

use std::collections::{BTreeMap, HashMap};

use calfleet_domain::ics::{Document, Item};
use calfleet_domain::model::{DetailLevel, Event, Parts, ProviderId, RemoteChange, RemoteEvent, Revision};
use sha2::{Digest, Sha256};

use super::cursor::{FeedCursor, Naming};
use crate::caldav::normalise::role;

/// Longest UID, in bytes, that names an item by itself; a longer one would not fit into an index.
const LONGEST_UID: usize = 512;

/// One item and what it is known by.
struct Entry {
    item: Item,
    uid: String,
    /// Hash of its events without `UID` and the stamps that publishers renew with every answer.
    content: [u8; 32],
    /// The same with the zones that its times are written in.
    revision: [u8; 32],
    /// Its wall-clock start, for the order among equals.
    start: String,
}

/// The items of a document; `last` is the cursor of the listing before, `current` is completed.
pub(super) fn changes(
    document: Document,
    last: Option<&FeedCursor>,
    current: &mut FeedCursor,
) -> Vec<RemoteChange> {
    let entries: Vec<_> = document.items.into_iter().map(Entry::of).collect();
    current.sketch(
        entries.iter().map(|entry| short(&Sha256::digest(entry.uid.as_bytes()))),
        entries.iter().map(|entry| short(&entry.content)),
    );
    current.naming = last.map_or_else(Naming::default, |last| current.naming_after(last));
    let mut groups: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        groups.entry(entry.name(current.naming)).or_default().push(entry);
    }
    let mut changes = Vec::new();
    for (name, mut entries) in groups {
        entries.sort_by(|a, b| a.start.cmp(&b.start).then(a.content.cmp(&b.content)));
        for (place, entry) in entries.into_iter().enumerate() {
            let id = if place == 0 { name.clone() } else { format!("{name}#{}", place + 1) };
            changes.push(entry.into_change(ProviderId(id)));
        }
    }
    changes
}

/// Whether all that two documents hold is the same, read in the same zone; for feeds without validators that renew their
/// stamps.
pub(super) fn content_of(changes: &[RemoteChange], time_zone: Option<&str>) -> String {
    let mut hash = Sha256::new();
    hash.update(time_zone.unwrap_or_default());
    let mut parts: HashMap<&str, &str> = HashMap::new();
    for change in changes {
        let revision = match change {
            RemoteChange::Upsert(event) => event.revision.as_ref(),
            RemoteChange::Unreadable { revision, .. } => revision.as_ref(),
            RemoteChange::Instance(instance) => instance.revision.as_ref(),
            RemoteChange::Occurrence { .. }
            | RemoteChange::Removed { .. }
            | RemoteChange::Unlisted { .. }
            | RemoteChange::Withheld { .. } => None,
        };
        parts.insert(change.provider_id().as_str(), revision.map_or("", Revision::as_str));
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_unstable();
    for (id, revision) in parts {
        for part in [id, revision] {
            hash.update(part.len().to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hex::encode(hash.finalize())
}

impl Entry {
    fn of(item: Item) -> Self {
        let (uid, raw, start) = match &item {
            Item::Read(object) => {
                (object.event.uid.normalised().to_owned(), &object.raw, start(&object.event))
            }
            Item::Unreadable { uid, raw, .. } => {
                let uid = uid.as_ref().map(|uid| uid.normalised().to_owned());
                (uid.unwrap_or_default(), raw, String::new())
            }
        };
        let (content, revision) = content(raw);
        let uid = match uid.len() {
            0 => by_content(&content),
            1..=LONGEST_UID => uid,
            _ => by_content(&Sha256::digest(uid.as_bytes()).into()),
        };
        Self { item, uid, content, revision, start }
    }

    fn name(&self, naming: Naming) -> String {
        match naming {
            Naming::Uid => self.uid.clone(),
            Naming::Content => by_content(&self.content),
        }
    }

    fn into_change(self, provider_id: ProviderId) -> RemoteChange {
        let revision = Some(Revision(hex::encode(self.revision)));
        match self.item {
            Item::Read(object) => RemoteChange::Upsert(Box::new(RemoteEvent {
                parts: Parts::Whole,
                instances: BTreeMap::new(),
                provider_id,
                created_as: None,
                revision,
                role: role(&object.event),
                event: object.event,
                detail: DetailLevel::Full,
                raw: Some(object.raw),
                changed_at: object.changed_at,
                warnings: object.warnings,
            })),
            Item::Unreadable { reason, raw, .. } => {
                RemoteChange::Unreadable { provider_id, revision, reason, raw: Some(raw) }
            }
        }
    }
}

fn by_content(content: &[u8; 32]) -> String {
    format!("sha256:{}", hex::encode(content))
}

fn start(event: &Event) -> String {
    event.fields().map(|fields| fields.start.wall().to_string()).unwrap_or_default()
}

fn short(hash: &[u8]) -> u32 {
    hash.iter().take(4).fold(0, |short, byte| short << 8 | u32::from(*byte))
}

/// The lines of the events that say something, whatever their line ends, and the same with those of the zones. Folded lines
/// stay with the line they belong to.
fn content(raw: &str) -> ([u8; 32], [u8; 32]) {
    const STAMPS: [&str; 4] = ["UID", "DTSTAMP", "LAST-MODIFIED", "CREATED"];
    let (mut events, mut zones) = (Sha256::new(), Sha256::new());
    let (mut is_event, mut is_zone, mut is_left_out) = (false, false, false);
    for line in raw.split(['\r', '\n']).map(str::trim_end).filter(|line| !line.is_empty()) {
        if !line.starts_with([' ', '\t']) {
            let (name, value) = line.split_once([':', ';']).unwrap_or((line, ""));
            let is = |mark: &str, component: &str| {
                name.trim().eq_ignore_ascii_case(mark) && value.trim().eq_ignore_ascii_case(component)
            };
            is_event |= is("BEGIN", "VEVENT");
            is_zone = (is_zone || is("BEGIN", "VTIMEZONE")) && !is("END", "VTIMEZONE");
            is_left_out = STAMPS.iter().any(|stamp| name.trim().eq_ignore_ascii_case(stamp));
        }
        let hash = match (is_left_out, is_event, is_zone) {
            (false, true, _) => &mut events,
            (false, false, true) => &mut zones,
            _ => continue,
        };
        hash.update(line);
        hash.update(b"\n");
    }
    let revision = zones.chain_update(events.clone().finalize());
    (events.finalize().into(), revision.finalize().into())
}

#[cfg(test)]
mod tests {
    use calfleet_domain::ics::{self, Limits};

    use super::*;

    fn document(events: &[(&str, &str, &str)]) -> Document {
        let mut text = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n".to_owned();
        for (uid, start, title) in events {
            let event = format!(
                "BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:{start}\r\nSUMMARY:{title}\r\nEND:VEVENT\r\n"
            );
            text.push_str(&event);
        }
        text += "END:VCALENDAR\r\n";
        ics::read(&ics::decode(text.as_bytes()), None, &Limits::default()).unwrap()
    }

    fn ids(changes: &[RemoteChange]) -> Vec<&str> {
        changes.iter().map(|change| change.provider_id().as_str()).collect()
    }

    #[test]
    fn an_odd_uid_gets_a_name_that_every_database_can_keep() {
        let long = "u".repeat(LONGEST_UID + 1);
        let mut cursor = FeedCursor::default();

        let changes =
            changes(document(&[(&long, "20260714", "Long"), ("a\0b", "20260715", "Odd")]), None, &mut cursor);

        for id in ids(&changes) {
            assert!(id.len() <= LONGEST_UID && !id.contains('\0'), "{id:?}");
        }
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn an_edit_and_a_changed_zone_are_seen_whatever_the_line_ends() {
        let revision = |text: &str| {
            let document = ics::read(text, None, &Limits::default()).unwrap();
            let changes = changes(document, None, &mut FeedCursor::default());
            let [RemoteChange::Upsert(event)] = changes.as_slice() else { panic!("{changes:?}") };
            event.revision.clone().unwrap()
        };
        let text = |offset: &str, stamp: &str, title: &str| {
            format!(
                "BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:Ours\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:{offset}\n\
                 TZOFFSETTO:{offset}\nEND:STANDARD\nEND:VTIMEZONE\nBEGIN:VEVENT\nUID:1\nDTSTAMP:{stamp}\n\
                 DTSTART;TZID=Ours:20260101T090000\nSUMMARY:{title}\nEND:VEVENT\nEND:VCALENDAR\n"
            )
        };
        let stamps = ["20260101T000000Z", "20260102T000000Z"];

        for end in ["\n", "\r\n", "\r\r\n", "\r", " \n"] {
            let of = |offset, stamp, title| revision(&text(offset, stamp, title).replace('\n', end));
            let first = of("+0100", stamps[0], "Tea");
            assert_eq!(first, of("+0100", stamps[1], "Tea"), "{end:?}: a stamp");
            assert_ne!(first, of("+0100", stamps[0], "Coffee"), "{end:?}: a title");
            assert_ne!(first, of("+0200", stamps[0], "Tea"), "{end:?}: an offset");
        }
    }

    #[test]
    fn items_are_known_by_uid() {
        let mut cursor = FeedCursor::default();

        let changes = changes(
            document(&[("b", "20260102T090000Z", "B"), ("a", "20260101T090000Z", "A")]),
            None,
            &mut cursor,
        );

        assert_eq!(ids(&changes), ["a", "b"]);
    }

    #[test]
    fn items_of_a_publisher_who_makes_uids_up_are_known_by_content() {
        let (mut first, mut second, mut third) = Default::default();
        let events = |tag: &str| {
            let uids = [format!("{tag}1"), format!("{tag}2"), format!("{tag}3")];
            document(&[
                (&uids[0], "20260101T090000Z", "A"),
                (&uids[1], "20260102T090000Z", "B"),
                (&uids[2], "20260103T090000Z", "C"),
            ])
        };

        changes(events("x"), None, &mut first);
        let named = changes(events("y"), Some(&first), &mut second);
        let again = changes(events("z"), Some(&second), &mut third);

        assert!(ids(&named).iter().all(|id| id.starts_with("sha256:")), "{named:?}");
        assert_eq!(ids(&named), ids(&again));
        assert_eq!(content_of(&named, None), content_of(&again, None));
        assert_ne!(content_of(&named, None), content_of(&again, Some("Europe/Paris")));
    }
}
