//! The ledger of a fleet, in Redis: the arithmetic of [`super::gcra`] as one script, so that all budgets of a
//! request are looked at and charged in one round trip.
//!
//! A budget is a hash (`arrival`, `blocked`, `share`, `shared_at`) that expires once it is as if it had never been
//! asked. The marker `…:budget:since` holds the server's run id and since when budgets are kept: `FLUSHALL` removes
//! it, a restart or fail-over changes the id, and either way what is then unknown begins empty, because it may have
//! been used up just before. Scripts read no clock.
//!
//! A refusal is published, so that a process that holds permits stops at once. When Redis does not answer in a
//! moment, it is left alone for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use futures_util::StreamExt as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script};
use tokio::task::AbortHandle;

use super::gcra::{Ask, PATIENCE_MS, RECOVERY_MS, Rule, Verdict};
use super::notice::Notices;
use super::{Purse, from_ms, to_ms};

/// How long Redis may take to answer before it counts as away: a request waits for it.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);
/// How long it is then not asked.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// Between attempts to listen again.
const LISTEN_PAUSE: Duration = Duration::from_millis(500);

/// [`super::gcra::take`]. KEYS: the marker, then the budgets. ARGV: now, patience, recovery, need, want; then for
/// each budget whether it is fair, interval, burst, tolerance, squeezed tolerance, what counts as used at first.
const TAKE: &str = r"
local now, patience, recovery = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local need, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or 'none'
local marker = redis.call('GET', KEYS[1]) or ''
local since = string.match(marker, '^' .. run .. ':(%d+)$')
if not since then
  since = string.format('%.0f', now)
  redis.call('SET', KEYS[1], run .. ':' .. since)
end
since = tonumber(since)
local budgets, stopped, until_ms = {}, 0, now
for at = 2, #KEYS do
  local base = 6 + 6 * (at - 2)
  local kept = redis.call('HMGET', KEYS[at], 'arrival', 'blocked', 'share', 'shared_at')
  local budget = {
    fair = ARGV[base] == '1', burst = tonumber(ARGV[base + 2]),
    tolerance = tonumber(ARGV[base + 3]), squeezed = tonumber(ARGV[base + 4]),
  }
  local unknown = tonumber(ARGV[base + 5])
  if now - since < unknown then budget.tolerance, budget.squeezed = budget.burst, budget.burst end
  local interval, share = tonumber(ARGV[base + 1]), 1
  if kept[3] then
    share = tonumber(kept[3]) + math.max(now - tonumber(kept[4]), 0) / recovery
    share = math.min(math.max(share, 0.1), 1)
    budget.recovers = tonumber(kept[4]) + recovery
  end
  budget.interval = interval / share
  local arrival = since + unknown
  if kept[1] then
    arrival = tonumber(kept[1])
    if arrival - now > (budget.burst + 32 * interval) / 0.1 + patience then
      arrival = now + budget.burst
      redis.call('HSET', KEYS[at], 'arrival', string.format('%.17g', arrival))
    end
  end
  budget.debt = math.max(arrival - now, 0)
  budget.blocked = tonumber(kept[2] or 0)
  if budget.blocked > until_ms then stopped, until_ms = at - 2, budget.blocked end
  budgets[at - 1] = budget
end
if until_ms > now then return {'blocked', tostring(stopped), string.format('%.17g', until_ms)} end
local squeezed, wait, slowest = false, 0, 0
for at, budget in ipairs(budgets) do
  local needed = need * budget.interval
  local tolerance = math.max(squeezed and budget.squeezed or budget.tolerance, needed)
  local over = budget.debt + needed - tolerance
  if over > 0 and budget.fair then
    squeezed = true
  else
    if over > wait then wait, slowest = over, at - 1 end
    most = math.min(most, math.floor((tolerance - budget.debt) / budget.interval))
  end
end
local from = now + wait
if wait > patience then return {'refused', tostring(slowest), string.format('%.17g', from)} end
local given = need
if wait == 0 then given = math.max(most, need) end
for at, budget in ipairs(budgets) do
  local arrival = now + math.max(budget.debt, wait) + given * budget.interval
  if budget.fair then arrival = math.min(arrival, from + budget.burst) end
  redis.call('HSET', KEYS[at + 1], 'arrival', string.format('%.17g', arrival))
  local keep = math.max(arrival, budget.recovers or 0) - now
  redis.call('PEXPIRE', KEYS[at + 1], math.ceil(keep) + 1000)
