//! The outbox: intents to write to a provider, in the order in which they were received. Content is read from the event
//! when it is sent; what was sent is kept beside until it is answered, because the event may be edited meanwhile, and
//! our own write must be known again when its answer is lost.
//!
//! An entry is *pending* until the provider has answered. `sent_at` is committed before the call: an entry that has
//! it may have been applied, so whoever takes it up again reads before it writes. Entries of one event keep their
//! order: none is taken up before an earlier one is settled, whatever that one waits for.

use std::collections::HashMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    CalendarId, ConnectionId, EditScope, Event, EventId, Notify, Operation, OutboxId, RecurrenceId,
};

use crate::bulk::Input;
use crate::error::StoreError;
use crate::problem::LastProblem;
use crate::transaction::{Row, Tx, to_json, values};

/// What has become of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxState {
    /// Waits for the provider.
    Pending,
    /// The provider has it.
    Done,
    /// Went along with a later one of the same event, or was made needless by it.
    Folded,
    /// Given up, with its reason; a person may try it again.
    Dead,
}

impl OutboxState {
    /// The name in the table and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Folded => "folded",
            Self::Dead => "dead",
        }
    }

    /// The state of that name; unknown names are `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Done, Self::Folded, Self::Dead].into_iter().find(|state| state.as_str() == name)
    }
}

/// An intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The entry.
    pub id: OutboxId,
    /// Its connection.
    pub connection_id: ConnectionId,
    /// The event's calendar.
    pub calendar_id: CalendarId,
    /// Which event.
    pub event_id: EventId,
    /// What is done to it.
    pub operation: Operation,
    /// How much of a series is meant.
    pub scope: EditScope,
    /// Which instance, where one is meant.
    pub recurrence_id: Option<RecurrenceId>,
    /// Whom the provider may mail.
    pub notify: Notify,
    /// What is said to those who are mailed, where the provider can carry it; part of no event.
    pub message: Option<String>,
    /// Smaller goes first.
    pub urgency: i16,
    /// The key under which a repeated request finds it.
    pub idempotency_key: Option<String>,
    /// What has become of it.
    pub state: OutboxState,
    /// When the request was received.
    pub received_at: Timestamp,
    /// When it was first sent; from then on it may have been applied.
    pub sent_at: Option<Timestamp>,
    /// When the provider answered for good.
    pub answered_at: Option<Timestamp>,
    /// Not to be sent before.
    pub not_before: Timestamp,
    /// Failures in a row.
    pub attempt: u32,
    /// The class of the last failure.
    pub class: Option<FailureClass>,
    /// The last failure for people.
    pub problem: Option<(String, String)>,
}

const COLUMNS: &str =
    "id, connection_id, calendar_id, event_id, operation, scope, recurrence_key, notify, message, urgency,
    idempotency_key, state, received_at, sent_at, answered_at, not_before, attempt, last_class,
    last_problem_code, last_problem";

/// Adds an intent, in the transaction that wrote what it is about; whether it is new. One with an idempotency key
/// that is there already is left as it is.
///
/// # Errors
/// When the database fails.
pub async fn append(tx: &Tx, entry: &OutboxEntry) -> Result<bool, StoreError> {
    const OPERATION: &str = "append to the outbox";
    let organization = tx.organization(OPERATION)?;
    let sql =
        "INSERT INTO outbox (id, organization_id, connection_id, calendar_id, event_id, operation, scope,
            recurrence_key, notify, message, urgency, idempotency_key, state, received_at, not_before)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'pending', $13, $14) ON CONFLICT DO NOTHING";
    let values = values![
        entry.id,
        organization,
        entry.connection_id,
        entry.calendar_id,
        entry.event_id,
        entry.operation.as_str(),
        entry.scope.as_str(),
        entry.recurrence_id.map(|id| id.to_string()),
        entry.notify.as_str(),
        entry.message.clone(),
        entry.urgency,
        entry.idempotency_key.clone(),
        entry.received_at,
        entry.not_before,
    ];
    Ok(tx.execute(OPERATION, sql, values).await? == 1)
}

