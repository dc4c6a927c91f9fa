//! Handing out: which ready rows get a hint, fairly between organizations.
//!
//! The oldest ready rows of a lane are ranked within their organization, four for every place there is, so that one
//! organization's backlog does not push the others' few rows back. When a backlog is deeper than that, half of the
//! places go to the organizations in turn ([`Fairness`] remembers whose turn it is), three rows each.

use std::collections::BTreeSet;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::job::{Kind, Lane, WorkKey};
use calfleet_domain::model::OrganizationId;
use uuid::Uuid;

use super::claim::keyed;
use super::{SUSPECT_DELIVERIES, key, spell, twice};
use crate::bulk::Input;
use crate::database::Store;
use crate::error::StoreError;
use crate::gate::Priority;
use crate::transaction::{Row, Scope, Tx, values};

/// How many ready rows are ranked for every place.
const RANKED_PER_PLACE: usize = 4;
/// How many rows an organization gets when it is its turn.
const ROWS_A_TURN: usize = 3;
/// The advisory lock under which suspects are handed out; arbitrary, but must never change.
const SUSPECT_LOCK: i64 = 7_221_531;

/// A row that was marked: its hint shall be pushed once the transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedOut {
    /// What, for whom.
    pub key: WorkKey,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// The lane to push it to.
    pub lane: Lane,
}

/// What marks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// The epoch of the queue the hints will travel in.
    pub epoch: i64,
    /// How long a hint may take from here to a claim before it counts as lost.
    pub last: Duration,
}

/// What a ticker remembers between ticks, for each lane: whether the last tick left ready rows behind, and which
/// organization had its turn last.
#[derive(Debug, Clone, Default)]
pub struct Fairness {
    lanes: [Turn; 4],
}

impl Fairness {
    /// Whether the last tick left ready rows behind for want of room.
    pub fn is_crowded(&self) -> bool {
        self.lanes.iter().any(|turn| turn.is_crowded)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    is_crowded: bool,
    after: Uuid,
}

/// Takes back the marks that ran out or belong to a queue that lost its contents.
///
/// # Errors
/// When the database fails.
pub async fn recover(store: &Store, epoch: i64, now: Timestamp) -> Result<u64, StoreError> {
    // a plain UPDATE meets bulk asks and claims in another order and deadlocks within seconds
    const RECOVER: &str = "WITH lapsed AS (
            SELECT w.kind, w.target_id FROM work w
            WHERE w.enqueued_until > 0 AND (w.enqueued_until <= $1 OR w.enqueued_in <> $2) {skipping})
        UPDATE work SET enqueued_until = 0
        FROM lapsed WHERE work.kind = lapsed.kind AND work.target_id = lapsed.target_id";
    let tx = store.single(Priority::Interactive).await?;
    let recovered = tx.execute("recover lost hints", &spell(&tx, RECOVER), values![now, epoch]).await?;
    tx.commit().await?;
    Ok(recovered)
}

/// Which lanes have a ready row, and whether a suspect is ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    lanes: [bool; 4],
    suspect: bool,
}

/// Looks for ready work: one round trip, so that a nudge costs little.
///
/// The first row of each index is compared with the clock, not a row looked for that is ready: planned once for
/// every instant, Postgres takes a third of the table for ready and looks through all of it.
///
/// # Errors
/// When the database fails.
pub async fn look(store: &Store, now: Timestamp) -> Result<Seen, StoreError> {
    // SQLite's writer is left to those who write
    let tx = if store.is_sqlite() {
        store.read(Scope::Fleet).await?
    } else {
        store.single(Priority::Interactive).await?
    };
    let first = |which: &str| {
        format!(
            "COALESCE((SELECT ready_at FROM work WHERE {which} AND state = 0 AND enqueued_until = 0
                ORDER BY ready_at LIMIT 1) <= $1, FALSE)"
        )
    };
    let ready = |lane: usize| first(&format!("lane = {lane} AND deliveries < {SUSPECT_DELIVERIES}"));
    let suspect = first(&format!("deliveries >= {SUSPECT_DELIVERIES}"));
    let sql = format!("SELECT {}, {}, {}, {}, {suspect}", ready(0), ready(1), ready(2), ready(3));
    let Some(row) = tx.one("look for ready work", &sql, values![now]).await? else {
        return Ok(Seen::default());
    };
    Ok(Seen { lanes: [row.at(0)?, row.at(1)?, row.at(2)?, row.at(3)?], suspect: row.at(4)? })
}

