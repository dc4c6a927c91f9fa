//! One calendar of an account: its resources, and the order in which they changed.
//!
//! Every change takes the next revision; `by_revision` holds each name once, at its latest, for resources
//! and tombstones alike. So a delta is a range of that map, a poll without change is an empty range however
//! large the calendar is, and paging stays whole while somebody writes: what changes moves to the end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::profile::{DataForm, Profile};
use super::xml;
use crate::generator::Sample;
use crate::ical::Facts;

/// What the owner of an account may do in a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everything.
    #[default]
    Full,
    /// Read only.
    Read,
    /// Only see when it is busy; members are neither listed nor given.
    FreeBusy,
}

/// Whether a calendar can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// As usual.
    #[default]
    Open,
    /// Not listed, and 404; its contents are kept for when it is open again.
    Gone,
    /// Listed, and 403.
    Forbidden,
}

/// What a calendar is created with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarSpec {
    /// Last segment of its address.
    pub slug: String,
    /// `D:displayname`; the slug when absent.
    #[serde(default)]
    pub title: Option<String>,
    /// `A:calendar-color`, such as `#2A6FDB`.
    #[serde(default)]
    pub color: Option<String>,
    /// Rights of the account's owner.
    #[serde(default)]
    pub access: Access,
    /// Components it takes; `VEVENT` when empty.
    #[serde(default)]
    pub components: Vec<String>,
}

impl CalendarSpec {
    /// A writable calendar of events.
    pub fn new(slug: &str) -> Self {
        Self { slug: slug.to_owned(), title: None, color: None, access: Access::Full, components: Vec::new() }
    }

    /// With a title.
    #[must_use]
    pub fn titled(mut self, title: &str) -> Self {
        self.title = Some(title.to_owned());
        self
    }

    /// With a colour.
    #[must_use]
    pub fn coloured(mut self, color: &str) -> Self {
        self.color = Some(color.to_owned());
        self
    }

    /// With these rights for its owner.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }
}

/// A calendar object resource.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) etag: Arc<str>,
    pub(crate) body: Arc<str>,
    /// The body as it stands in a multistatus; rendered once, because large calendars are read whole.
    pub(crate) xml: Arc<str>,
    pub(crate) facts: Facts,
    pub(crate) revision: u64,
    pub(crate) modified: i64,
    /// The model it was generated from, while nobody else has written it.
    pub(crate) sample: Option<Box<Sample>>,
}

/// A text on its way into a calendar.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) name: &'a str,
    pub(crate) body: &'a str,
    pub(crate) facts: Facts,
    pub(crate) sample: Option<Box<Sample>>,
}

/// What is at a name since its revision.
#[derive(Debug, Clone)]
struct Mark {
    name: Arc<str>,
    at: i64,
    removed: bool,
}

/// One member in a listing.
#[derive(Debug, Clone)]
pub(crate) enum Member {
    Present { name: Arc<str>, resource: Arc<Resource> },
    Removed { name: Arc<str> },
}

#[derive(Debug, Clone)]
pub(crate) struct Calendar {
    pub(crate) spec: CalendarSpec,
    pub(crate) reach: Reach,
    /// Distinguishes the sync tokens of this calendar and era from all others.
    pub(crate) era: u64,
    pub(crate) properties: BTreeMap<(String, String), String>,
    pub(crate) revision: u64,
    resources: BTreeMap<Arc<str>, Arc<Resource>>,
    uids: HashMap<String, Arc<str>>,
    by_revision: BTreeMap<u64, Mark>,
    tombstones: HashMap<Arc<str>, u64>,
}

impl Calendar {
    pub(crate) fn new(spec: CalendarSpec, era: u64) -> Self {
        Self {
            spec,
            reach: Reach::Open,
            era,
            properties: BTreeMap::new(),
            revision: 0,
            resources: BTreeMap::new(),
            uids: HashMap::new(),
            by_revision: BTreeMap::new(),
            tombstones: HashMap::new(),
        }
    }

    pub(crate) fn takes(&self, kind: &str) -> bool {
        match self.spec.components.as_slice() {
            [] => kind == "VEVENT",
            kinds => kinds.iter().any(|taken| taken == kind),
        }
    }

