//! People, what their lists of calendars show, and which role they have where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What somebody may do in a calendar, from little to much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GoogleRole {
    /// Sees when somebody is busy.
    FreeBusyReader,
    /// Sees events.
    Reader,
    /// Changes events, and sees private ones without their details.
    WriterWithoutPrivateAccess,
    /// Changes events.
    Writer,
    /// Changes the calendar too.
    Owner,
}

impl GoogleRole {
    /// The word for it in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::FreeBusyReader => "freeBusyReader",
            Self::Reader => "reader",
            Self::WriterWithoutPrivateAccess => "writerWithoutPrivateAccess",
            Self::Writer => "writer",
            Self::Owner => "owner",
        }
    }

    pub(crate) fn read(word: &str) -> Option<Self> {
        [Self::FreeBusyReader, Self::Reader, Self::WriterWithoutPrivateAccess, Self::Writer, Self::Owner]
            .into_iter()
            .find(|role| role.word() == word)
    }
}

/// An account as it is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoogleAccountSpec {
    /// Its address, which is the id of its primary calendar too.
    pub email: String,
    /// Its IANA zone.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The never changing id; made from the address when absent.
    #[serde(default)]
    pub sub: Option<String>,
    /// Whether it may make focus time, out-of-office and working-location events.
    #[serde(default)]
    pub is_workspace: bool,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl GoogleAccountSpec {
    /// An account in UTC.
    pub fn new(email: &str) -> Self {
        Self { email: email.to_owned(), time_zone: utc(), sub: None, is_workspace: false }
    }

    /// In that IANA zone.
    #[must_use]
    pub fn zone(mut self, zone: &str) -> Self {
        zone.clone_into(&mut self.time_zone);
        self
    }

    /// Of a Workspace organization.
    #[must_use]
    pub fn workspace(mut self) -> Self {
        self.is_workspace = true;
        self
    }
}

/// One line of somebody's list of calendars.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListEntry {
    /// What the person has set: summaryOverride, colorId, hidden, selected, defaultReminders …
    pub(crate) own: Map<String, Value>,
    pub(crate) revision: u64,
    pub(crate) is_deleted: bool,
}

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) spec: GoogleAccountSpec,
    pub(crate) sub: String,
    /// By calendar id.
    pub(crate) list: BTreeMap<String, ListEntry>,
    /// Sync tokens of the list that name another era are dead.
    pub(crate) era: u64,
    /// Starts of requests within the last minute, milliseconds.
    pub(crate) recent: std::collections::VecDeque<i64>,
}
