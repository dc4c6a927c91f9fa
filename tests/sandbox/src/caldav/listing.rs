//! Members of a calendar written into a multistatus, streamed.
//!
//! The members are gathered under the lock (they are shared, not copied) and rendered while the client
//! reads, so a listing of 100,000 members holds neither the lock nor a body in memory.

use http::StatusCode;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::calendar::Member;
use super::place::MemberHrefs;
use super::properties::{Scribe, Wanted};
use super::xml::{CALDAV, DAV, Name};
use crate::answer::{Answer, Piece, XML};
use crate::faults::{Twist, matches_pattern};

/// What a spoiled item holds instead of its calendar data.
const GARBAGE: &str =
    "BEGIN:VCALENDAR&#13;\nVERSION:2.0&#13;\nBEGIN:VEVENT&#13;\nDTSTART:soon\u{FFFD}&#13;\nRRULE:FREQ=NEVER";

/// Renders members of one calendar.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) scribe: Scribe,
    pub(crate) hrefs: MemberHrefs,
    pub(crate) wanted: Vec<Name>,
    /// Whether calendar data are given when wanted.
    pub(crate) data: bool,
    pub(crate) twist: Twist,
}

impl Listing {
    pub(crate) fn new(scribe: Scribe, hrefs: MemberHrefs, wanted: Wanted, twist: &Twist) -> Self {
        let wanted = match wanted {
            Wanted::These(names) => names,
            Wanted::All | Wanted::Names => Scribe::resource_names(),
        };
        Self { scribe, hrefs, wanted, data: true, twist: twist.clone() }
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
    pub(crate) fn answer(self, before: String, members: Vec<Member>, after: String) -> Answer {
        let members = self.twisted(members);
        let frame = self.scribe.writer.frame("multistatus");
        let pieces = std::iter::once(Piece::Text(before))
            .chain(members.into_iter().map(move |member| self.piece(&member)))
            .chain(std::iter::once(Piece::Text(after)));
        Answer::pieces(StatusCode::MULTI_STATUS, XML, frame, pieces)
    }

    fn piece(&self, member: &Member) -> Piece {
        let scribe = &self.scribe;
        let w = scribe.writer;
        let (name, resource) = match member {
            Member::Removed { name } => {
                let href = w.wrap(DAV, "href", &self.hrefs.of(name, scribe.profile.removed_hrefs));
                let status = w.wrap(DAV, "status", "HTTP/1.1 404 Not Found");
                return Piece::Text(w.wrap(DAV, "response", &format!("{href}{status}")));
            }
            Member::Present { name, resource } => (name, resource),
        };
        let href = w.wrap(DAV, "href", &self.hrefs.of(name, scribe.profile.hrefs));
        let mut found = String::new();
        let mut missing = String::new();
        let mut data = false;
        for wanted in &self.wanted {
            if wanted.is(CALDAV, "calendar-data") && self.data {
                data = true;
                continue;
            }
            match scribe.resource_value(resource, wanted) {
                Some(value) => w.wrap_to(&mut found, &wanted.space, &wanted.local, &value),
                None => w.wrap_to(&mut missing, &wanted.space, &wanted.local, ""),
            }
        }
        if !data {
            return Piece::Text(w.wrap(
                DAV,
                "response",
                &format!("{href}{}", scribe.propstats(&found, &missing)),
            ));
        }
        let spoiled = self.twist.unreadable.iter().any(|pattern| matches_pattern(pattern, name));
        // One marker in the finished frame is where the stored text goes; it cannot occur in escaped text.
        found.push_str(&w.wrap(CALDAV, "calendar-data", "\0"));
        let whole = w.wrap(DAV, "response", &format!("{href}{}", scribe.propstats(&found, &missing)));
        let (before, after) = whole.split_once('\0').unwrap_or((&whole, ""));
        let stored = if spoiled { GARBAGE.into() } else { resource.xml.clone() };
        Piece::Framed { before: before.to_owned(), stored, after: after.to_owned() }
    }
}