end
return {'granted', string.format('%.0f', given), string.format('%.17g', from)}";

/// [`super::gcra::block`]. ARGV: now, recovery, until (empty: not named), the channel, the budget's name.
const BLOCK: &str = r"
local now, recovery, ends = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'arrival', 'blocked', 'share', 'shared_at')
local share, shared_at = 1, kept[4] and tonumber(kept[4])
if kept[3] then
  share = math.min(math.max(tonumber(kept[3]) + math.max(now - shared_at, 0) / recovery, 0.1), 1)
end
if not shared_at or now - shared_at >= 5000 then share, shared_at = math.max(share / 2, 0.1), now
else share = tonumber(kept[3]) end
ends = math.max(ends or (now + 1000 / share), tonumber(kept[2] or 0))
redis.call('HSET', KEYS[1], 'blocked', string.format('%.17g', ends), 'share', string.format('%.17g', share),
  'shared_at', string.format('%.17g', shared_at))
local keep = math.max(ends, shared_at + recovery, tonumber(kept[1] or 0)) - now
redis.call('PEXPIRE', KEYS[1], math.ceil(keep) + 1000)
redis.call('PUBLISH', ARGV[4], ARGV[5] .. ' ' .. string.format('%.0f', math.ceil(ends)))
return string.format('%.17g', ends)";

/// A seat for a holder, or a longer lease for the one it has. KEYS: the marker, the seats (holders by the end of their
/// leases). ARGV: now, how many there are, the holder, the end of the lease, the length of a lease.
const SIT: &str = r"
local now, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or 'none'
local since = string.match(redis.call('GET', KEYS[1]) or '', '^' .. run .. ':(%d+)$')
if not since then
  since = string.format('%.0f', now)
  redis.call('SET', KEYS[1], run .. ':' .. since)
end
if now < tonumber(since) + tonumber(ARGV[5]) then most = 1 end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if not redis.call('ZSCORE', KEYS[2], ARGV[3]) and redis.call('ZCARD', KEYS[2]) >= most then return 0 end
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
redis.call('PEXPIRE', KEYS[2], 2 * tonumber(ARGV[5]))
return 1";

/// Where the budgets of a fleet are.
#[derive(Clone)]
pub struct FleetSettings {
    /// `redis://[user:password@]host:port/db`.
    pub url: String,
    /// Before every key, so that several fleets may share a server.
    pub prefix: String,
}

