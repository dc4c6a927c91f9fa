//! What was: the history of an event, and what the event said at an instant.
//!
//! Nothing but the present and the changes is stored. Looking back is taking the changes back, the newest first; where
//! the history does not say what was there, that is as far back as one can see, and it is said. Values are shown only
//! where nothing since then has been private: who made an event private meant its past as well.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    CalendarId, DetailLevel, Event, EventId, HistoryId, MeetingId, OrganizationId, RecurrenceId,
};
use calfleet_domain::reconcile::FieldChange;
use calfleet_domain::reconcile::restore::{RestoreError, before};
use calfleet_store::events::{self, StoredRow};
use calfleet_store::history::{self, HistoryEntry};
use calfleet_store::{Scope, StoreError};
use serde::Serialize;
use serde_json::Value;

use crate::service::Service;
use crate::view::{Content, is_all_public};
use crate::write::confirm::{address, atom_key, change_names};
use crate::write::undo::changes_of;

/// Most changes that are taken back to see what an event said.
const LOOKED_BACK: usize = 10_000;

/// An entry of an event's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeView {
    /// The entry; what `undo` takes.
    pub id: HistoryId,
    /// When.
    pub at: Timestamp,
    /// Which side changed: `remote` or `local`.
    pub side: String,
    /// Why: `request`, `sync`, `push`, …
    pub cause: String,
    /// Which request, or which run of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause_id: Option<String>,
    /// What was decided: `create`, `edit`, `take`, …
    pub decision: String,
    /// Who asked for it; `provider` where it came from there.
    pub actor: String,
    /// What the provider called the state that was taken over, or that the change was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What changed: `title`, `when`, `guest`, …
    pub changes: Vec<String>,
    /// The same with what it said before and after; absent where any of it is or was private.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<ChangedField>>,
}

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedField {
    /// What: `title`, `when`, `guest`, …
    pub what: String,
    /// Whose, of a guest or an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// In which instance of a series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<RecurrenceId>,
    /// What it said; `null` is nothing.
    pub before: Option<Value>,
    /// What it says since; `null` is nothing.
    pub after: Option<Value>,
}

/// An event as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastView {
    /// The copy.
    pub id: EventId,
    /// The meeting that its copies share.
    pub meeting_id: MeetingId,
    /// The calendar that it is in now.
    pub calendar_id: CalendarId,
    /// The instant that was asked for.
    pub as_of: Timestamp,
    /// Since when it said so.
    pub since: Timestamp,
    /// Until when; `null` while it still does.
    pub until: Option<Timestamp>,
    /// What it said.
    #[serde(flatten)]
    pub content: Content,
}

/// Why it cannot be said what an event said at an instant.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// No such event in this organization.
    #[error("find the event")]
    NotFound,
    /// It was not there yet.
    #[error("find the event before it was there")]
    NotYet {
        /// Since when it was.
        since: Timestamp,
    },
    /// It was deleted.
    #[error("find the event while it was deleted")]
    Deleted {
        /// Since when.
        since: Timestamp,
    },
    /// The history does not say.
    #[error("look back beyond what the history says")]
    Unknown {
        /// From when on it is known; `None` where nothing is.
        since: Option<Timestamp>,
    },
    /// The instant is still to come.
    #[error("look at an instant that is still to come")]
    ToCome,
    /// Our database failed.
    #[error("read the history")]
    Store(#[from] StoreError),
}

