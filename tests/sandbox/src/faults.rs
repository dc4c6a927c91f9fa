//! Faults on demand: rules that match requests and spoil them, a number of times.
//!
//! A rule is looked at in the order of injection, and all that match a request apply to it: a latency and a
//! 503 go together. `skip` lets requests through first, so "the third page" can be hit; `count` is how often
//! the rule strikes before it is gone.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::edit::Edit;

/// How long a client is asked to stay away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// `Retry-After: 30`.
    Seconds(u32),
    /// An HTTP date that many seconds ahead on the sandbox's clock.
    DateIn(u32),
}

/// What goes wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The answer comes later by that many milliseconds of real time.
    Latency(u64),
    /// A bare status, without the request being carried out.
    Status {
        /// The status code.
        code: u16,
        /// Its `Retry-After`.
        #[serde(default)]
        retry_after: Option<RetryAfter>,
    },
    /// A refusal by the provider, with its own word for the reason, such as `quotaExceeded`.
    Refused {
        /// The status code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// 401 with a challenge, as of a token that ran out.
    Unauthorized,
    /// A redirect.
    Redirect {
        /// 301, 302, 307 or 308.
        code: u16,
        /// The `Location`, such as an address of another origin.
        location: String,
    },
    /// The connection closes without an answer, and nothing was carried out.
    CutBefore,
    /// The request is carried out, then the connection closes without an answer.
    AnswerLost,
    /// The body says its whole length, and the connection closes after that many bytes of it.
    CutBody(usize),
    /// The XML ends in the middle, in an otherwise sound answer.
    TruncatedBody,
    /// A page of HTML with status 200.
    Html,
    /// A body that goes on until the client leaves.
    Endless,
    /// A gzip body of some 100 kB that unpacks to that many MiB.
    GzipBomb(u32),
    /// XML with a DOCTYPE whose entities grow beyond all bounds.
    EntityBomb,
    /// XML with a DOCTYPE that names an external entity.
    ExternalEntity,
    /// A sound listing without members.
    EmptyListing,
    /// Every other member comes twice.
    Duplicates,
    /// Members come in another order, the same for the same seed.
    Shuffled(u64),
    /// Members whose name matches the pattern come with garbage for calendar data.
    Unreadable(String),
    /// The sync token is treated as expired.
    ExpiredToken,
    /// After the request was answered, somebody else makes these edits.
    ThenEdit(Vec<Edit>),
}

/// A fault, and which requests it strikes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Method, such as `REPORT`; any when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// Path pattern with `*` for any text; any path when absent.
    #[serde(default)]
    pub path: Option<String>,
    /// Text that the request's body has to contain, such as `sync-collection`.
    #[serde(default)]
    pub body: Option<String>,
    /// Matching requests to let through first.
    #[serde(default)]
    pub skip: u32,
    /// How often it strikes; `None` always, until cleared.
    #[serde(default = "once")]
    pub count: Option<u32>,
    /// What it does.
    pub fault: Fault,
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn once() -> Option<u32> {
    Some(1)
}

impl FaultRule {
    /// Strikes the next request, whatever it is.
    pub fn next(fault: Fault) -> Self {
        Self { method: None, path: None, body: None, skip: 0, count: once(), fault }
    }

    /// Only requests of this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only paths that match the pattern; `*` stands for any text.
    #[must_use]
    pub fn path(mut self, pattern: &str) -> Self {
        self.path = Some(pattern.to_owned());
        self
    }

    /// Only requests whose body contains the text.
    #[must_use]
    pub fn body(mut self, text: &str) -> Self {
        self.body = Some(text.to_owned());
        self
    }

    /// After letting that many matching requests through.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// That many times.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }

    /// Every time until cleared.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.count = None;
        self
    }

    fn matches(&self, method: &str, path: &str, body: &[u8]) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_ref().is_none_or(|pattern| matches_pattern(pattern, path))
            && self.body.as_ref().is_none_or(|text| contains(body, text.as_bytes()))
    }
}

/// Whether `text` matches a pattern in which `*` stands for any text.
pub(crate) fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// The faults that change what a handler lists.
#[derive(Debug, Clone, Default)]
pub(crate) struct Twist {
    pub(crate) empty_listing: bool,
    pub(crate) duplicates: bool,
    pub(crate) shuffle: Option<u64>,
    pub(crate) unreadable: Vec<String>,
    pub(crate) expired_token: bool,
}

impl Twist {
    pub(crate) fn of(faults: &[Fault]) -> Self {
        let mut twist = Self::default();
        for fault in faults {
            match fault {
                Fault::EmptyListing => twist.empty_listing = true,
                Fault::Duplicates => twist.duplicates = true,
                Fault::Shuffled(seed) => twist.shuffle = Some(*seed),
                Fault::Unreadable(pattern) => twist.unreadable.push(pattern.clone()),
                Fault::ExpiredToken => twist.expired_token = true,
                _ => {}
            }
        }
        twist
    }
}

/// The rules that are waiting.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Mutex<VecDeque<FaultRule>>,
}

impl Faults {
    fn rules(&self) -> MutexGuard<'_, VecDeque<FaultRule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn inject(&self, rule: FaultRule) {
        self.rules().push_back(rule);
    }

    pub(crate) fn waiting(&self) -> Vec<FaultRule> {
        self.rules().iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.rules().clear();
    }

    /// The faults that strike this request; their rules are used up by one.
    pub(crate) fn strike(&self, method: &str, path: &str, body: &[u8]) -> Vec<Fault> {
        let mut struck = Vec::new();
        self.rules().retain_mut(|rule| {
            if !rule.matches(method, path, body) {
                return true;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                return true;
            }
            struck.push(rule.fault.clone());
            if let Some(count) = &mut rule.count {
                *count = count.saturating_sub(1);
                return *count > 0;
            }
            true
        });
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_with_stars_anywhere() {
        assert!(matches_pattern("/dav/*/work/*.ics", "/dav/calendars/ada/work/a.ics"));
        assert!(matches_pattern("*", ""));
        assert!(!matches_pattern("/dav/*.ics", "/dav/a.icsx"));
        assert!(!matches_pattern("/dav/", "/dav/a"));
    }

    #[test]
    fn a_rule_lets_through_then_strikes_then_is_gone() {
        let faults = Faults::default();
        faults.inject(FaultRule::next(Fault::Html).method("REPORT").after(1).times(2));

        let struck: Vec<usize> = ["PUT", "REPORT", "REPORT", "REPORT", "REPORT"]
            .map(|method| faults.strike(method, "/", b"").len())
            .into();

        assert_eq!(struck, [0, 0, 1, 1, 0]);
    }
}
