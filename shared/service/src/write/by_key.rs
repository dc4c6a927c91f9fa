//! Saving an event under the application's own key: what is saved twice is one event.

use calfleet_domain::model::{CalendarId, EventId};
use calfleet_store::events::{self, EventState};
use calfleet_store::{Scope, Tx, app_keys};

use super::change::Wish;
use super::commit::{Mode, Terms};
use super::findings::Invalid;
use super::input::EventInput;
use super::outcome::{Outcome, WriteError};
use super::permit::{Place, Refusal};
use super::scope::Reach;
use crate::service::Service;

/// Longest key, in letters.
const KEY_CHARS: usize = 200;

/// How often a write is planned anew because others saved under the same key meanwhile.
const ATTEMPTS: u32 = 5;

/// What came of saving under a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// What was written.
    pub outcome: Outcome,
    /// Whether the event is new.
    pub is_new: bool,
}

impl Service {
    /// Makes the event of a key, or changes it where there is one; `calendar` is needed for a new one, and has to be
    /// where the event is otherwise.
    ///
    /// # Errors
    /// When the request cannot be used or may not be done, or our database fails; nothing is stored then.
    pub async fn save_event_by_key(
        &self,
        key: &str,
        calendar: Option<CalendarId>,
        input: &EventInput,
        terms: &Terms,
    ) -> Result<Saved, WriteError> {
        if key.is_empty() || key.chars().count() > KEY_CHARS || key.chars().any(char::is_control) {
            let message = format!("Give a key of 1 to {KEY_CHARS} letters.");
            return Err(vec![Invalid { field: "key".to_owned(), code: "not_a_key", message }].into());
        }
        for _ in 0..ATTEMPTS {
            let tx = self.store.read(Scope::Organization(terms.organization_id)).await?;
            let held = app_keys::find(&tx, key).await?;
            let live = self.live(&tx, held).await?;
            drop(tx);
            let place = match (live, calendar) {
                (Some((_, own)), Some(wanted)) if own != wanted => {
                    let message = "The event of this key is in another calendar; delete it there first.";
                    return Err(Refusal::new("other_calendar", message).into());
                }
                (Some((_, own)), _) => self.place(terms.organization_id, own).await?,
                (None, _) if terms.expected.is_some() => {
                    return Err(WriteError::NotFound("event of this key"));
                }
                (None, Some(wanted)) => self.place(terms.organization_id, wanted).await?,
                (None, None) => {
                    let message = "Say in which calendar: there is no event of this key yet.".to_owned();
                    let field = "calendar_id".to_owned();
                    return Err(vec![Invalid { field, code: "required", message }].into());
                }
            };
            let tx = self.begin(terms.organization_id).await?;
            let saved = match live {
                Some((id, _)) => {
                    let wish = Wish::Edit(&input.0, Reach::ALL);
                    let outcome = self.change_in(&tx, &place, id, &wish, terms).await?;
                    outcome.map(|outcome| Saved { outcome, is_new: false })
                }
                None => self.save_new(&tx, &place, (key, held), input, terms).await?,
            };
            match saved {
                None => tx.rollback().await?,
                Some(saved) => {
                    if terms.mode == Mode::Store {
                        tx.commit().await?;
                        self.nudge.nudge();
                    }
                    return Ok(saved);
                }
            }
        }
        Err(WriteError::Busy)
    }

    async fn save_new(
        &self,
        tx: &Tx,
        place: &Place,
        (key, held): (&str, Option<EventId>),
        input: &EventInput,
        terms: &Terms,
    ) -> Result<Option<Saved>, WriteError> {
        let mut new = self.drafted(place, input)?;
        new.note = serde_json::json!({ "app_key": key });
        // first the key: whoever else saves under it waits here
        if terms.mode == Mode::Store && !app_keys::bind(tx, key, new.id, held, self.now()).await? {
            return Ok(None);
        }
        let outcome = self.create_in(tx, place, &new, terms).await?;
        Ok(outcome.map(|outcome| Saved { outcome, is_new: true }))
    }

    /// The event and its calendar, if it has not been deleted.
    async fn live(&self, tx: &Tx, id: Option<EventId>) -> Result<Option<(EventId, CalendarId)>, WriteError> {
        let Some(id) = id else { return Ok(None) };
        let row = events::load(tx, id).await?.filter(|row| row.state != EventState::Tombstone);
        Ok(row.map(|row| (id, row.event.calendar_id)))
    }
}