impl Service {
    /// The newest entries of an event's history, newest first.
    ///
    /// # Errors
    /// When there is no such event, or our database fails.
    pub async fn event_history(
        &self,
        organization: OrganizationId,
        id: EventId,
        limit: usize,
    ) -> Result<Vec<ChangeView>, PastError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let row = events::load(&tx, id).await?.ok_or(PastError::NotFound)?;
        let entries = history::of_event(&tx, id, limit).await?;
        drop(tx);
        let mut view = Retrospect::from(&row);
        Ok(entries.iter().map(|entry| view.told(entry)).collect())
    }

    /// What an event said at an instant.
    ///
    /// # Errors
    /// When there is no such event, it was not there then, that is not known, or our database fails.
    pub async fn event_at(
        &self,
        organization: OrganizationId,
        id: EventId,
        at: Timestamp,
    ) -> Result<PastView, PastError> {
        if at > self.now() {
            return Err(PastError::ToCome);
        }
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let row = events::load(&tx, id).await?.ok_or(PastError::NotFound)?;
        if at < row.created_at {
            return Err(PastError::NotYet { since: row.created_at });
        }
        let later = history::since(&tx, id, at, LOOKED_BACK).await?;
        let last = history::last_before(&tx, id, at).await?;
        if later.len() == LOOKED_BACK {
            return Err(PastError::Unknown { since: later.last().map(|entry| entry.at) });
        }
        let has_beginning = last.is_some() || history::has_beginning(&tx, id, row.created_at).await?;
        drop(tx);
        let mut view = Retrospect::from(&row);
        for entry in &later {
            view.back(entry);
            if view.state.is_err() {
                return Err(PastError::Unknown { since: Some(entry.at) });
            }
        }
        let until = later.last().map(|entry| entry.at);
        if !has_beginning {
            return Err(PastError::Unknown { since: until });
        }
        let since = last.map_or(row.created_at, |entry| entry.at);
        match &view.state {
            Ok(Some(event)) => {
                let detail = if view.is_public { row.event.detail } else { DetailLevel::FreeBusy };
                let content = Content::of(Some(event), detail);
                let (meeting_id, calendar_id) = (row.event.meeting_id, row.event.calendar_id);
                Ok(PastView { id, meeting_id, calendar_id, as_of: at, since, until, content })
            }
            Ok(None) => Err(PastError::Deleted { since }),
            Err(_) => Err(PastError::Unknown { since: until }),
        }
    }
}

/// An event while one looks back.
struct Retrospect {
    /// What it said; `None` where it was not there, an error where the history does not say.
    state: Result<Option<Event>, RestoreError>,
    /// Whether everything was public at every instant that was looked at.
    is_public: bool,
}

impl From<&StoredRow> for Retrospect {
    fn from(row: &StoredRow) -> Self {
        let event = row.event.event.clone();
        let is_public = row.event.detail == DetailLevel::Full && event.as_ref().is_none_or(is_all_public);
        Self { state: Ok(event), is_public }
    }
}

impl Retrospect {
    /// Takes an entry back.
    fn back(&mut self, entry: &HistoryEntry) {
        let Ok(event) = &self.state else { return };
        let made = changes_of(entry);
        self.state = match entry.decision.as_str() {
            // what appears at the provider is told without its content
            "insert" if made.is_empty() => Ok(None),
            _ => before(event.as_ref(), &made),
        };
        self.is_public &= matches!(&self.state, Ok(event) if event.as_ref().is_none_or(is_all_public));
    }

    /// Takes an entry back, and says what it tells.
    fn told(&mut self, entry: &HistoryEntry) -> ChangeView {
        self.back(entry);
        let said = |name: &str| {
            let text = entry.changes.as_ref()?.get(name)?.as_str()?;
            Some(text.to_owned())
        };
        let made = changes_of(entry);
        ChangeView {
            id: entry.id,
            at: entry.at,
            side: entry.side.clone(),
            cause: entry.cause.clone(),
            cause_id: entry.cause_id.clone(),
            decision: entry.decision.clone(),
            actor: said("actor").unwrap_or_else(|| "provider".to_owned()),
            revision: said("revision"),
            changes: change_names(&made),
            fields: self.is_public.then(|| made.into_iter().map(ChangedField::from).collect()),
        }
    }
}

impl From<FieldChange> for ChangedField {
    fn from(change: FieldChange) -> Self {
        let FieldChange { instance, atom, before, after } = change;
        let who = address(&atom).map(str::to_owned);
        Self { what: atom_key(&atom).unwrap_or_default(), who, instance, before, after }
    }
}
