//! The table of due work behaves alike in both databases; every rule of it that can be seen without a fleet.

use std::collections::BTreeMap;
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::job::{Ask, Asker, Claim, Finish, Lane, WorkKey, WorkState};
use calfleet_domain::model::{LeaseOwner, OrganizationId};
use calfleet_store::work::{self, Claimed, Fairness, HandedOut, HintedRow, Marks, Ticket, WorkRow};
use calfleet_store::{Options, Priority, Scope, Store, StoreError};
use uuid::Uuid;

use crate::fleet::{ORGANIZATION, ask_for, postgres, sync_of};

const LEASE: Duration = Duration::from_secs(30);
const MARKS: Marks = Marks { epoch: 7, last: Duration::from_secs(5) };
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// One database and the steps of a row's life.
struct Table {
    store: Store,
    fairness: Fairness,
    calls: u128,
}

impl Table {
    fn new(store: Store) -> Self {
        Self { store, fairness: Fairness::default(), calls: 0 }
    }

    async fn ask(&self, asks: &[Ask]) -> BTreeMap<WorkKey, Ticket> {
        let tx = self
            .store
            .begin(Scope::Organization(asks[0].organization_id), Priority::Interactive)
            .await
            .unwrap();
        let tickets = work::ask(&tx, asks).await.unwrap();
        tx.commit().await.unwrap();
        tickets
    }

    async fn tick(&mut self, now: Timestamp) -> Vec<HandedOut> {
        let seen = work::look(&self.store, now).await.unwrap();
        work::hand_out(&self.store, seen, [100; 4], MARKS, &mut self.fairness, now).await.unwrap()
    }

    async fn claim_hints(&mut self, hints: &[HandedOut], now: Timestamp) -> Claimed {
        let rows: Vec<_> = hints
            .iter()
            .map(|hint| HintedRow { key: hint.key, organization_id: hint.organization_id, lane: hint.lane })
            .collect();
        self.calls += 1;
        work::claim(&self.store, &rows, LeaseOwner(Uuid::from_u128(self.calls)), LEASE, now).await.unwrap()
    }

    /// Ticks and claims everything.
    async fn claim(&mut self, now: Timestamp) -> Vec<Claim> {
        let hints = self.tick(now).await;
        self.claim_hints(&hints, now).await.claims
    }

    async fn finish(&self, claim: &Claim, finish: Finish, now: Timestamp) -> work::Finished {
        work::finish(&self.store, &[(claim, &finish)], now).await.unwrap()
    }

    async fn row(&self, target: u128) -> WorkRow {
        let tx = self.store.read(Scope::Fleet).await.unwrap();
        work::load(&tx, sync_of(target)).await.unwrap().unwrap()
    }

    async fn fence(&self, claim: &Claim, now: Timestamp) -> Result<(), StoreError> {
        let tx = self.store.begin(Scope::Organization(ORGANIZATION), Priority::Background).await?;
        work::fence(&tx, claim, LEASE, now).await?;
        tx.commit().await
    }
}

/// Runs a test on every database.
async fn each<F: Future<Output = ()>>(test: impl Fn(Table) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("work.db").display());
    calfleet_migrations::run(&url).await.unwrap();
    test(Table::new(Store::connect(&Options::new(url)).await.unwrap())).await;
    if let Some(database) = postgres().await {
        let store = Store::connect(&Options::new(database.url())).await.unwrap();
        test(Table::new(store)).await;
    }
}

