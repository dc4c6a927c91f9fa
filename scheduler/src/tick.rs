//! From due rows to hints: the only caller of the queue's `push`. Any number of tickers may run side by side.
//!
//! A tick looks at what the lanes hold and at what is ready, marks as many ready rows as there is room for, commits,
//! and pushes their hints. It is woken by a nudge or by the clock. Room is twice the fleet's slots and what was drained
//! in the last two seconds' pace: enough that no worker waits for a tick, little enough that hints are claimed before
//! their marks run out and that what is urgent finds short lanes.
//!
//! Everything may go wrong between the commit and the claim; the mark then runs out and the row is handed out again.
//! When the queue has lost its contents its epoch is another one, and marks of other epochs are taken back at once.

use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::{Clock, Timestamp};
use calfleet_domain::job::{Hint, Lane};
use calfleet_queue::{Epoch, LANE_LENGTH, LANES, Pushed, Queue, QueueError};
use calfleet_store::work::{self, Fairness, HandedOut, Marks};
use calfleet_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

/// The pace of a lane is measured over at least this long.
const PACE_WINDOW: Duration = Duration::from_millis(250);
/// A lane holds what is drained in this long.
const AHEAD: Duration = Duration::from_secs(2);
/// Places in a lane while no worker is known: the first one to start finds something.
const PLACES_WITHOUT_WORKERS: usize = 32;
/// The next tick after one that left ready rows behind for want of room.
const CROWDED: Duration = Duration::from_millis(10);

/// The numbers of a ticker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickSettings {
    /// The longest time between ticks.
    pub interval: Duration,
    /// The shortest time between ticks.
    pub spacing: Duration,
    /// How long a hint may take to its claim before the row is handed out again.
    pub hand_out: Duration,
}

impl Default for TickSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(250),
            spacing: Duration::from_millis(2),
            hand_out: Duration::from_secs(5),
        }
    }
}

/// Why a tick did nothing. The next one tries again.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// The database failed.
    #[error("hand work out")]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error("reach the queue")]
    Queue(#[from] QueueError),
}

/// Hands due work out.
#[derive(Debug)]
pub struct Ticker {
    store: Store,
    queue: Queue,
    clock: Arc<dyn Clock>,
    settings: TickSettings,
    fairness: Fairness,
    epoch: Option<Epoch>,
    slots: usize,
    looked_around: Timestamp,
    paces: [Pace; LANES],
    is_failing: bool,
}

impl Ticker {
    /// A ticker that has not looked at anything yet.
    pub fn new(store: Store, queue: Queue, clock: Arc<dyn Clock>, settings: TickSettings) -> Self {
        Self {
            store,
            queue,
            clock,
            settings,
            fairness: Fairness::default(),
            epoch: None,
            slots: 0,
            looked_around: Timestamp::ZERO,
            paces: Default::default(),
            is_failing: false,
        }
    }