/// The pending entries of a connection whose turn it is at `now`, all of an event together and in the order of their
/// receipt, events by urgency and age; of at most `events` events. An event one of whose entries has to wait is not
/// among them.
///
/// # Errors
/// When the database fails.
pub async fn ready(
    tx: &Tx,
    connection: ConnectionId,
    events: usize,
    now: Timestamp,
) -> Result<Vec<OutboxEntry>, StoreError> {
    const OPERATION: &str = "read the outbox";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "WITH chosen AS (
            SELECT event_id, min(urgency) AS first, min(received_at) AS since FROM outbox
            WHERE organization_id = $1 AND connection_id = $2 AND state = 'pending'
            GROUP BY event_id HAVING max(not_before) <= $3 ORDER BY 2, 3, 1 LIMIT $4)
         SELECT {COLUMNS} FROM outbox JOIN chosen USING (event_id)
         WHERE organization_id = $1 AND connection_id = $2 AND state = 'pending'
         ORDER BY chosen.first, chosen.since, event_id, received_at, id"
    );
    let limit = i64::try_from(events).unwrap_or(i64::MAX);
    let rows = tx.all(OPERATION, &sql, values![organization, connection, now, limit]).await?;
    rows.iter().map(read).collect()
}

/// When a connection's outbox has something to send next; `None` where nothing is pending.
///
/// # Errors
/// When the database fails.
pub async fn next_due(tx: &Tx, connection: ConnectionId) -> Result<Option<Timestamp>, StoreError> {
    const OPERATION: &str = "see when the outbox is due";
    let organization = tx.organization(OPERATION)?;
    let sql = "SELECT min(due) FROM (SELECT max(not_before) AS due FROM outbox
            WHERE organization_id = $1 AND connection_id = $2 AND state = 'pending' GROUP BY event_id) AS events";
    let row = tx.one(OPERATION, sql, values![organization, connection]).await?;
    Ok(row.map(|row| row.at::<Option<i64>>(0)).transpose()?.flatten().map(Timestamp))
}

/// The entries of one event, in the order of their receipt, which are about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'a> {
    /// They go along together.
    pub entries: &'a [OutboxId],
    /// What the event shall say; `None` where it is deleted.
    pub event: Option<&'a Event>,
}

