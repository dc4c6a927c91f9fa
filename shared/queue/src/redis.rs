//! Lanes in Redis, shared by a whole fleet.
//!
//! A list per lane under one hash tag, so that one script may touch several of them on a cluster. The *epoch* is
//! the marker key `…:epoch`, which holds the server's `run_id` and a random number: `FLUSHALL` removes it, a restart
//! or fail-over changes the `run_id`; either begins a new epoch, and the push script refuses whoever still speaks of
//! the old one. Scripts read no clock; instants come from the caller.
//!
//! Commands go over one connection that mends itself; a worker's blocking pop has a connection of its own.
//! Reconnecting goes on for ever, with bounded pauses.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use calfleet_domain::clock::{Rng, Timestamp};
use calfleet_domain::job::{Hint, Lane};
use calfleet_domain::model::ids::WorkerId;
use futures_util::StreamExt as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Script};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::shares::{LANES, Room, per_lane};
use crate::{Epoch, LANE_LENGTH, Popped, Pushed, QueueError, WORKER_SILENCE};

/// How long a command may take before the connection counts as dead.
const RESPONSE_LIMIT: Duration = Duration::from_secs(2);
/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// The longest pause between attempts to reconnect: short, because a fleet stands still meanwhile.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Refused with -1 when the marker is not the caller's epoch; else how many fitted.
const PUSH: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local free = tonumber(ARGV[2]) - redis.call('LLEN', KEYS[2])
local count = math.min(#ARGV - 2, math.max(free, 0))
for at = 3, count + 2, 500 do
  redis.call('RPUSH', KEYS[2], unpack(ARGV, at, math.min(at + 499, count + 2)))
end
return count";

/// The allotment of `Room::allot`, in Redis, so that taking from all lanes is one round trip.
const POP: &str = r"
local left, lendable = tonumber(ARGV[1]), tonumber(ARGV[2])
local answer, taken = {}, {}
for lane = 1, #KEYS do answer[lane] = {} taken[lane] = 0 end
for pass = 0, 1 do
  for lane = 1, #KEYS do
    local bound = left
    if lane > 1 then bound = math.min(left, lendable) end
    local count = math.min(tonumber(ARGV[1 + 2 * lane + pass]) - taken[lane], bound)
    if count > 0 then
      local hints = redis.call('LPOP', KEYS[lane], count)
      if hints then
        for _, hint in ipairs(hints) do table.insert(answer[lane], hint) end
        taken[lane] = taken[lane] + #hints
        left = left - #hints
        if lane > 1 then lendable = lendable - #hints end
      end
    end
  end
end
return answer";

/// Keeps a marker that bears this server's run id, else begins a new epoch with empty lanes.
const EPOCH: &str = r"
local marker = redis.call('GET', KEYS[1])
if marker and string.sub(marker, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then return marker end
for lane = 2, #KEYS do redis.call('DEL', KEYS[lane]) end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2])
return ARGV[1] .. ':' .. ARGV[2]";

/// Where the lanes are.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://[user:password@]host:port/db`; never printed.
    pub url: String,
    /// Before every key, so that several fleets may share a server; `calfleet` by default.
    pub prefix: String,
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Lists in Redis. Clones share the connections, except the blocking one.
pub struct RedisQueue {
    shared: Arc<Shared>,
    /// One per clone: a blocked connection carries nothing else.
    blocking: Mutex<Option<MultiplexedConnection>>,
}

struct Shared {
    client: Client,
    commands: ConnectionManager,
    keys: Keys,
    rng: Arc<dyn Rng>,
    /// The marker text of the epoch that was last seen.
    marker: watch::Sender<Option<(Epoch, String)>>,
    nudges: watch::Sender<u64>,
    /// What the rest of the fleet is still to be told.
    untold: watch::Sender<u64>,
    push: Script,
    pop: Script,
    epoch: Script,
    _listener: DropGuard,
}

#[derive(Debug, Clone)]
struct Keys {
    lanes: [String; LANES],
    epoch: String,
    workers: String,
    nudges: String,
}

impl fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisQueue").field("keys", &self.shared.keys).finish_non_exhaustive()
    }
}

impl Clone for RedisQueue {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), blocking: Mutex::new(None) }
    }
}