    /// Ticks until `stop`. Failures are logged when they begin and when they end.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut nudges = self.queue.nudges();
        loop {
            let began = self.clock.now();
            match self.tick().await {
                Ok(_) if self.is_failing => {
                    self.is_failing = false;
                    tracing::info!("work is handed out again");
                }
                Ok(_) => {}
                Err(error) => {
                    metrics::counter!("calfleet_ticks_failed_total").increment(1);
                    if !self.is_failing {
                        tracing::warn!(error = &error as &dyn std::error::Error, "work is not handed out");
                    }
                    self.is_failing = true;
                }
            }
            let ended = self.clock.now();
            metrics::histogram!("calfleet_tick_duration_ms")
                .record(ended.since(began).as_secs_f64() * 1000.0);
            let wait = if self.fairness.is_crowded() { CROWDED } else { self.settings.interval };
            // sub-millisecond ticks end when they began; what is asked meanwhile goes along with the next
            let spaced = self.clock.sleep(self.settings.spacing);
            tokio::select! {
                () = stop.cancelled() => return,
                () = nudges.next() => {}
                () = self.clock.sleep(wait.saturating_sub(ended.since(began))) => {}
            }
            spaced.await;
        }
    }

    /// One tick; how many hints were pushed.
    ///
    /// # Errors
    /// When the database or the queue cannot be reached. Rows that were marked are ready again at the latest when
    /// their marks run out.
    pub async fn tick(&mut self) -> Result<usize, TickError> {
        let now = self.clock.now();
        let epoch = self.look_around(now).await?;
        let (depths, seen) = tokio::join!(self.queue.depths(), work::look(&self.store, now));
        let room = self.room(depths?, now);
        if room == [0; LANES] {
            return Ok(0);
        }
        let marks = Marks { epoch: epoch.0, last: self.settings.hand_out };
        let out = work::hand_out(&self.store, seen?, room, marks, &mut self.fairness, now).await?;
        let mut pushed = 0;
        let mut left = Vec::new();
        for (lane, pace) in Lane::ALL.iter().zip(&mut self.paces) {
            let rows: Vec<&HandedOut> = out.iter().filter(|row| row.lane == *lane).collect();
            if rows.is_empty() {
                continue;
            }
            let hints: Vec<Hint> = rows.iter().map(|row| hint(row)).collect();
            let accepted = match self.queue.push(*lane, epoch, &hints).await {
                Ok(Pushed::Accepted(accepted)) => accepted,
                Ok(Pushed::OtherEpoch) => {
                    self.epoch = None;
                    0
                }
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, %lane, "hints were not pushed");
                    self.epoch = None;
                    0
                }
            };
            pace.pushed(accepted);
            pushed += accepted;
            left.extend(rows.iter().skip(accepted).map(|row| row.key));
            metrics::counter!("calfleet_hints_pushed_total", "lane" => lane.as_str())
                .increment(accepted as u64);
        }
        if !left.is_empty() {
            work::unmark(&self.store, &left).await?;
        }
        Ok(pushed)
    }

    /// What need not be known at every nudge: the epoch, the fleet's slots, and which hints were lost.
    async fn look_around(&mut self, now: Timestamp) -> Result<Epoch, TickError> {
        if let Some(epoch) = self.epoch
            && now.since(self.looked_around) < self.settings.interval
        {
            return Ok(epoch);
        }
        let epoch = self.queue.epoch().await?;
        self.slots = self.queue.workers(now).await?.iter().map(|(_, slots)| slots).sum();
        let recovered = work::recover(&self.store, epoch.0, now).await?;
        metrics::counter!("calfleet_hints_recovered_total").increment(recovered);
        if self.epoch.is_some_and(|known| known != epoch) {
            tracing::warn!(
                rows = recovered,
                "the queue lost its contents; what was in it is handed out again"
            );
        }
        self.epoch = Some(epoch);
        self.looked_around = now;
        Ok(epoch)
    }

    /// How many more hints each lane takes.
    fn room(&mut self, depths: [usize; LANES], now: Timestamp) -> [usize; LANES] {
        let mut room = [0; LANES];
        for (((lane, room), depth), pace) in Lane::ALL.iter().zip(&mut room).zip(depths).zip(&mut self.paces)
        {
            pace.measure(depth, now);
            let places = (2 * self.slots + pace.within(AHEAD)).clamp(PLACES_WITHOUT_WORKERS, LANE_LENGTH);
            *room = places.saturating_sub(depth);
            metrics::gauge!("calfleet_queue_depth", "lane" => lane.as_str())
                .set(f64::from(u32::try_from(depth).unwrap_or(u32::MAX)));
        }
        room
    }
}

fn hint(row: &HandedOut) -> Hint {
    Hint {
        kind: row.key.kind.code(),
        target: row.key.target,
        organization_id: row.organization_id,
        trace: None,
    }
}

/// How fast a lane is drained, by what this ticker sees of it.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    depth: usize,
    drained: usize,
    since: Timestamp,
    per_second: usize,
}

impl Pace {
    fn pushed(&mut self, hints: usize) {
        self.depth += hints;
    }

    fn measure(&mut self, depth: usize, now: Timestamp) {
        self.drained += self.depth.saturating_sub(depth);
        self.depth = depth;
        let window = now.since(self.since);
        if window >= PACE_WINDOW {
            let window_ms = usize::try_from(window.as_millis()).unwrap_or(usize::MAX);
            self.per_second = self.drained.saturating_mul(1000) / window_ms.max(1);
            self.drained = 0;
            self.since = now;
        }
    }

    fn within(&self, length: Duration) -> usize {
        self.per_second.saturating_mul(usize::try_from(length.as_secs()).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_what_left_the_lane_in_a_window() {
        let mut pace = Pace::default();
        pace.measure(0, Timestamp(1_000));
        pace.pushed(100);
        pace.measure(40, Timestamp(1_100));
        pace.pushed(60);
        pace.measure(60, Timestamp(1_500));

        assert_eq!(pace.per_second, 200);
        assert_eq!(pace.within(AHEAD), 400);
    }
}
