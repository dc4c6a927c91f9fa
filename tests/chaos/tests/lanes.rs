//! The lanes behave alike in memory and in Redis.

use std::time::Duration;

use calfleet_domain::clock::{Clock, Timestamp};
use calfleet_domain::job::{Hint, Lane};
use calfleet_domain::model::WorkerId;
use calfleet_harness::Redis;
use calfleet_queue::{Epoch, LANE_LENGTH, LANES, MemoryQueue, Pushed, Queue, Room};
use calfleet_runtime::clock::{SystemClock, SystemRng};
use uuid::Uuid;

use crate::fleet::{ORGANIZATION, holds, lanes};

const NOTHING: Duration = Duration::ZERO;

/// Runs a test on lanes in memory and, if it is installed, on a Redis of its own.
async fn each<F: Future<Output = ()>>(test: impl Fn(Queue, Option<Redis>) -> F) {
    test(Queue::Memory(MemoryQueue::new(&SystemRng)), None).await;
    if let Some(redis) = Redis::start() {
        let queue = lanes(&redis);
        test(Queue::Redis(queue), Some(redis)).await;
    }
}

fn hints(count: u128) -> Vec<Hint> {
    let hint = |target| Hint {
        kind: 1,
        target: Uuid::from_u128(target),
        organization_id: ORGANIZATION,
        trace: None,
    };
    (0..count).map(hint).collect()
}

#[tokio::test]
async fn every_lane_gets_its_share_and_the_order_within_it_is_kept() {
    each(async |queue, _redis| {
        let epoch = queue.epoch().await.unwrap();
        for lane in Lane::ALL {
            assert_eq!(queue.push(*lane, epoch, &hints(40)).await.unwrap(), Pushed::Accepted(40));
        }

        let popped = queue.pop(&Room::of(20, [0; LANES]), NOTHING).await.unwrap();

        let of = |lane| popped.iter().filter(|popped| popped.lane == lane).count();
        assert_eq!([10, 4, 4, 2], [Lane::Interactive, Lane::Delivery, Lane::Sync, Lane::Upkeep].map(of));
        assert_eq!(popped[0].hint, hints(1)[0]);
        assert_eq!(queue.depths().await.unwrap(), [30, 36, 36, 38]);
        let lent = queue.pop(&Room::of(64, [0, 0, 0, 0]), NOTHING).await.unwrap();
        assert_eq!(lent.len(), 64);
    })
    .await;
}

#[tokio::test]
async fn a_waiting_pop_is_woken_by_a_push() {
    each(async |queue, _redis| {
        let epoch = queue.epoch().await.unwrap();
        let waiting = {
            let queue = queue.clone();
            tokio::spawn(async move {
                loop {
                    let popped = queue.pop(&Room::of(8, [0; LANES]), Duration::from_secs(20)).await.unwrap();
                    if !popped.is_empty() {
                        return popped.len();
                    }
                }
            })
        };

        queue.push(Lane::Upkeep, epoch, &hints(1)).await.unwrap();

        assert!(holds(Duration::from_secs(5), async || waiting.is_finished()).await);
        assert_eq!(waiting.await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_lane_is_bounded_and_a_wiped_queue_refuses_what_belongs_to_its_former_life() {
    each(async |queue, redis| {
        let epoch = queue.epoch().await.unwrap();
        let many = hints(LANE_LENGTH as u128 - 1);
        assert_eq!(queue.push(Lane::Sync, epoch, &many).await.unwrap(), Pushed::Accepted(LANE_LENGTH - 1));
        assert_eq!(queue.push(Lane::Sync, epoch, &many).await.unwrap(), Pushed::Accepted(1));
        assert_eq!(queue.push(Lane::Sync, epoch, &many).await.unwrap(), Pushed::Accepted(0));

        match (&queue, &redis) {
            (Queue::Memory(memory), _) => memory.wipe(&SystemRng),
            (Queue::Redis(_), Some(redis)) => redis.flush(),
            (Queue::Redis(_), None) => unreachable!(),
        }

        assert_eq!(queue.push(Lane::Sync, epoch, &hints(1)).await.unwrap(), Pushed::OtherEpoch);
        let next = queue.epoch().await.unwrap();
        assert_ne!(next, epoch);
        assert_eq!(queue.push(Lane::Sync, Epoch(epoch.0), &hints(1)).await.unwrap(), Pushed::OtherEpoch);
        assert_eq!(queue.push(Lane::Sync, next, &hints(1)).await.unwrap(), Pushed::Accepted(1));
        assert_eq!(queue.depths().await.unwrap(), [0, 0, 1, 0]);
    })
    .await;
}

#[tokio::test]
async fn workers_that_fall_silent_have_no_slots() {
    each(async |queue, _redis| {
        let (early, late) = (Timestamp(1_000_000), Timestamp(1_004_000));
        let [first, second] = [1, 2].map(|id| WorkerId(Uuid::from_u128(id)));
        queue.report_slots(first, 10, early).await.unwrap();
        queue.report_slots(second, 20, late).await.unwrap();
        assert_eq!(queue.workers(late).await.unwrap().len(), 2);

        assert_eq!(queue.workers(Timestamp(1_007_000)).await.unwrap(), [(second, 20)]);
        queue.report_slots(second, 0, late).await.unwrap();
        assert_eq!(queue.workers(late).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_nudge_reaches_every_ticker() {
    each(async |queue, redis| {
        let elsewhere = redis.as_ref().map_or_else(|| queue.clone(), |redis| Queue::Redis(lanes(redis)));
        let mut nudges = elsewhere.nudges();
        let heard = tokio::spawn(async move { nudges.next().await });

        // a subscription that is only just being made may miss the first
        let nudged = holds(Duration::from_secs(5), async || {
            queue.nudge();
            heard.is_finished()
        });
        assert!(nudged.await);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_dropped_and_the_rest_is_popped() {
    let Some(redis) = Redis::start() else { return };
    let queue = Queue::Redis(lanes(&redis));
    let epoch = queue.epoch().await.unwrap();
    let lane = format!("{{{}}}:lane:sync", Uuid::from_u128(1));
    redis.command(&format!("RPUSH {lane} nonsense {{}} [1,2")).unwrap();
    queue.push(Lane::Sync, epoch, &hints(1)).await.unwrap();

    let popped = queue.pop(&Room::of(8, [0; LANES]), NOTHING).await.unwrap();

    assert_eq!(popped.len(), 1);
}

#[tokio::test]
async fn a_pop_survives_a_redis_that_goes_away_and_comes_back() {
    let Some(redis) = Redis::start() else { return };
    let queue = Queue::Redis(lanes(&redis));
    queue.epoch().await.unwrap();
    redis.stop(calfleet_harness::Ending::Kill);
    assert!(queue.pop(&Room::of(8, [0; LANES]), NOTHING).await.is_err());

    redis.start_again();

    let clock = SystemClock::default();
    let deadline = clock.now().plus(Duration::from_secs(5));
    let epoch = loop {
        match queue.epoch().await {
            Ok(epoch) => break epoch,
            Err(error) => assert!(clock.now() < deadline, "{error:?}"),
        }
    };
    queue.push(Lane::Sync, epoch, &hints(1)).await.unwrap();
    let mut popped = queue.pop(&Room::of(8, [0; LANES]), Duration::from_secs(1)).await;
    while popped.is_err() && clock.now() < deadline {
        popped = queue.pop(&Room::of(8, [0; LANES]), Duration::from_secs(1)).await;
    }
    assert_eq!(popped.unwrap().len(), 1);
}