/// Marks ready rows as handed out, in each lane no more than there is room for, and answers them: push their hints.
/// What was not `seen` to be ready is left to the next tick.
///
/// # Errors
/// When the database fails; what was marked is handed out again when its marks run out.
pub async fn hand_out(
    store: &Store,
    seen: Seen,
    room: [usize; 4],
    marks: Marks,
    fairness: &mut Fairness,
    now: Timestamp,
) -> Result<Vec<HandedOut>, StoreError> {
    let mut out = Vec::new();
    for (turn, ready) in fairness.lanes.iter_mut().zip(seen.lanes) {
        turn.is_crowded &= ready;
    }
    if seen == Seen::default() {
        return Ok(out);
    }
    let tx = store.single(Priority::Interactive).await?;
    for (lane, ((room, ready), turn)) in
        Lane::ALL.iter().zip(room.into_iter().zip(seen.lanes).zip(&mut fairness.lanes))
    {
        if !ready || room == 0 {
            continue;
        }
        let mark = Mark { tx: &tx, lane: *lane, marks, now };
        let taken = out.len();
        if turn.is_crowded {
            mark.in_turn(room / 2, turn, &mut out).await?;
        }
        let left = room.saturating_sub(out.len() - taken);
        mark.oldest(left, &mut out).await?;
        turn.is_crowded = out.len() - taken >= room;
    }
    tx.commit().await?;
    if seen.suspect {
        // rare, and no statement alone: that no other is under way has to hold until the mark is there
        let tx = store.begin(Scope::Fleet, Priority::Interactive).await?;
        mark_suspect(&tx, marks, now, &mut out).await?;
        tx.commit().await?;
    }
    Ok(out)
}

/// What is attempted in turn, for errors.
const IN_TURN: &str = "hand work out in turn";

/// Marking rows of one lane.
struct Mark<'a> {
    tx: &'a Tx,
    lane: Lane,
    marks: Marks,
    now: Timestamp,
}

/// The rows `chosen` are looked at again under their locks: another scheduler may have been here. The signs keep
/// SQLite from looking for every one of them among all ready rows instead of by its key.
const MARK: &str = ", ready AS (
        SELECT w.kind, w.target_id FROM chosen JOIN work w ON w.kind = chosen.kind AND w.target_id = chosen.target_id
        WHERE +w.lane = $1 AND w.state = 0 AND w.enqueued_until = 0 AND +w.ready_at <= $2 {skipping})
    UPDATE work SET enqueued_until = $3, enqueued_in = $4
    FROM ready WHERE work.kind = ready.kind AND work.target_id = ready.target_id
    RETURNING work.kind, work.target_id, organization_id, lane";

impl Mark<'_> {
    async fn oldest(&self, places: usize, out: &mut Vec<HandedOut>) -> Result<(), StoreError> {
        let sql = format!(
            "WITH oldest AS (
                SELECT kind, target_id, organization_id, ready_at FROM work
                WHERE lane = $1 AND state = 0 AND enqueued_until = 0 AND ready_at <= $2
                    AND deliveries < {SUSPECT_DELIVERIES} ORDER BY ready_at LIMIT $5),
            ranked AS (
                SELECT kind, target_id, ready_at,
                    row_number() OVER (PARTITION BY organization_id ORDER BY ready_at) AS place FROM oldest),
            chosen AS (SELECT kind, target_id FROM ranked ORDER BY place, ready_at LIMIT $6){MARK}"
        );
        let mut fixed = self.fixed();
        fixed.extend(values![count(places * RANKED_PER_PLACE), count(places)]);
        let answer = self.tx.all("hand work out", &spell(self.tx, &sql), fixed).await?;
        read(&answer, out)
    }

    /// The next organizations in turn. They are found by skipping through the index from one to the next, whether or
    /// not they have anything ready.
    async fn in_turn(
        &self,
        places: usize,
        turn: &mut Turn,
        out: &mut Vec<HandedOut>,
    ) -> Result<(), StoreError> {
        const NEXT: &str = "SELECT organization_id FROM work
            WHERE lane = $1 AND state = 0 AND enqueued_until = 0 AND organization_id > ";
        let sql = format!(
            "WITH RECURSIVE turns (organization_id, place) AS (
                SELECT ({NEXT} $2 ORDER BY organization_id LIMIT 1), 1
                UNION ALL
                SELECT ({NEXT} turns.organization_id ORDER BY organization_id LIMIT 1), turns.place + 1 FROM turns
                WHERE turns.organization_id IS NOT NULL AND turns.place < $3)
            SELECT organization_id FROM turns WHERE organization_id IS NOT NULL"
        );
        let turns = (places / ROWS_A_TURN).max(1);
        let fixed = values![self.lane.code(), turn.after, count(turns)];
        let mut organizations = Vec::new();
        for row in self.tx.all("see whose turn it is", &sql, fixed).await? {
            organizations.push(row.get::<Uuid>("organization_id")?);
        }
        // after the last one the first is next
        turn.after = if organizations.len() < turns { None } else { organizations.last() }
            .copied()
            .unwrap_or_default();
        // SQLite knows no LATERAL; its statements cost no round trip
        if self.tx.is_postgres() {
            let few = self.few("input.whose");
            let sql = format!(
                "WITH {{input}}, chosen AS (
                    SELECT few.kind, few.target_id FROM input CROSS JOIN LATERAL ({few}) AS few){MARK}"
            );
            let input = Input::new().column("whose", organizations);
            return read(&input.all(self.tx, IN_TURN, &spell(self.tx, &sql), self.fixed()).await?, out);
        }
        let sql = format!("WITH chosen AS ({}){MARK}", self.few("$5"));
        for organization in organizations {
            let mut fixed = self.fixed();
            fixed.extend(values![organization]);
            read(&self.tx.all(IN_TURN, &spell(self.tx, &sql), fixed).await?, out)?;
        }
        Ok(())
    }

    /// The oldest ready rows of one organization.
    fn few(&self, whose: &str) -> String {
        let lane = self.lane.code();
        format!(
            "SELECT kind, target_id FROM work
             WHERE lane = {lane} AND organization_id = {whose} AND state = 0 AND enqueued_until = 0
                AND ready_at <= $2 AND deliveries < {SUSPECT_DELIVERIES}
             ORDER BY ready_at LIMIT {ROWS_A_TURN}"
        )
    }

    fn fixed(&self) -> Vec<sea_orm::Value> {
        values![self.lane.code(), self.now, self.now.plus(self.marks.last), self.marks.epoch]
    }
}