impl std::fmt::Debug for FleetSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetSettings").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The address of Redis cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read the address of the budgets' redis")]
pub struct OpenError(#[source] RedisError);

/// Budgets in Redis.
pub(super) struct Fleet {
    commands: ConnectionManager,
    /// Before the name of each budget.
    prefix: String,
    channel: String,
    take: Script,
    block: Script,
    sit: Script,
    /// Redis is not asked before.
    away_until: AtomicI64,
    is_away: AtomicBool,
    listener: AbortHandle,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Fleet {
    pub(super) fn open(settings: &FleetSettings, notices: Arc<Notices>) -> Result<Self, OpenError> {
        let client = Client::open(settings.url.as_str()).map_err(OpenError)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(ANSWER_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT))
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(LISTEN_PAUSE)
            .set_number_of_retries(1);
        let commands = ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(OpenError)?;
        // one hash tag, so that one script may touch several of them on a cluster
        let prefix = format!("{{{}}}:budget:", settings.prefix);
        let channel = format!("{prefix}blocked");
        let listener = tokio::spawn(listen(client, channel.clone(), notices)).abort_handle();
        Ok(Self {
            commands,
            prefix,
            channel,
            take: Script::new(TAKE),
            block: Script::new(BLOCK),
            sit: Script::new(SIT),
            away_until: AtomicI64::new(0),
            is_away: AtomicBool::new(false),
            listener,
        })
    }

    /// `None` while Redis is away.
    pub(super) async fn take(&self, purses: &[Purse], ask: Ask, now: Timestamp) -> Option<Verdict> {
        let mut call = self.take.key(format!("{}since", self.prefix));
        call.arg(ask.now_ms).arg(PATIENCE_MS).arg(RECOVERY_MS).arg(ask.need).arg(ask.want.max(ask.need));
        for purse in purses {
            let level = purse.level;
            call.key(format!("{}{}", self.prefix, purse.key));
            call.arg(u8::from(level.rule == Rule::Fair)).arg(level.interval_ms).arg(level.burst_ms);
            call.arg(level.tolerance_ms).arg(level.squeezed_ms).arg(level.unknown_ms);
        }
        let answer: Vec<String> = self.heard(now, call.invoke_async(&mut self.commands.clone())).await?;
        read(&answer)
    }

    /// Blocks a budget; when the block ends.
    pub(super) async fn block(&self, purse: &Purse, until: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let mut call = self.block.key(format!("{}{}", self.prefix, purse.key));
        let named = until.map(|at| at.0.to_string()).unwrap_or_default();
        call.arg(to_ms(now)).arg(RECOVERY_MS).arg(named).arg(&self.channel).arg(&purse.key);
        let answer: Option<String> = self.heard(now, call.invoke_async(&mut self.commands.clone())).await;
        let told = answer.and_then(|text| text.parse().ok()).map(from_ms);
        told.or(until).unwrap_or_else(|| now.plus(LEFT_ALONE))
    }

    /// Whether the holder has one of `most` seats now; `None` while Redis is away.
    pub(super) async fn sit(
        &self,
        key: &str,
        most: u32,
        holder: u64,
        until: Timestamp,
        now: Timestamp,
    ) -> Option<bool> {
        let lease_ms = i64::try_from(until.since(now).as_millis()).unwrap_or(i64::MAX / 4);
        let mut call = self.sit.key(format!("{}since", self.prefix));
        call.key(self.seats(key)).arg(now.0).arg(most).arg(holder).arg(until.0).arg(lease_ms);
        let sits: i64 = self.heard(now, call.invoke_async(&mut self.commands.clone())).await?;
        Some(sits == 1)
    }

    /// Gives a seat up.
    pub(super) async fn leave(&self, key: &str, holder: u64, now: Timestamp) {
        let mut command = redis::cmd("ZREM");
        command.arg(self.seats(key)).arg(holder);
        let _gone: Option<i64> = self.heard(now, command.query_async(&mut self.commands.clone())).await;
    }

    fn seats(&self, key: &str) -> String {
        format!("{}{key}:seats", self.prefix)
    }

    /// Redis' answer, if it gives one within the limit.
    async fn heard<T>(
        &self,
        now: Timestamp,
        asked: impl Future<Output = Result<T, RedisError>>,
    ) -> Option<T> {
        if now.0 < self.away_until.load(Ordering::Relaxed) {
            return None;
        }
        #[expect(clippy::disallowed_methods, reason = "a limit on an answer; no instant is compared")]
        let heard = tokio::time::timeout(ANSWER_LIMIT, asked).await;
        match heard {
            Ok(Ok(answer)) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!("redis is back: the fleet's budgets are shared again");
                    metrics::gauge!("calfleet_budget_fallback").set(0.0);
                }
                return Some(answer);
            }
            Ok(Err(error)) if !self.is_away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "redis does not keep the fleet's budgets: this program keeps to its own share");
            }
            Err(_) if !self.is_away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(
                    "redis does not answer: this program keeps to its own share of the fleet's budgets"
                );
            }
            Ok(Err(_)) | Err(_) => {}
        }
        metrics::gauge!("calfleet_budget_fallback").set(1.0);
        self.away_until.store(now.plus(LEFT_ALONE).0, Ordering::Relaxed);
        None
    }
}

fn read(answer: &[String]) -> Option<Verdict> {
    let [what, number, at] = answer else { return None };
    let at_ms: f64 = at.parse().ok()?;
    Some(match what.as_str() {
        "granted" => Verdict::Granted { count: number.parse().ok()?, from_ms: at_ms },
        what => {
            let is_blocked = what == "blocked";
            Verdict::Refused { level: number.parse().ok()?, until_ms: at_ms, is_blocked }
        }
    })
}

/// Hears of refusals that other programs were told, for as long as the ledger lives.
async fn listen(client: Client, channel: String, notices: Arc<Notices>) {
    loop {
        if let Ok(mut subscription) = client.get_async_pubsub().await
            && subscription.subscribe(&channel).await.is_ok()
        {
            let mut messages = subscription.on_message();
            while let Some(message) = messages.next().await {
                let text: String = message.get_payload().unwrap_or_default();
                if let Some((key, until)) = text.split_once(' ')
                    && let Ok(until) = until.parse()
                {
                    // The end is all that counts; what is over is swept by what comes later.
                    notices.block(key, Timestamp(until), Timestamp(until));
                }
            }
        }
        #[expect(clippy::disallowed_methods, reason = "a pause between attempts; no instant is compared")]
        tokio::time::sleep(LISTEN_PAUSE).await;
    }
}