impl RedisQueue {
    /// Lanes on that server. Does not connect yet: a Redis that is away is waited for, not a failure to start.
    ///
    /// Must be called inside a runtime.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn new(settings: &RedisSettings, rng: Arc<dyn Rng>) -> Result<Self, QueueError> {
        let client = Client::open(settings.url.as_str()).map_err(QueueError::Address)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(RESPONSE_LIMIT))
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(RECONNECT_PAUSE)
            .set_number_of_retries(2);
        let commands =
            ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(QueueError::Address)?;
        let keys = Keys::under(&settings.prefix);
        let nudges = watch::Sender::new(0);
        let stop = CancellationToken::new();
        let untold = watch::Sender::new(0);
        tokio::spawn(listen(client.clone(), keys.nudges.clone(), nudges.clone(), stop.clone()));
        tokio::spawn(tell(commands.clone(), keys.nudges.clone(), untold.subscribe()));
        let shared = Shared {
            client,
            commands,
            keys,
            rng,
            marker: watch::Sender::new(None),
            nudges,
            untold,
            push: Script::new(PUSH),
            pop: Script::new(POP),
            epoch: Script::new(EPOCH),
            _listener: stop.drop_guard(),
        };
        Ok(Self { shared: Arc::new(shared), blocking: Mutex::new(None) })
    }

    pub(crate) async fn push(&self, lane: Lane, epoch: Epoch, hints: &[Hint]) -> Result<Pushed, QueueError> {
        let marker = match &*self.shared.marker.borrow() {
            Some((known, marker)) if *known == epoch => marker.clone(),
            _ => return Ok(Pushed::OtherEpoch),
        };
        let mut call = self.shared.push.key(&self.shared.keys.epoch);
        call.key(self.shared.keys.of(lane)).arg(marker).arg(LANE_LENGTH);
        for hint in hints {
            call.arg(serde_json::to_vec(hint).map_err(QueueError::Encode)?);
        }
        let count: i64 =
            call.invoke_async(&mut self.shared.commands.clone()).await.map_err(failed("push hints"))?;
        Ok(usize::try_from(count).map_or(Pushed::OtherEpoch, Pushed::Accepted))
    }

    pub(crate) async fn pop(&self, room: &Room, wait: Duration) -> Result<Vec<Popped>, QueueError> {
        let mut held = self.blocking.lock().await;
        let result = self.pop_over(&mut held, room, wait).await;
        if result.is_err() {
            *held = None;
            pause(RECONNECT_PAUSE / 2 + self.shared.rng.jitter(RECONNECT_PAUSE / 2)).await;
        }
        result
    }

    async fn pop_over(
        &self,
        held: &mut Option<MultiplexedConnection>,
        room: &Room,
        wait: Duration,
    ) -> Result<Vec<Popped>, QueueError> {
        // a dead peer that never closed the connection must not hold the worker longer than this
        let limit = wait + RESPONSE_LIMIT;
        let connection = match held {
            Some(connection) => connection,
            None => held.insert(self.connect().await?),
        };
        connection.set_response_timeout(limit);
        let popped = self.take(connection, room).await?;
        if !popped.is_empty() || wait.is_zero() {
            return Ok(popped);
        }
        let open: Vec<_> = Lane::ALL.iter().zip(&room.lanes).filter(|(_, lane)| lane.most > 0).collect();
        let least = open.iter().map(|(_, lane)| lane.most).min().unwrap_or(0);
        if least == 0 {
            return Ok(popped);
        }
        let mut command = redis::cmd("BLMPOP");
        command.arg(wait.as_secs_f64()).arg(open.len());
        for (lane, _) in &open {
            command.arg(self.shared.keys.of(**lane));
        }
        command.arg("LEFT").arg("COUNT").arg(least);
        let answer: Option<(String, Vec<Vec<u8>>)> =
            command.query_async(connection).await.map_err(failed("wait for hints"))?;
        let Some((key, texts)) = answer else { return Ok(popped) };
        let lane = Lane::ALL.iter().copied().find(|lane| self.shared.keys.of(*lane) == key);
        Ok(lane.map(|lane| decode(lane, &texts)).unwrap_or_default())
    }

    async fn take(
        &self,
        connection: &mut MultiplexedConnection,
        room: &Room,
    ) -> Result<Vec<Popped>, QueueError> {
        let lendable = room.lanes.iter().skip(1).map(|lane| lane.most).max().unwrap_or(0);
        let mut call = self.shared.pop.arg(room.total);
        call.arg(lendable);
        for (key, lane) in self.shared.keys.lanes.iter().zip(&room.lanes) {
            call.key(key).arg(lane.entitled).arg(lane.most);
        }
        let answer: Vec<Vec<Vec<u8>>> = call.invoke_async(connection).await.map_err(failed("take hints"))?;
        Ok(Lane::ALL.iter().zip(&answer).flat_map(|(lane, texts)| decode(*lane, texts)).collect())
    }

    async fn connect(&self) -> Result<MultiplexedConnection, QueueError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(RESPONSE_LIMIT));
        self.shared
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(failed("connect"))
    }

    pub(crate) async fn epoch(&self) -> Result<Epoch, QueueError> {
        let mut connection = self.shared.commands.clone();
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await
            .map_err(failed("read the run id"))?;
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or("unknown").trim();
        let fresh = (self.shared.rng.next_u64() >> 2) + 1;
        let mut call = self.shared.epoch.key(&self.shared.keys.epoch);
        for lane in &self.shared.keys.lanes {
            call.key(lane);
        }
        let marker: String =
            call.arg(run).arg(fresh).invoke_async(&mut connection).await.map_err(failed("read the epoch"))?;
        let number = marker.rsplit(':').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        self.shared.marker.send_replace(Some((Epoch(number), marker)));
        Ok(Epoch(number))
    }

    pub(crate) async fn depths(&self) -> Result<[usize; LANES], QueueError> {
        let mut lengths = redis::pipe();
        for lane in &self.shared.keys.lanes {
            lengths.cmd("LLEN").arg(lane);
        }
        lengths.query_async(&mut self.shared.commands.clone()).await.map_err(failed("measure the lanes"))
    }

    pub(crate) async fn report_slots(
        &self,
        worker: WorkerId,
        slots: usize,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        let (name, text) = (worker.to_string(), format!("{slots} {}", now.0));
        let mut command = redis::cmd(if slots == 0 { "HDEL" } else { "HSET" });
        command.arg(&self.shared.keys.workers).arg(name);
        if slots > 0 {
            command.arg(text);
        }
        command.query_async(&mut self.shared.commands.clone()).await.map_err(failed("report the slots"))
    }

    pub(crate) async fn workers(&self, now: Timestamp) -> Result<Vec<(WorkerId, usize)>, QueueError> {
        let mut connection = self.shared.commands.clone();
        let reports: HashMap<String, String> = redis::cmd("HGETALL")
            .arg(&self.shared.keys.workers)
            .query_async(&mut connection)
            .await
            .map_err(failed("list the workers"))?;
        let (mut alive, mut silent) = (Vec::new(), Vec::new());
        for (name, text) in reports {
            match read_report(&name, &text) {
                Some((worker, slots, seen)) if now.since(seen) <= WORKER_SILENCE => {
                    alive.push((worker, slots));
                }
                _ => silent.push(name),
            }
        }
        if !silent.is_empty() {
            let mut command = redis::cmd("HDEL");
            command.arg(&self.shared.keys.workers).arg(silent);
            let _gone: i64 =
                command.query_async(&mut connection).await.map_err(failed("forget the silent"))?;
        }
        Ok(alive)
    }

    pub(crate) fn nudge(&self) {
        self.shared.nudges.send_modify(|count| *count = count.wrapping_add(1));
        self.shared.untold.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn nudges(&self) -> watch::Receiver<u64> {
        self.shared.nudges.subscribe()
    }
}

