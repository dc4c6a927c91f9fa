//! Polls of a calendar that did not change, and of one that did: requests, time, processor time, rows written.

use std::collections::BTreeMap;
use std::time::Duration;

use calfleet_harness::{Durability, Postgres, Redis};

use crate::figure::{Bound, figure, median_seconds, number};
use crate::fleet::{Account, Fleet};
use crate::samples::{self, CALENDAR, PASSWORD, USER};

const EVENTS: usize = 1_000;
const POLLS: usize = 100;

/// A session of Postgres that is idle adds up its counters after at most ten seconds.
const COUNTERS_SETTLE: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run with --release"]
async fn polls_without_and_with_a_change() {
    let (Some(postgres), Some(redis)) = (Postgres::start(Durability::Full), Redis::start()) else { return };
    let sandbox = samples::sandbox(EVENTS).await;
    let account = Account {
        url: sandbox.accounts()[0].url.clone(),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
    };
    let mut fleet = Fleet::start(&postgres, &redis, &account).await;
    fleet.import().await;
    fleet.poll().await;

    fleet.wait(COUNTERS_SETTLE).await;
    let (rows, processor) = (rows_written(&fleet), fleet.cpu());
    sandbox.log().clear();
    let mut walls = Vec::new();
    for _ in 0..POLLS {
        walls.push(fleet.poll().await);
    }
    let processor = fleet.cpu().saturating_sub(processor);
    let requests = number(sandbox.log().entries().len()) / number(POLLS);
    fleet.wait(COUNTERS_SETTLE).await;
    let polled = difference(&rows_written(&fleet), &rows);

    sandbox.log().clear();
    let mut changed_walls = Vec::new();
    for resource in sandbox.resources(USER, CALENDAR).unwrap().iter().take(POLLS) {
        let body = resource.body.replacen("SUMMARY:", "SUMMARY:Changed ", 1);
        sandbox.put(USER, CALENDAR, &resource.name, &body).unwrap();
        changed_walls.push(fleet.poll().await);
    }
    let changed_requests = number(sandbox.log().entries().len()) / number(POLLS);

    // A person's ask writes rows too, which are not the poll's.
    fleet.stop();
    fleet.wait(COUNTERS_SETTLE).await;
    let rows = rows_written(&fleet);
    for _ in 0..POLLS {
        fleet.ask().await;
    }
    fleet.wait(COUNTERS_SETTLE).await;
    let asked = difference(&rows_written(&fleet), &rows);

    figure("poll.unchanged.requests", requests, "requests", Bound::AtMost(1.0));
    figure("poll.unchanged.wall", median_seconds(&walls) * 1000.0, "ms", Bound::None);
    figure("poll.unchanged.cpu", processor.as_secs_f64() * 1000.0 / number(POLLS), "ms", Bound::None);
    for (table, count) in difference(&polled, &asked) {
        let bound = if table == "calendar_sync updates" { Bound::AtMost(1.0) } else { Bound::None };
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        figure(&format!("poll.unchanged.rows {table}"), count as f64 / number(POLLS), "rows", bound);
    }
    figure("poll.changed.requests", changed_requests, "requests", Bound::AtMost(2.0));
    figure("poll.changed.wall", median_seconds(&changed_walls) * 1000.0, "ms", Bound::None);
}

/// Rows written so far, by table and kind.
fn rows_written(fleet: &Fleet<'_>) -> BTreeMap<String, i64> {
    let sql = "SELECT relname || ' ' || kind || ' ' || count FROM pg_stat_user_tables, LATERAL (VALUES
         ('inserts', n_tup_ins), ('updates', n_tup_upd), ('hot updates', n_tup_hot_upd), ('deletes', n_tup_del))
         AS counted (kind, count)";
    let text = fleet.database.execute(sql).unwrap();
    let read = |line: &str| {
        let (name, count) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), count.parse().unwrap())
    };
    text.lines().map(read).collect()
}

/// What differs.
fn difference(one: &BTreeMap<String, i64>, other: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    one.iter()
        .map(|(name, count)| (name.clone(), count - other.get(name).copied().unwrap_or(0)))
        .filter(|(_, count)| *count != 0)
        .collect()
}