fn by_a_person(target: u128, at: Timestamp) -> Ask {
    Ask { asker: Asker::Person, lane: Lane::Interactive, ..ask_for(target, at) }
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn failed(class: FailureClass, not_before: Timestamp) -> Finish {
    Finish { attempt: 1, class: Some(class), not_before, ..Finish::done(not_before) }
}

#[tokio::test]
async fn a_row_is_handed_out_once_claimed_once_and_done_when_its_ticket_is_served() {
    each(async |mut table| {
        table.ask(&[ask_for(1, NOW), ask_for(1, later(9))]).await;
        let ticket = table.ask(&[ask_for(1, NOW)]).await[&sync_of(1)];
        assert!(!table.row(1).await.is_served(ticket));

        let hints = table.tick(NOW).await;
        assert_eq!(hints.len(), 1);
        assert_eq!(table.tick(NOW).await, []);
        let claims = table.claim_hints(&hints, NOW).await.claims;
        assert_eq!(claims.len(), 1);
        assert_eq!(table.claim_hints(&hints, NOW).await, Claimed::default());
        table.finish(&claims[0], Finish::done(later(60)), NOW).await;

        let row = table.row(1).await;
        assert!(row.is_served(ticket));
        assert_eq!((row.due_at, row.lease_until), (later(60), Timestamp::ZERO));
        assert_eq!(table.tick(later(59)).await, []);
        assert_eq!(table.tick(later(60)).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_asked_while_a_row_runs_is_honoured_after_it_now_or_later() {
    each(async |mut table| {
        table.ask(&[ask_for(1, NOW), ask_for(2, NOW)]).await;
        let claims = table.claim(NOW).await;
        table.ask(&[ask_for(1, NOW)]).await;
        table.ask(&[ask_for(2, later(30))]).await;

        let mut again = 0;
        for claim in &claims {
            again += table.finish(claim, Finish::done(later(3600)), later(1)).await.ready_again;
        }

        assert_eq!(again, 1);
        assert!(table.row(1).await.asked > table.row(1).await.served);
        assert_eq!(table.tick(later(1)).await.iter().map(|hint| hint.key).collect::<Vec<_>>(), [sync_of(1)]);
        assert_eq!(table.tick(later(30)).await.iter().map(|hint| hint.key).collect::<Vec<_>>(), [sync_of(2)]);
    })
    .await;
}

#[tokio::test]
async fn whoever_lost_his_lease_can_neither_commit_nor_renew_nor_finish() {
    each(async |mut table| {
        table.ask(&[ask_for(1, NOW)]).await;
        let old = table.claim(NOW).await.remove(0);
        table.fence(&old, NOW).await.unwrap();

        let new = table.claim(later(31)).await.remove(0);

        assert!(new.fence > old.fence);
        let refused = table.fence(&old, later(31)).await.unwrap_err();
        assert!(matches!(refused, StoreError::LeaseLost { .. }), "{refused}");
        let lost = work::renew(&table.store, &[old.clone(), new.clone()], LEASE, later(40)).await.unwrap();
        assert_eq!(lost, std::slice::from_ref(&old));
        assert_eq!(table.finish(&old, Finish::done(later(99)), later(31)).await.written, 0);
        assert_eq!(table.row(1).await.lease_until, later(40).plus(LEASE));
        assert_eq!(table.finish(&new, Finish::done(later(99)), later(31)).await.written, 1);
    })
    .await;
}

#[tokio::test]
async fn a_backoff_yields_to_a_person_only_and_a_throttle_to_nobody() {
    each(async |mut table| {
        table.ask(&[ask_for(1, NOW), ask_for(2, NOW)]).await;
        for claim in table.claim(NOW).await {
            let class = if claim.key == sync_of(1) {
                FailureClass::Transient
            } else {
                FailureClass::Throttled { retry_after: None }
            };
            table.finish(&claim, failed(class, later(600)), NOW).await;
        }

        table.ask(&[ask_for(1, NOW), ask_for(2, NOW)]).await;
        assert_eq!(table.tick(later(1)).await, []);
        table.ask(&[by_a_person(1, NOW), by_a_person(2, NOW)]).await;

        assert_eq!(table.tick(later(1)).await.iter().map(|hint| hint.key).collect::<Vec<_>>(), [sync_of(1)]);
        assert_eq!(
            table.tick(later(600)).await.iter().map(|hint| hint.key).collect::<Vec<_>>(),
            [sync_of(2)]
        );
    })
    .await;
}

#[tokio::test]
async fn a_more_urgent_ask_is_handed_out_again_in_its_lane_and_runs_once() {
    each(async |mut table| {
        table.ask(&[ask_for(1, NOW)]).await;
        let slow = table.tick(NOW).await;

        table.ask(&[Ask { lane: Lane::Interactive, ..ask_for(1, NOW) }]).await;
        let fast = table.tick(NOW).await;

        assert_eq!((slow[0].lane, fast[0].lane), (Lane::Sync, Lane::Interactive));
        let claims = table.claim_hints(&fast, NOW).await.claims;
        assert_eq!(claims.len(), 1);
        assert_eq!(table.claim_hints(&slow, NOW).await, Claimed::default());
        table.finish(&claims[0], Finish::done(later(60)), NOW).await;
        assert_eq!(table.row(1).await.lane, Lane::Sync);
    })
    .await;
}

#[tokio::test]
async fn a_lost_hint_is_handed_out_again_when_its_mark_runs_out_or_the_queue_began_another_life() {
    each(async |mut table| {
        table.ask(&[ask_for(1, NOW)]).await;
        assert_eq!(table.tick(NOW).await.len(), 1);

        assert_eq!(work::recover(&table.store, MARKS.epoch, later(4)).await.unwrap(), 0);
        assert_eq!(table.tick(later(4)).await, []);
        assert_eq!(work::recover(&table.store, MARKS.epoch, later(5)).await.unwrap(), 1);
        assert_eq!(table.tick(later(5)).await.len(), 1);

        assert_eq!(work::recover(&table.store, MARKS.epoch + 1, later(5)).await.unwrap(), 1);
        assert_eq!(table.tick(later(5)).await.len(), 1);
        assert_eq!(work::unmark(&table.store, &[sync_of(1)]).await.unwrap(), 1);
        assert_eq!(table.tick(later(5)).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_never_finishes_runs_alone_from_the_third_time_on_and_is_set_aside_at_the_fifth() {
    each(async |mut table| {
        table.ask(&[ask_for(1, NOW), ask_for(2, NOW)]).await;
        for run in 0..2 {
            assert_eq!(table.claim(later(run * 40)).await.len(), 2);
        }

        let mut ran = BTreeMap::new();
        let mut dead = Vec::new();
        for run in 2..9 {
            let hints = table.tick(later(run * 40)).await;
            assert_eq!(hints.len(), 1, "a suspect runs alone");
            assert_eq!(table.tick(later(run * 40)).await, [], "while one is handed out");
            let claimed = table.claim_hints(&hints, later(run * 40)).await;
            assert!(
                claimed.claims.is_empty() || table.tick(later(run * 40)).await.is_empty(),
                "while one runs"
            );
            for claim in &claimed.claims {
                *ran.entry(claim.key).or_insert(2) += 1;
            }
            dead.extend(claimed.set_aside);
            if dead.len() == 2 {
                break;
            }
        }

        assert_eq!(dead.len(), 2);
        assert_eq!(ran.into_values().collect::<Vec<_>>(), [4, 4]);
        let row = table.row(1).await;
        assert_eq!(row.state, WorkState::Dead);
        assert!(row.last_error.unwrap().contains("ended its worker"));

        table.ask(&[ask_for(1, NOW)]).await;
        assert_eq!(table.tick(later(900)).await, []);
        table.ask(&[by_a_person(1, NOW)]).await;
        assert_eq!(table.claim(later(900)).await[0].deliveries, 1);
    })
    .await;
}

#[tokio::test]
async fn a_committed_page_or_an_orderly_end_takes_the_delivery_back() {
    each(async |mut table| {
        table.ask(&[ask_for(1, NOW), ask_for(2, NOW)]).await;
        let claims = table.claim(NOW).await;
        assert_eq!(table.row(1).await.deliveries, 1);

        table.fence(&claims[0], NOW).await.unwrap();
        work::release(&table.store, &claims[1..], NOW).await.unwrap();

        assert_eq!((table.row(1).await.deliveries, table.row(2).await.deliveries), (0, 0));
        assert_eq!(table.tick(NOW).await.iter().map(|hint| hint.key).collect::<Vec<_>>(), [claims[1].key]);
    })
    .await;
}

#[tokio::test]
async fn a_backlog_of_one_organization_does_not_hold_the_others_up() {
    each(async |mut table| {
        let noisy: Vec<Ask> = (0..2_000).map(|target| ask_for(target, NOW)).collect();
        table.ask(&noisy).await;
        for quiet in 1..=30 {
            let organization_id = OrganizationId(Uuid::from_u128(0xB0 + quiet));
            table.ask(&[Ask { organization_id, ..ask_for(1_000_000 + quiet, later(1)) }]).await;
        }

        let mut places = [0; 4];
        places[2] = 100;
        let mut quiet = 0;
        for _ in 0..2 {
            let seen = work::look(&table.store, later(2)).await.unwrap();
            let hints = work::hand_out(&table.store, seen, places, MARKS, &mut table.fairness, later(2))
                .await
                .unwrap();
            assert_eq!(hints.len(), 100);
            quiet += hints.iter().filter(|hint| hint.organization_id != ORGANIZATION).count();
        }

        // the first tick may find the backlog too deep to see past it; the second gives everybody his turn
        assert!(quiet >= 15, "only {quiet} of 30 rows of quiet organizations in two ticks of 2,000");
    })
    .await;
}

#[tokio::test]
async fn a_hint_or_an_ask_of_another_organization_does_nothing() {
    each(async |mut table| {
        let stranger = OrganizationId(Uuid::from_u128(0xBAD));
        table.ask(&[ask_for(1, NOW)]).await;
        let hints = table.tick(NOW).await;

        let forged = HandedOut { organization_id: stranger, ..hints[0] };
        assert_eq!(table.claim_hints(&[forged], NOW).await, Claimed::default());
        let tx = table.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        let tickets = work::ask(&tx, &[Ask { organization_id: stranger, ..ask_for(1, NOW) }]).await.unwrap();
        tx.commit().await.unwrap();

        assert!(tickets.is_empty());
        assert_eq!(table.row(1).await.asked, 1);
        assert_eq!(table.claim_hints(&hints, NOW).await.claims.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn people_pause_resume_hold_retry_and_cancel() {
    each(async |mut table| {
        let keys = [sync_of(1)];
        table.ask(&[ask_for(1, NOW)]).await;
        let running = table.claim(NOW).await.remove(0);
        let tx = table.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        assert_eq!(work::pause(&tx, &keys, NOW).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert!(table.fence(&running, NOW).await.is_err());
        table.ask(&[ask_for(1, NOW), by_a_person(1, NOW)]).await;
        assert_eq!(table.tick(later(1)).await, []);

        let tx = table.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        assert_eq!(work::resume(&tx, &keys, NOW).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let running = table.claim(later(1)).await.remove(0);
        let held = Finish { state: WorkState::Held, ..Finish::done(later(2)) };
        table.finish(&running, held, later(1)).await;
        assert_eq!(table.tick(later(2)).await, []);

        table.ask(&[by_a_person(1, NOW)]).await;
        let running = table.claim(later(2)).await.remove(0);
        let given_up = Finish { state: WorkState::Dead, ..failed(FailureClass::Permanent, Timestamp::NEVER) };
        table.finish(&running, given_up, later(2)).await;
        let tx = table.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        assert_eq!(work::retry(&tx, &keys, later(3)).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(table.row(1).await.state, WorkState::Active);

        let tx = table.store.begin(Scope::Fleet, Priority::Interactive).await.unwrap();
        assert_eq!(work::cancel(&tx, &keys).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(table.tick(later(99)).await, []);
        let row = table.row(1).await;
        assert_eq!(row.served, row.asked);
    })
    .await;
}

#[tokio::test]
async fn a_process_that_is_alone_frees_everything_at_its_start_and_the_numbers_add_up() {
    each(async |mut table| {
        table.ask(&[ask_for(1, NOW), ask_for(2, NOW), ask_for(3, later(60))]).await;
        let hints = table.tick(NOW).await;
        table.claim_hints(&hints[..1], NOW).await;

        let tx = table.store.read(Scope::Fleet).await.unwrap();
        let counts = work::counts(&tx, later(1)).await.unwrap();
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].waiting, counts[0].running, counts[0].scheduled), (1, 1, 1));
        assert_eq!(counts[0].waiting_since, Some(NOW));
        drop(tx);

        assert_eq!(work::free_all(&table.store, later(1)).await.unwrap(), 2);
        assert_eq!(table.tick(later(1)).await.len(), 2);
    })
    .await;
}
