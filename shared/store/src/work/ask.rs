//! Asking: the only way in which anything ever gets done.

use std::collections::BTreeMap;

use calfleet_domain::job::{Ask, Asker, WorkKey};

use super::{key, spell};
use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::Tx;

/// A receipt: what was asked for is done when the row's `served` has reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub i64);

/// What every ask does to a row that is there. A more urgent one clears the mark, so that the row is handed out again
/// in its new lane.
const MACHINE: &str = "due_at = {least}(work.due_at, excluded.due_at), asked = work.asked + 1,
    lane = {least}(work.lane, excluded.lane),
    enqueued_until = CASE WHEN excluded.lane < work.lane THEN 0 ELSE work.enqueued_until END";

/// What a person's does besides: wakes a held or dead row and shortens a backoff, but no throttle (class 2).
const PERSON: &str = ", state = CASE WHEN work.state IN (1, 3) THEN 0 ELSE work.state END,
    attempt = CASE WHEN work.state = 3 THEN 0 ELSE work.attempt END,
    deliveries = CASE WHEN work.state = 3 THEN 0 ELSE work.deliveries END,
    not_before = CASE WHEN work.last_class = 2 THEN work.not_before
        ELSE {least}(work.not_before, excluded.due_at) END";

/// Makes rows due, in the transaction that wrote the reason; the last thing it does. Afterwards, nudge the queue.
///
/// Many asks for one row are one. The answer has a ticket for every row; a row that is already there for another
/// organization is left alone and has none.
///
/// # Errors
/// When the database fails.
pub async fn ask(tx: &Tx, asks: &[Ask]) -> Result<BTreeMap<WorkKey, Ticket>, StoreError> {
    let mut tickets = BTreeMap::new();
    for (asker, person) in [(Asker::Machine, ""), (Asker::Person, PERSON)] {
        let rows = fold(asks.iter().filter(|ask| ask.asker == asker));
        let sql = format!(
            "WITH {{input}} INSERT INTO work (kind, target_id, organization_id, connection_id, lane, due_at)
             SELECT kind, target_id, organization_id, connection_id, lane, due_at FROM input
             WHERE TRUE ORDER BY kind, target_id
             ON CONFLICT (kind, target_id) DO UPDATE SET {MACHINE}{person}
             WHERE work.organization_id = excluded.organization_id
             RETURNING kind, target_id, asked"
        );
        let input = Input::new()
            .column("kind", rows.values().map(|ask| ask.key.kind.code()))
            .column("target_id", rows.values().map(|ask| ask.key.target))
            .column("organization_id", rows.values().map(|ask| ask.organization_id))
            .column("connection_id", rows.values().map(|ask| ask.connection_id))
            .column("lane", rows.values().map(|ask| ask.lane.code()))
            .column("due_at", rows.values().map(|ask| ask.at));
        for row in input.all(tx, "ask for work", &spell(tx, &sql), Vec::new()).await? {
            tickets.insert(key(&row)?, Ticket(row.get("asked")?));
        }
    }
    Ok(tickets)
}

/// One ask a row, in the order of the keys: the most urgent lane and the earliest time.
fn fold<'a>(asks: impl Iterator<Item = &'a Ask>) -> BTreeMap<WorkKey, Ask> {
    let mut rows = BTreeMap::<WorkKey, Ask>::new();
    for ask in asks {
        rows.entry(ask.key)
            .and_modify(|row| {
                row.at = row.at.min(ask.at);
                row.lane = row.lane.min(ask.lane);
            })
            .or_insert(*ask);
    }
    rows
}