/// Marks entries as sent, before the provider is asked, and keeps what is sent until it is answered.
///
/// # Errors
/// When the database fails.
pub async fn mark_sent(tx: &Tx, sending: &[Sending<'_>], now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "mark outbox entries as sent";
    let (mut ids, mut sent) = (Vec::new(), Vec::new());
    for Sending { entries, event } in sending {
        let Some((last, earlier)) = entries.split_last() else { continue };
        ids.extend(earlier.iter().chain([last]).copied());
        sent.extend(earlier.iter().map(|_| None));
        sent.push(event.map(|event| to_json(OPERATION, "sent", event)).transpose()?);
    }
    let sql = "WITH {input} UPDATE outbox SET sent_at = COALESCE(sent_at, $2), sent = input.sent
         FROM input WHERE outbox.id = input.id AND outbox.organization_id = $1 AND state = 'pending'";
    let input = Input::new().column("id", ids).column("sent", sent);
    input.execute(tx, OPERATION, sql, values![tx.organization(OPERATION)?, now]).await.map(drop)
}

/// What was sent last of each of these events and has not been answered yet.
///
/// # Errors
/// When the database fails.
pub async fn unanswered(tx: &Tx, events: &[EventId]) -> Result<HashMap<EventId, Event>, StoreError> {
    const OPERATION: &str = "read what was sent";
    let organization = tx.organization(OPERATION)?;
    let sql = "WITH {input} SELECT event_id, sent FROM outbox JOIN input USING (event_id)
         WHERE organization_id = $1 AND state = 'pending' AND sent_at IS NOT NULL AND sent IS NOT NULL
         ORDER BY received_at, id";
    let input = Input::new().column("event_id", events.iter().copied());
    let rows = input.all(tx, OPERATION, sql, values![organization]).await?;
    let sent = rows.iter().map(|row| {
        let unreadable = StoreError::Unreadable { operation: OPERATION, column: "sent" };
        Ok((EventId(row.get("event_id")?), row.json("sent")?.ok_or(unreadable)?))
    });
    sent.collect()
}

/// Settles entries, those of each event together: the provider has answered for the last of them, and the earlier
/// ones went along.
///
/// # Errors
/// When the database fails.
pub async fn settle(tx: &Tx, entries: &[&[OutboxId]], now: Timestamp) -> Result<(), StoreError> {
    let split = || entries.iter().filter_map(|entries| entries.split_last());
    let last: Vec<OutboxId> = split().map(|(last, _)| *last).collect();
    let earlier: Vec<OutboxId> = split().flat_map(|(_, earlier)| earlier).copied().collect();
    let sql = "WITH {input} UPDATE outbox SET state = $2, answered_at = $3, sent = NULL, last_class = NULL,
            last_problem_code = NULL, last_problem = NULL
         FROM input WHERE outbox.id = input.id AND outbox.organization_id = $1";
    for (entries, state) in [(earlier, OutboxState::Folded), (last, OutboxState::Done)] {
        change(tx, "settle outbox entries", &entries, sql, vec![values![state.as_str()], values![now]])
            .await?;
    }
    Ok(())
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// Of which class.
    pub class: FailureClass,
    /// For people.
    pub problem: LastProblem,
    /// Failures in a row, this one included.
    pub attempt: u32,
    /// Not to be sent before.
    pub not_before: Timestamp,
    /// Whether the provider may have applied it all the same; `false` takes `sent_at` back.
    pub may_be_applied: bool,
}

/// Keeps entries for later, with what went wrong.
///
/// # Errors
/// When the database fails.
pub async fn defer(tx: &Tx, entries: &[OutboxId], setback: &Setback) -> Result<(), StoreError> {
    let sql = "WITH {input} UPDATE outbox SET not_before = $2, attempt = $3, last_class = $4,
            last_problem_code = $5, last_problem = $6, sent_at = CASE WHEN $7 THEN sent_at END
         FROM input WHERE outbox.id = input.id AND outbox.organization_id = $1 AND state = 'pending'";
    let fixed = vec![
        values![setback.not_before],
        values![i32::try_from(setback.attempt).unwrap_or(i32::MAX)],
        values![setback.class.code()],
        values![setback.problem.code.clone()],
        values![setback.problem.text.clone()],
        values![setback.may_be_applied],
    ];
    change(tx, "keep outbox entries for later", entries, sql, fixed).await
}

/// Gives entries up, with the reason.
///
/// # Errors
/// When the database fails.
pub async fn bury(
    tx: &Tx,
    entries: &[OutboxId],
    class: FailureClass,
    problem: &LastProblem,
) -> Result<(), StoreError> {
    let sql = "WITH {input} UPDATE outbox SET state = 'dead', answered_at = $2, last_class = $3,
            last_problem_code = $4, last_problem = $5
         FROM input WHERE outbox.id = input.id AND outbox.organization_id = $1 AND state = 'pending'";
    let fixed = vec![
        values![problem.at],
        values![class.code()],
        values![problem.code.clone()],
        values![problem.text.clone()],
    ];
    change(tx, "give outbox entries up", entries, sql, fixed).await
}

/// Takes a dead entry, and those of the same event that died with it, up again; how many.
///
/// # Errors
/// When the database fails.
pub async fn retry(tx: &Tx, event: EventId, now: Timestamp) -> Result<u64, StoreError> {
    const OPERATION: &str = "retry outbox entries";
    let organization = tx.organization(OPERATION)?;
    // what was given up for its age gets a new life
    let sql = "UPDATE outbox SET state = 'pending', not_before = 0, attempt = 0, answered_at = NULL,
            received_at = $3 WHERE organization_id = $1 AND event_id = $2 AND state = 'dead'";
    tx.execute(OPERATION, sql, values![organization, event, now]).await
}

/// Takes up again what was given up because its calendar was not found: it is listed again, or goes by another id; how
/// many.
///
/// # Errors
/// When the database fails.
pub async fn retry_not_found(tx: &Tx, calendar: CalendarId, now: Timestamp) -> Result<u64, StoreError> {
    const OPERATION: &str = "retry outbox entries of a calendar";
    let organization = tx.organization(OPERATION)?;
    let sql = "UPDATE outbox SET state = 'pending', not_before = 0, attempt = 0, answered_at = NULL,
            received_at = $3 WHERE organization_id = $1 AND calendar_id = $2 AND state = 'dead'
            AND last_problem_code = 'not_found'";
    tx.execute(OPERATION, sql, values![organization, calendar, now]).await
}

/// Takes unsettled entries of an event back, because it says again what the provider has; how many.
///
/// # Errors
/// When the database fails.
pub async fn withdraw(tx: &Tx, event: EventId, now: Timestamp) -> Result<u64, StoreError> {
    const OPERATION: &str = "withdraw outbox entries";
    let organization = tx.organization(OPERATION)?;
    let sql = "UPDATE outbox SET state = 'folded', answered_at = $3, sent = NULL
         WHERE organization_id = $1 AND event_id = $2 AND state IN ('pending', 'dead')";
    tx.execute(OPERATION, sql, values![organization, event, now]).await
}

/// Entries of an organization in a state, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    tx: &Tx,
    state: OutboxState,
    before: Option<OutboxId>,
    limit: u32,
) -> Result<Vec<OutboxEntry>, StoreError> {
    const OPERATION: &str = "list the outbox";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM outbox WHERE organization_id = $1 AND state = $2 AND id < $3
         ORDER BY id DESC LIMIT $4"
    );
    let before = before.map_or(uuid::Uuid::max(), |id| id.0);
    let values = values![organization, state.as_str(), before, i64::from(limit)];
    tx.all(OPERATION, &sql, values).await?.iter().map(read).collect()
}

