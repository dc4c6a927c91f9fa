//! Members of a calendar written into a multistatus, streamed.
//!
//! The members are gathered under the lock (they are shared, not copied) and written while the client
//! reads, so a listing of 100,000 members holds neither the lock nor a body in memory. All responses of a
//! listing are alike but for a few slots, so the text between the slots is made once.

use http::StatusCode;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::calendar::{Member, Resource};
use super::place::MemberHrefs;
use super::properties::{Scribe, Wanted};
use super::xml::{CALDAV, DAV};
use crate::answer::{Answer, XML};
use crate::clock;
use crate::faults::{Twist, matches_pattern};

/// What a spoiled item holds instead of its calendar data.
const GARBAGE: &str =
    "BEGIN:VCALENDAR&#13;\nVERSION:2.0&#13;\nBEGIN:VEVENT&#13;\nDTSTART:soon\u{FFFD}&#13;\nRRULE:FREQ=NEVER";

/// Stands for a slot while a template is made; XML cannot hold it.
const SLOT: &str = "\0";

/// Whether a listing may give calendar data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    Given,
    Withheld,
}

/// What differs between the responses of one listing.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Href,
    Etag,
    Kind,
    Length,
    Modified,
    Data,
}

/// A response with slots: the text before the first, then each slot with the text after it.
#[derive(Debug)]
struct Template {
    head: String,
    rest: Vec<(Slot, String)>,
}

impl Template {
    fn new(text: &str, slots: Vec<Slot>) -> Self {
        let mut parts = text.split(SLOT).map(str::to_owned);
        Self { head: parts.next().unwrap_or_default(), rest: slots.into_iter().zip(parts).collect() }
    }
}

/// Writes members of one calendar.
#[derive(Debug)]
pub(crate) struct Listing {
    hrefs: MemberHrefs,
    present: Template,
    removed: Template,
    scribe: Scribe,
    twist: Twist,
}

impl Listing {
    pub(crate) fn new(
        scribe: &Scribe,
        hrefs: MemberHrefs,
        wanted: Wanted,
        data: Data,
        twist: &Twist,
    ) -> Self {
        let wanted = match wanted {
            Wanted::These(names) => names,
            Wanted::All | Wanted::Names => Scribe::resource_names(),
        };
        let w = scribe.writer;
        let href = w.wrap(DAV, "href", SLOT);
        let (mut found, mut missing, mut slots) = (String::new(), String::new(), vec![Slot::Href]);
        for name in wanted {
            let slot = match (name.space.as_str(), name.local.as_str()) {
                (DAV, "getetag") => Slot::Etag,
                (DAV, "getcontenttype") => Slot::Kind,
                (DAV, "getcontentlength") => Slot::Length,
                (DAV, "getlastmodified") => Slot::Modified,
                (CALDAV, "calendar-data") if data == Data::Given => Slot::Data,
                (DAV, "resourcetype") => {
                    w.wrap_to(&mut found, &name.space, &name.local, "");
                    continue;
                }
                _ => {
                    w.wrap_to(&mut missing, &name.space, &name.local, "");
                    continue;
                }
            };
            w.wrap_to(&mut found, &name.space, &name.local, SLOT);
            slots.push(slot);
        }
        let present = w.wrap(DAV, "response", &format!("{href}{}", scribe.propstats(&found, &missing)));
        let status = w.wrap(DAV, "status", "HTTP/1.1 404 Not Found");
        let removed = w.wrap(DAV, "response", &format!("{href}{status}"));
        Self {
            hrefs,
            present: Template::new(&present, slots),
            removed: Template::new(&removed, vec![Slot::Href]),
            scribe: scribe.clone(),
            twist: twist.clone(),
        }
    }

    /// The member's name, when the href lies in the listed calendar.
    pub(crate) fn name(&self, href: &str) -> Option<String> {
        self.hrefs.name(href)
    }

    /// Applies the faults that concern a list of members.
    fn twisted(&self, mut members: Vec<Member>) -> Vec<Member> {
        if self.twist.empty_listing {
            return Vec::new();
        }
        if self.twist.duplicates {
            let again: Vec<Member> = members.iter().step_by(2).cloned().collect();
            members.extend(again);
        }
        if let Some(seed) = self.twist.shuffle {
            members.shuffle(&mut StdRng::seed_from_u64(seed));
        }
        members
    }

    /// A streamed 207: `before`, the members, `after`.
    pub(crate) fn answer(self, before: &str, members: Vec<Member>, after: &str) -> Answer {
        let members = self.twisted(members);
        let (head, tail) = self.scribe.writer.frame("multistatus");
        let frame = (head + before, after.to_owned() + &tail);
        let write = move |member: &Member, out: &mut Vec<u8>| self.write(member, out);
        Answer::streamed(StatusCode::MULTI_STATUS, XML, frame, members.into_iter(), write)
    }

    fn write(&self, member: &Member, out: &mut Vec<u8>) {
        let (template, name, resource) = match member {
            Member::Present { name, resource } => (&self.present, name, Some(resource)),
            Member::Removed { name } => (&self.removed, name, None),
        };
        out.extend_from_slice(template.head.as_bytes());
        for (slot, after) in &template.rest {
            match (slot, resource) {
                (Slot::Href, resource) => {
                    let profile = &self.scribe.profile;
                    let form = if resource.is_some() { profile.hrefs } else { profile.removed_hrefs };
                    out.extend_from_slice(self.hrefs.of(name, form).as_bytes());
                }
                (slot, Some(resource)) => self.fill(*slot, name, resource, out),
                (_, None) => {}
            }
            out.extend_from_slice(after.as_bytes());
        }
    }

    fn fill(&self, slot: Slot, name: &str, resource: &Resource, out: &mut Vec<u8>) {
        let text = match slot {
            Slot::Href => return,
            Slot::Data if self.twist.unreadable.iter().any(|pattern| matches_pattern(pattern, name)) => {
                return out.extend_from_slice(GARBAGE.as_bytes());
            }
            Slot::Data => return out.extend_from_slice(resource.xml.as_bytes()),
            Slot::Etag => {
                let quote = if self.scribe.profile.weak_etags { "W/&quot;" } else { "&quot;" };
                for part in [quote, &resource.etag, "&quot;"] {
                    out.extend_from_slice(part.as_bytes());
                }
                return;
            }
            Slot::Kind => {
                format!("text/calendar; charset=utf-8; component={}", resource.facts.kind.to_lowercase())
            }
            Slot::Length => resource.body.len().to_string(),
            Slot::Modified => clock::http_date(resource.modified),
        };
        out.extend_from_slice(text.as_bytes());
    }
}
