//! Workers that are killed, and workers that stand still for twice the lease and then go on as if nothing had been
//! (law 9), while both sides are edited.
//!
//! `CALFLEET_TEST_SIZE=full` strikes a thousand times.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use calfleet_harness::{Postgres, Redis, Size, wait_until};
use calfleet_sandbox::{Fault, FaultRule, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api_client::Api;
use crate::fleet::{Fleet, PATIENCE, Program, database, holds, reaching};
use crate::outage::{assert_whole, leases};
use crate::provider::{PASSWORD, account, start};
use crate::writes::{named, writer};

const PEOPLE: [&str; 4] = ["ada", "bob", "carol", "dan"];
const LEASE: Duration = Duration::from_secs(1);

/// Notes each transaction that ends what a job did without having found its own lease: the row of `work` is not of
/// that transaction.
const NOTING: &str = "
    CREATE TABLE stale_commits (what text);
    CREATE FUNCTION note_stale() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF NOT EXISTS (SELECT FROM public.work
            WHERE target_id = NEW.connection_id AND xmin = pg_current_xact_id()::xid) THEN
            INSERT INTO public.stale_commits VALUES (TG_TABLE_NAME);
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER note_stale AFTER UPDATE ON calendar_sync DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION note_stale();
    CREATE CONSTRAINT TRIGGER note_stale AFTER UPDATE ON outbox DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION note_stale()";

fn settings(sandbox: &Sandbox) -> Vec<(&'static str, String)> {
    let mut settings = reaching(&[sandbox.address().port()]);
    let quick = [
        ("work.lease", "1s"),
        ("work.renew_every", "250ms"),
        ("work.hand_out", "1s"),
        // a person's patience with the server is not what is struck here
        ("limits.caldav.account.requests", "1000000"),
    ];
    settings.extend(quick.map(|(key, value)| (key, value.to_owned())));
    settings
}

/// Somebody's account: one calendar that other clients edit, one that the application writes into.
struct Desk {
    name: &'static str,
    connection: String,
    calendar: String,
}

impl Desk {
    async fn open(fleet: &Fleet, sandbox: &Sandbox, name: &'static str) -> Self {
        account(sandbox, name, &[("work", 40), ("ours", 0)]);
        let connection = fleet.connect(sandbox.url(), name, PASSWORD, &[]).await;
        fleet.sync(&connection).await;
        let calendar = named(fleet, &connection, "ours").await;
        Self { name, connection, calendar }
    }

    /// Makes an event here, or changes the one of the same number.
    async fn write(&self, api: &Api, number: u64, title: &str) {
        let path = format!("/calendars/{}/events/by-key/{}-{number}", self.calendar, self.name);
        let event = json!({ "title": title, "time_zone": "Europe/Paris",
            "start": "2026-12-01T10:00:00", "end": "2026-12-01T11:00:00" });
        let answer = api.send_json(Method::PUT, &path, &event).await;
        assert!(answer.status < 300, "{}", answer.body);
    }

    /// The titles of what was made here, as the server holds them.
    fn titles(&self, sandbox: &Sandbox) -> Vec<String> {
        let held = sandbox.resources(self.name, "ours").unwrap();
        let title =
            |body: &str| Some(body.lines().find_map(|line| line.strip_prefix("SUMMARY:Ours "))?.to_owned());
        let mut titles: Vec<String> = held.iter().filter_map(|one| title(&one.body)).collect();
        titles.sort();
        titles
    }
}

/// Lets real time pass.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    wait_until(PATIENCE, || Instant::now() >= end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_die_or_stand_still_lose_nothing_double_nothing_and_overwrite_nothing() {
    let (Some(postgres), Some(redis)) = (Postgres::shared(), Redis::shared()) else { return };
    let (database, sandbox) = (database(postgres).await, start().await);
    database.execute(NOTING).unwrap();
    let fleet = Fleet::full(&database, redis, &settings(&sandbox));
    let scheduler = fleet.start("scheduler").await;
    let mut workers: Vec<Program> = Vec::new();
    for _ in 0..3 {
        workers.push(fleet.start("worker").await);
    }
    let api = writer(&fleet, &scheduler, &[]).await;
    let mut desks = Vec::new();
    for name in PEOPLE {
        desks.push(Desk::open(&fleet, &sandbox, name).await);
    }
    sandbox.inject(FaultRule::next(Fault::Latency(60)).method("REPORT").always());
    sandbox.inject(FaultRule::next(Fault::Latency(60)).method("PUT").always());
    let mut expected: Vec<BTreeSet<String>> = vec![BTreeSet::new(); desks.len()];

    // each round strikes twice: one stands still, another dies
    for round in 0..Size::of_this_run().pick(10_u64, 500) {
        for (place, desk) in desks.iter().enumerate() {
            sandbox.mutate(desk.name, "work", 2, round).unwrap();
            desk.write(&api, round, &format!("Ours {round} new")).await;
            fleet.admin(&["sync", &desk.connection]).await;
            desk.write(&api, round, &format!("Ours {round}")).await;
            expected[place].insert(round.to_string());
        }
        let still = workers.remove(0);
        still.signal("STOP");
        let stopped = Instant::now();
        pass(Duration::from_millis(round * 37 % 180)).await;
        workers.remove(0).kill();
        workers.push(fleet.start("worker").await);
        pass((2 * LEASE).saturating_sub(stopped.elapsed())).await;
        still.signal("CONT");
        workers.push(still);
    }

    let stale = "SELECT count(*), string_agg(DISTINCT what, ' ') FROM stale_commits";
    assert_eq!(database.execute(stale).unwrap(), "0|", "committed without the lease");
    let unsettled = "SELECT count(*) FROM outbox WHERE state IN ('pending', 'dead')";
    let count = || database.execute(unsettled).unwrap();
    let is_settled = holds(PATIENCE, async || count() == "0" && leases(&database) == 0).await;
    assert!(is_settled, "{} entries wait, {} leases are left", count(), leases(&database));
    for (desk, expected) in desks.iter().zip(&expected) {
        fleet.sync(&desk.connection).await;
        assert_whole(&fleet, &database, &sandbox, desk.name, &desk.connection).await;
        let ours: Vec<&String> = expected.iter().collect();
        assert_eq!(desk.titles(&sandbox).iter().collect::<Vec<_>>(), ours, "{}", desk.name);
        let shown = fleet.events(&desk.connection).await;
        let title = |event: &Value| Some(event["title"].as_str()?.strip_prefix("Ours ")?.to_owned());
        let held: BTreeSet<String> = shown.iter().filter_map(title).collect();
        assert_eq!(&held, expected, "{}", desk.name);
    }
    assert_eq!(database.execute("SELECT count(*) FROM work WHERE state <> 0").unwrap(), "0", "set aside");
}