/// One entry.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: OutboxId) -> Result<Option<OutboxEntry>, StoreError> {
    const OPERATION: &str = "load an outbox entry";
    let organization = tx.organization(OPERATION)?;
    let sql = format!("SELECT {COLUMNS} FROM outbox WHERE organization_id = $1 AND id = $2");
    tx.one(OPERATION, &sql, values![organization, id]).await?.as_ref().map(read).transpose()
}

/// The entry that a request with this idempotency key made.
///
/// # Errors
/// When the database fails.
pub async fn by_idempotency_key(tx: &Tx, key: &str) -> Result<Option<OutboxEntry>, StoreError> {
    const OPERATION: &str = "find an outbox entry";
    let organization = tx.organization(OPERATION)?;
    let sql = format!("SELECT {COLUMNS} FROM outbox WHERE organization_id = $1 AND idempotency_key = $2");
    tx.one(OPERATION, &sql, values![organization, key]).await?.as_ref().map(read).transpose()
}

/// The unsettled entries of these events, pending and dead, in the order of their receipt.
///
/// # Errors
/// When the database fails.
pub async fn unsettled(tx: &Tx, events: &[EventId]) -> Result<Vec<OutboxEntry>, StoreError> {
    const OPERATION: &str = "read the outbox of events";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "WITH {{input}} SELECT {COLUMNS} FROM outbox JOIN input USING (event_id)
         WHERE organization_id = $1 AND state IN ('pending', 'dead') ORDER BY received_at, id"
    );
    let input = Input::new().column("event_id", events.iter().copied());
    input.all(tx, OPERATION, &sql, values![organization]).await?.iter().map(read).collect()
}

/// The pending entries of a calendar, at most `limit`, in the order of their receipt.
///
/// # Errors
/// When the database fails.
pub async fn of_calendar(
    tx: &Tx,
    calendar: CalendarId,
    limit: usize,
) -> Result<Vec<OutboxEntry>, StoreError> {
    const OPERATION: &str = "read the outbox of a calendar";
    let organization = tx.organization(OPERATION)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM outbox WHERE organization_id = $1 AND calendar_id = $2 AND state = 'pending'
         ORDER BY received_at, id LIMIT $3"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    tx.all(OPERATION, &sql, values![organization, calendar, limit]).await?.iter().map(read).collect()
}

/// A statement about entries; `fixed` are its parameters from `$2` on.
async fn change(
    tx: &Tx,
    operation: &'static str,
    entries: &[OutboxId],
    sql: &str,
    fixed: Vec<Vec<sea_orm::Value>>,
) -> Result<(), StoreError> {
    let mut parameters = values![tx.organization(operation)?];
    parameters.extend(fixed.into_iter().flatten());
    Input::new().column("id", entries.iter().copied()).execute(tx, operation, sql, parameters).await?;
    Ok(())
}

fn read(row: &Row) -> Result<OutboxEntry, StoreError> {
    let problem = row.get::<Option<String>>("last_problem_code")?.zip(row.get("last_problem")?);
    Ok(OutboxEntry {
        id: OutboxId(row.get("id")?),
        connection_id: ConnectionId(row.get("connection_id")?),
        calendar_id: CalendarId(row.get("calendar_id")?),
        event_id: EventId(row.get("event_id")?),
        operation: row.named("operation", Operation::from_name)?,
        scope: row.named("scope", EditScope::from_name)?,
        recurrence_id: row
            .get::<Option<String>>("recurrence_key")?
            .map(|key| {
                let unreadable =
                    StoreError::Unreadable { operation: "read the outbox", column: "recurrence_key" };
                key.parse().map_err(|_| unreadable)
            })
            .transpose()?,
        notify: row.named("notify", Notify::from_name)?,
        message: row.get("message")?,
        urgency: row.get("urgency")?,
        idempotency_key: row.get("idempotency_key")?,
        state: row.named("state", OutboxState::from_name)?,
        received_at: Timestamp(row.get("received_at")?),
        sent_at: row.instant("sent_at")?,
        answered_at: row.instant("answered_at")?,
        not_before: Timestamp(row.get("not_before")?),
        attempt: row.numbered("attempt", |attempt: i32| u32::try_from(attempt).ok())?,
        class: row.get::<Option<i16>>("last_class")?.and_then(FailureClass::from_code),
        problem,
    })
}
