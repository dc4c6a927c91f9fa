//! Every request the sandbox was sent, with what came of it.
//!
//! Tests assert the exact number of requests, so an entry stands in the log before the first byte of its
//! answer leaves. The body of a streamed answer is counted as it goes; `sent_bytes` grows until the client
//! has read or left.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Entries kept; older ones fall out, the counters go on.
const KEPT_ENTRIES: usize = 100_000;

/// One request and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct RequestEntry {
    /// Counts from 1 since the start or the last `clear`.
    pub number: u64,
    /// Arrival on the sandbox's clock, milliseconds since 1970 UTC.
    pub at: i64,
    /// The method, such as `PROPFIND`.
    pub method: String,
    /// The path as sent, percent-encoded.
    pub path: String,
    /// The `Depth` header as sent.
    pub depth: Option<String>,
    /// Local name of the body's root element, such as `sync-collection` or `calendar-multiget`.
    pub report: Option<String>,
    /// How many hrefs the body names.
    pub hrefs: usize,
    /// The account whose credentials were accepted.
    pub account: Option<String>,
    /// Length of the request's body.
    pub body_bytes: usize,
    /// Status of the answer; 0 when the connection was cut instead.
    pub status: u16,
    /// Bytes of the answer's body that the client has taken so far.
    pub sent_bytes: u64,
    /// Time from arrival to the head of the answer, in microseconds of real time.
    pub took_us: u64,
}

#[derive(Debug)]
struct Logged {
    entry: RequestEntry,
    sent: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Logged>,
    total: u64,
    in_flight: BTreeMap<String, u64>,
    most_in_flight: BTreeMap<String, u64>,
}

/// The log; clones of the handle share it.
#[derive(Debug, Clone, Default)]
pub struct RequestLog {
    kept: Arc<Mutex<Kept>>,
}

impl RequestLog {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All entries that are still kept, oldest first.
    pub fn entries(&self) -> Vec<RequestEntry> {
        let read = |logged: &Logged| {
            let mut entry = logged.entry.clone();
            entry.sent_bytes = logged.sent.load(Ordering::SeqCst);
            entry
        };
        self.kept().entries.iter().map(read).collect()
    }

    /// Requests since the start or the last `clear`.
    pub fn count(&self) -> u64 {
        self.kept().total
    }

    /// Kept entries for which `wanted` holds.
    pub fn count_where(&self, wanted: impl Fn(&RequestEntry) -> bool) -> usize {
        self.kept().entries.iter().filter(|logged| wanted(&logged.entry)).count()
    }

    /// Kept entries of one method.
    pub fn count_of(&self, method: &str) -> usize {
        self.count_where(|entry| entry.method == method)
    }

    /// Kept REPORTs of one kind, such as `sync-collection`.
    pub fn reports(&self, kind: &str) -> usize {
        self.count_where(|entry| entry.method == "REPORT" && entry.report.as_deref() == Some(kind))
    }

    /// The most requests of one account that were being answered at the same time.
    pub fn most_in_flight(&self, account: &str) -> u64 {
        self.kept().most_in_flight.get(account).copied().unwrap_or(0)
    }

    /// Requests of one account that are being answered.
    pub(crate) fn in_flight(&self, account: &str) -> u64 {
        self.kept().in_flight.get(account).copied().unwrap_or(0)
    }

    /// Forgets all entries and counters.
    pub fn clear(&self) {
        let mut kept = self.kept();
        kept.entries.clear();
        kept.total = 0;
        kept.most_in_flight.clear();
    }

    /// Writes an entry and returns the counter of its answer's bytes.
    pub(crate) fn write(&self, mut entry: RequestEntry) -> Arc<AtomicU64> {
        let sent = Arc::new(AtomicU64::new(0));
        let mut kept = self.kept();
        kept.total += 1;
        entry.number = kept.total;
        if kept.entries.len() >= KEPT_ENTRIES {
            kept.entries.pop_front();
        }
        kept.entries.push_back(Logged { entry, sent: Arc::clone(&sent) });
        sent
    }

    /// Counts a request of `account` as being answered until the guard is dropped.
    pub(crate) fn enter(&self, account: &str) -> InFlight {
        let mut kept = self.kept();
        let now = kept.in_flight.entry(account.to_owned()).or_default();
        *now += 1;
        let now = *now;
        let most = kept.most_in_flight.entry(account.to_owned()).or_default();
        *most = now.max(*most);
        InFlight { log: self.clone(), account: account.to_owned() }
    }
}

/// Ends the count of a request in flight when dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    log: RequestLog,
    account: String,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(now) = self.log.kept().in_flight.get_mut(&self.account) {
            *now = now.saturating_sub(1);
        }
    }
}
