//! Conflicts as people see them: both versions side by side, and what they differ in.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    CalendarId, ConflictId, ConnectionId, DetailLevel, Event, EventId, OrganizationId, RecurrenceId,
};
use calfleet_domain::reconcile::{ConflictDraft, Contest, Interval};
use calfleet_store::conflicts::{self, Conflict, Which};
use calfleet_store::{Scope, StoreError};
use serde::Serialize;
use serde_json::Value;

use super::confirm::{address, atom_key};
use crate::service::Service;
use crate::view::{Details, EndTime, Time, is_all_public};

/// Two versions of an event that only a person can join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConflictView {
    /// The conflict.
    pub id: ConflictId,
    /// The event; what it says here stands until the conflict is decided.
    pub event_id: EventId,
    /// Its calendar.
    pub calendar_id: CalendarId,
    /// Its connection.
    pub connection_id: ConnectionId,
    /// What it says here; `null` is deleted.
    pub ours: Option<SideView>,
    /// What it says at the provider; `null` is deleted.
    pub theirs: Option<SideView>,
    /// What both sides changed differently.
    pub contested: Vec<ContestView>,
    /// When ours was written.
    pub ours_at: Interval,
    /// When theirs was written.
    pub theirs_at: Interval,
    /// When the conflict was found.
    pub opened_at: Timestamp,
    /// When it was decided.
    pub resolved_at: Option<Timestamp>,
    /// How: `ours`, `theirs`, `mixed`, or `newer` where a later conflict took its place.
    pub resolved_by: Option<String>,
}

/// One version: a single event, or what a series says by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SideView {
    /// Its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// Its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<EndTime>,
    /// What it says.
    #[serde(flatten)]
    pub details: Option<Details>,
}

/// Something that both sides changed differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContestView {
    /// What it is called in a decision: `title`, `guest:bob@example.com`, `20261201T100000/title`.
    pub field: String,
    /// What: `title`, `when`, `guest`, …
    pub what: String,
    /// In which instance of a series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<RecurrenceId>,
    /// What it says here; absent where it says nothing or is private.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ours: Option<Value>,
    /// What it says at the provider; as `ours`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theirs: Option<Value>,
}

impl Service {
    /// At most `limit` conflicts, newest first, older than the given one.
    ///
    /// # Errors
    /// When our database fails.
    pub async fn conflicts(
        &self,
        organization: OrganizationId,
        which: Which,
        before: Option<ConflictId>,
        limit: u32,
    ) -> Result<Vec<ConflictView>, StoreError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        let found = conflicts::list(&tx, which, before, limit).await?;
        Ok(found.iter().map(ConflictView::from).collect())
    }

    /// One conflict, if the organization has it.
    ///
    /// # Errors
    /// When our database fails.
    pub async fn conflict(
        &self,
        organization: OrganizationId,
        id: ConflictId,
    ) -> Result<Option<ConflictView>, StoreError> {
        let tx = self.store.read(Scope::Organization(organization)).await?;
        Ok(conflicts::load(&tx, id).await?.as_ref().map(ConflictView::from))
    }
}

impl From<&Conflict> for ConflictView {
    fn from(conflict: &Conflict) -> Self {
        let draft = &conflict.draft;
        let is_public = is_public(draft);
        Self {
            id: conflict.id,
            event_id: conflict.event_id,
            calendar_id: conflict.calendar_id,
            connection_id: conflict.connection_id,
            ours: draft.local.as_ref().map(SideView::from),
            theirs: draft.remote.as_ref().map(SideView::from),
            contested: draft.contests.iter().map(|contest| ContestView::of(contest, is_public)).collect(),
            ours_at: draft.local_at,
            theirs_at: draft.remote_at,
            opened_at: conflict.opened_at,
            resolved_at: conflict.resolved_at,
            resolved_by: conflict.resolved_by.clone(),
        }
    }
}

impl From<&Event> for SideView {
    fn from(event: &Event) -> Self {
        let fields = event.fields();
        Self {
            start: fields.map(|fields| Time::from(&fields.start)),
            end: fields.map(|fields| EndTime::from(&fields.end)),
            details: fields.map(|fields| Details::of(fields, DetailLevel::Full)),
        }
    }
}

/// Whether every version of everything in a conflict is public.
pub(super) fn is_public(draft: &ConflictDraft) -> bool {
    [&draft.base, &draft.local, &draft.remote].into_iter().flatten().all(is_all_public)
}

/// What a contest is called in a decision; where it is about a guest, also with whom.
pub(super) fn field_names(contest: &Contest) -> (String, Option<String>) {
    let instance = contest.instance.map(|instance| format!("{instance}/")).unwrap_or_default();
    let what = atom_key(&contest.atom).unwrap_or_default();
    let short = format!("{instance}{what}");
    let long = address(&contest.atom).map(|address| format!("{short}:{address}"));
    (short, long)
}

impl ContestView {
    /// Values only where every version of everything in it is public.
    fn of(contest: &Contest, is_public: bool) -> Self {
        let (short, long) = field_names(contest);
        Self {
            field: long.filter(|_| is_public).unwrap_or(short),
            what: atom_key(&contest.atom).unwrap_or_default(),
            instance: contest.instance,
            ours: contest.local.clone().filter(|_| is_public),
            theirs: contest.remote.clone().filter(|_| is_public),
        }
    }
}