impl Keys {
    fn under(prefix: &str) -> Self {
        let key = |name: &str| format!("{{{prefix}}}:{name}");
        Self {
            lanes: per_lane(|lane| key(&format!("lane:{lane}"))),
            epoch: key("epoch"),
            workers: key("workers"),
            nudges: key("nudges"),
        }
    }

    fn of(&self, lane: Lane) -> &str {
        let [interactive, delivery, sync, upkeep] = &self.lanes;
        match lane {
            Lane::Interactive => interactive,
            Lane::Delivery => delivery,
            Lane::Sync => sync,
            Lane::Upkeep => upkeep,
        }
    }
}

/// A hint that cannot be read is counted and dropped: its row is handed out again when its mark runs out.
fn decode(lane: Lane, texts: &[Vec<u8>]) -> Vec<Popped> {
    let mut popped = Vec::with_capacity(texts.len());
    for text in texts {
        match serde_json::from_slice(text) {
            Ok(hint) => popped.push(Popped { lane, hint }),
            Err(error) => {
                metrics::counter!("calfleet_hints_dropped_total", "reason" => "unreadable").increment(1);
                tracing::warn!(%error, %lane, "a hint could not be read and was dropped");
            }
        }
    }
    popped
}

fn read_report(name: &str, text: &str) -> Option<(WorkerId, usize, Timestamp)> {
    let (slots, seen) = text.split_once(' ')?;
    Some((name.parse().ok()?, slots.parse().ok()?, Timestamp(seen.parse().ok()?)))
}

/// Passes the fleet's nudges on to this process, for as long as the queue lives.
async fn listen(client: Client, channel: String, nudges: watch::Sender<u64>, stop: CancellationToken) {
    let listening = async {
        loop {
            if let Ok(mut subscription) = client.get_async_pubsub().await
                && subscription.subscribe(&channel).await.is_ok()
            {
                // whatever was said while nobody listened
                nudges.send_modify(|count| *count = count.wrapping_add(1));
                let mut messages = subscription.on_message();
                while messages.next().await.is_some() {
                    nudges.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
            pause(RECONNECT_PAUSE).await;
        }
    };
    tokio::select! {
        () = listening => {}
        () = stop.cancelled() => {}
    }
}

/// Passes this process's nudges on to the fleet, until the queue is dropped. Nobody waits for it, and what is said
/// while it speaks is said once.
async fn tell(mut commands: ConnectionManager, channel: String, mut untold: watch::Receiver<u64>) {
    while untold.changed().await.is_ok() {
        let told: Result<i64, _> =
            redis::cmd("PUBLISH").arg(&channel).arg("").query_async(&mut commands).await;
        if let Err(error) = told {
            tracing::debug!(%error, "a nudge was lost");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a pause between attempts to reconnect; no instant is compared"
)]
async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}

fn failed(action: &'static str) -> impl Fn(redis::RedisError) -> QueueError {
    move |source| QueueError::Redis { action, source }
}