/// One suspect, if none is under way anywhere: it may take its worker along, and nobody else with it.
async fn mark_suspect(
    tx: &Tx,
    marks: Marks,
    now: Timestamp,
    out: &mut Vec<HandedOut>,
) -> Result<(), StoreError> {
    if tx.is_postgres() {
        let sql = "SELECT pg_try_advisory_xact_lock($1)";
        let alone = tx.one("hand a suspect out", sql, values![SUSPECT_LOCK]).await?;
        if !alone.map(|row| row.at::<bool>(0)).transpose()?.unwrap_or(false) {
            return Ok(());
        }
    }
    let sql = format!(
        "WITH chosen AS (
            SELECT w.kind, w.target_id FROM work w
            WHERE w.state = 0 AND w.enqueued_until = 0 AND w.ready_at <= $1 AND w.deliveries >= {SUSPECT_DELIVERIES}
                AND NOT EXISTS (SELECT 1 FROM work other WHERE other.deliveries >= {SUSPECT_DELIVERIES}
                    AND (other.enqueued_until > 0 OR other.lease_until > $1))
            ORDER BY w.ready_at LIMIT 1 {{skipping}})
        UPDATE work SET enqueued_until = $2, enqueued_in = $3
        FROM chosen WHERE work.kind = chosen.kind AND work.target_id = chosen.target_id
        RETURNING work.kind, work.target_id, organization_id, lane"
    );
    let fixed = values![now, now.plus(marks.last), marks.epoch];
    let answer = tx.all("hand a suspect out", &spell(tx, &sql), fixed).await?;
    read(&answer, out)
}

fn read(answer: &[Row], out: &mut Vec<HandedOut>) -> Result<(), StoreError> {
    for row in answer {
        // a kind that only newer programs know is theirs to hand out
        if Kind::from_code(row.get("kind")?).is_some() {
            let lane = row.numbered("lane", Lane::from_code)?;
            out.push(HandedOut {
                key: key(row)?,
                organization_id: OrganizationId(row.get("organization_id")?),
                lane,
            });
        }
    }
    Ok(())
}

/// Takes marks back: their hints could not be pushed, or were popped by a worker that ends.
///
/// # Errors
/// When the database fails; the marks then run out.
pub async fn unmark(store: &Store, keys: &[WorkKey]) -> Result<u64, StoreError> {
    const UNMARK: &str = "WITH {input}, marked AS (
            SELECT w.kind, w.target_id FROM input JOIN work w ON w.kind = input.kind
                AND w.target_id = input.target_id
            WHERE w.enqueued_until > 0 ORDER BY w.kind, w.target_id {locked})
        UPDATE work SET enqueued_until = 0
        FROM marked WHERE work.kind = marked.kind AND work.target_id = marked.target_id";
    let sorted: BTreeSet<WorkKey> = keys.iter().copied().collect();
    twice!(unmark_once(store, &sorted, UNMARK))
}

async fn unmark_once(store: &Store, keys: &BTreeSet<WorkKey>, sql: &str) -> Result<u64, StoreError> {
    let tx = store.single(Priority::Interactive).await?;
    let unmarked = keyed(keys.iter()).execute(&tx, "take marks back", &spell(&tx, sql), Vec::new()).await?;
    tx.commit().await?;
    Ok(unmarked)
}

/// A number of rows as a parameter.
fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
