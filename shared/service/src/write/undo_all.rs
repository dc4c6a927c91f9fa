//! Taking back everything that one request or one run of a job wrote.

use std::borrow::Cow;

use calfleet_domain::model::{EventId, HistoryId};
use calfleet_store::Scope;
use calfleet_store::history;
use serde::{Deserialize, Serialize};

use super::commit::{Mode, Terms};
use super::outcome::WriteError;
use super::permit::Refusal;
use crate::service::Service;

/// Most entries that are taken back at once.
const AT_ONCE: usize = 500;

/// What became of one entry that was to be taken back with others, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoneView {
    /// The event it is about.
    pub event_id: EventId,
    /// The entry.
    pub history_id: HistoryId,
    /// `undone`, `refused`; `undoable` where it is only asked.
    pub outcome: Cow<'static, str>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Service {
    /// Takes back all changes of events that one request or one run of a job wrote, the newest first, each as a write of
    /// its own. What is refused is named and stands in nobody's way. Where `terms` only explain, each entry is looked at
    /// as if it were the only one.
    ///
    /// # Errors
    /// When nothing of that name wrote anything, it wrote more than can be taken back at once, or our database fails;
    /// what was taken back until then stays so.
    pub async fn undo_cause(&self, cause_id: &str, terms: &Terms) -> Result<Vec<UndoneView>, WriteError> {
        let tx = self.store.read(Scope::Organization(terms.organization_id)).await?;
        let entries = history::of_cause(&tx, cause_id, AT_ONCE + 1).await?;
        drop(tx);
        if entries.is_empty() {
            return Err(WriteError::NotFound("request or run that changed events"));
        }
        if entries.len() > AT_ONCE {
            let message = format!(
                "It changed more than {AT_ONCE} events, which is more than can be taken back at once; undo them event by event."
            );
            return Err(Refusal::new("too_many_changes", message).into());
        }
        let mut undone = Vec::with_capacity(entries.len());
        for (event_id, entry) in entries {
            let (outcome, error) = match self.undo_change(event_id, entry.id, terms).await {
                Ok(_) if terms.mode == Mode::Explain => ("undoable", None),
                Ok(_) => ("undone", None),
                Err(WriteError::Refused(refusal)) => ("refused", Some(refusal.message)),
                Err(WriteError::NotFound(_)) => ("refused", Some("The event is gone already.".to_owned())),
                Err(WriteError::Busy) => {
                    ("refused", Some("Others are changing the event; take it back again.".to_owned()))
                }
                Err(WriteError::Invalid(all)) => {
                    let all: Vec<&str> = all.iter().map(|one| one.message.as_ref()).collect();
                    ("refused", Some(all.join(" ")))
                }
                Err(error) => return Err(error),
            };
            undone.push(UndoneView { event_id, history_id: entry.id, outcome: outcome.into(), error });
        }
        Ok(undone)
    }
}