    pub(crate) fn components(&self) -> Vec<&str> {
        match self.spec.components.as_slice() {
            [] => vec!["VEVENT"],
            kinds => kinds.iter().map(String::as_str).collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.resources.len()
    }

    pub(crate) fn resource(&self, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(name)
    }

    pub(crate) fn resources(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Resource>)> {
        self.resources.iter()
    }

    /// A resource as a member of a listing.
    pub(crate) fn member_at(&self, name: &str) -> Option<Member> {
        let (name, resource) = self.resources.get_key_value(name)?;
        Some(Member::Present { name: Arc::clone(name), resource: Arc::clone(resource) })
    }

    /// The name of the resource that holds `uid`.
    pub(crate) fn holder(&self, uid: &str) -> Option<&Arc<str>> {
        self.uids.get(uid)
    }

    /// Stores a text that was inspected, and returns its ETag.
    pub(crate) fn store(&mut self, incoming: Incoming<'_>, at: i64, profile: &Profile) -> Arc<str> {
        let Incoming { name, body, facts, sample } = incoming;
        let old = self.resources.get_key_value(name).map(|(name, old)| (Arc::clone(name), Arc::clone(old)));
        let (name, before) = match old {
            Some((name, old)) => {
                self.forget_uid(&old.facts.uid, &name);
                (name, Some(old.revision))
            }
            None => (Arc::from(name), self.tombstones.remove(name)),
        };
        let revision = self.mark(&name, before, at, false);
        let body: Arc<str> = Arc::from(body);
        let etag: Arc<str> = Arc::from(etag(revision, &body));
        let xml = render_data(&body, profile.data_form);
        self.uids.entry(facts.uid.clone()).or_insert_with(|| Arc::clone(&name));
        let resource = Resource { etag: Arc::clone(&etag), body, xml, facts, revision, modified: at, sample };
        self.resources.insert(name, Arc::new(resource));
        etag
    }

    /// Removes a resource and leaves a tombstone; `None` when there is no such resource.
    pub(crate) fn remove(&mut self, name: &str, at: i64) -> Option<Arc<Resource>> {
        let (name, resource) = self.resources.remove_entry(name)?;
        self.forget_uid(&resource.facts.uid, &name);
        let revision = self.mark(&name, Some(resource.revision), at, true);
        self.tombstones.insert(name, revision);
        Some(resource)
    }

    fn forget_uid(&mut self, uid: &str, name: &Arc<str>) {
        if self.uids.get(uid) == Some(name) {
            self.uids.remove(uid);
        }
    }

    fn mark(&mut self, name: &Arc<str>, before: Option<u64>, at: i64, removed: bool) -> u64 {
        if let Some(before) = before {
            self.by_revision.remove(&before);
        }
        self.revision += 1;
        self.by_revision.insert(self.revision, Mark { name: Arc::clone(name), at, removed });
        self.revision
    }

    /// When the last change was made, in milliseconds; 0 before the first.
    pub(crate) fn last_change(&self) -> i64 {
        self.by_revision.last_key_value().map_or(0, |(_, mark)| mark.at)
    }

    /// Names and revisions changed from revision `from` on, in the order of their last change.
    pub(crate) fn changed_from(&self, from: u64) -> impl Iterator<Item = (u64, Member)> {
        self.by_revision.range(from..).filter_map(|(revision, mark)| Some((*revision, self.member(mark)?)))
    }

    /// Names changed at `from` (milliseconds) or later.
    pub(crate) fn changed_since(&self, from: i64) -> impl Iterator<Item = (u64, Member)> {
        self.by_revision
            .iter()
            .filter(move |(_, mark)| mark.at >= from)
            .filter_map(|(revision, mark)| Some((*revision, self.member(mark)?)))
    }

    fn member(&self, mark: &Mark) -> Option<Member> {
        if mark.removed {
            return Some(Member::Removed { name: Arc::clone(&mark.name) });
        }
        let resource = Arc::clone(self.resources.get(&mark.name)?);
        Some(Member::Present { name: Arc::clone(&mark.name), resource })
    }
}

/// An ETag without quotes; it changes with every write, also of the same bytes.
fn etag(revision: u64, body: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(revision.to_be_bytes());
    hash.update(body.as_bytes());
    hex::encode(hash.finalize().get(..12).unwrap_or_default())
}

fn render_data(body: &Arc<str>, form: DataForm) -> Arc<str> {
    match form {
        DataForm::Cdata => Arc::from(format!("<![CDATA[{}]]>", body.replace("]]>", "]]]]><![CDATA[>"))),
        DataForm::Escaped => Arc::from(xml::escape(body).replace('\r', "&#13;")),
        DataForm::RawLineEnds if body.contains(['&', '<', '>']) => Arc::from(xml::escape(body)),
        DataForm::RawLineEnds => Arc::clone(body),
    }
}
