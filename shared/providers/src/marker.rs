//! How we know what we made, at a provider whose object we read, even when our own database is lost.
//!
//! A mark is a MAC over account, calendar and the object's name, under a key that is derived from the master keys:
//! a copy of the object, one that somebody else marked, and one of another installation do not bear it.
//!
//! | provider | where it stands | the name |
//! |---|---|---|
//! | Google | private extended property `calfleet` | the event's id |
//! | Microsoft Graph | an extended property | the transaction id, which a copy does not have |
//! | CalDAV | `X-CALFLEET-MARK` | the `UID` |

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use calfleet_domain::model::{ProviderId, ProviderKind, Uid};
use serde_json::Value;

use crate::naming;

/// The property that marks objects of ours on CalDAV servers.
pub(crate) const CALDAV: &str = "X-CALFLEET-MARK";
/// The private extended property that marks events of ours at Google.
pub(crate) const GOOGLE: &str = "calfleet";
/// Bytes of a MAC that are written (RFC 2104 §5: half of them at least).
const MARK_BYTES: usize = 16;

/// What marks the objects that we make in one account.
#[derive(Clone)]
pub struct Marks {
    keys: Arc<[hmac::Key]>,
    account: Arc<str>,
}

/// Whether an object is one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It bears our mark.
    ByUs,
    /// It does not.
    ByOthers,
    /// Only the provider can tell: it is ours if it is found under this name.
    IfFound(ProviderId),
}

impl Marks {
    /// Marks under the first of `keys`; those of the others are known again. The account is the provider's own name
    /// for it.
    pub fn new(keys: Arc<[hmac::Key]>, account: &str) -> Self {
        Self { keys, account: Arc::from(account) }
    }

    /// The mark of a new object; empty without a key.
    pub(crate) fn of(&self, calendar: &str, name: &str) -> String {
        self.all(calendar, name).next().unwrap_or_default()
    }

    /// All that an object may bear, the newest first.
    pub(crate) fn all(&self, calendar: &str, name: &str) -> impl Iterator<Item = String> {
        // none of them has a NUL
        let named = [&*self.account, calendar, name].join("\0");
        self.keys.iter().map(move |key| {
            let tag = hmac::sign(key, named.as_bytes());
            hex::encode(tag.as_ref().iter().take(MARK_BYTES).copied().collect::<Vec<_>>())
        })
    }

    /// Whether the object of that id and `UID` with that payload is one that we made in that calendar.
    pub fn made(
        &self,
        kind: ProviderKind,
        calendar: &str,
        (id, uid): (&ProviderId, &Uid),
        raw: &str,
    ) -> Made {
        let json = || serde_json::from_str::<Value>(raw).unwrap_or_default();
        let is_ours = |name: &str, mark: &str| self.all(calendar, name).any(|ours| ours == mark);
        let by_us = |is_ours: bool| if is_ours { Made::ByUs } else { Made::ByOthers };
        match kind {
            ProviderKind::Google => {
                let event = json();
                let mark = event.pointer(&format!("/extendedProperties/private/{GOOGLE}"));
                by_us(mark.and_then(Value::as_str).is_some_and(|mark| is_ours(id.as_str(), mark)))
            }
            ProviderKind::Microsoft => {
                let event = json();
                let name = event.get("transactionId").and_then(Value::as_str).and_then(naming::unsent);
                name.map_or(Made::ByOthers, Made::IfFound)
            }
            ProviderKind::Caldav => {
                let mut marks = raw.lines().filter_map(|line| line.strip_prefix(CALDAV)?.strip_prefix(':'));
                by_us(marks.any(|mark| is_ours(uid.as_str(), mark.trim_end())))
            }
            ProviderKind::Feed => Made::ByOthers,
        }
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(secrets: &[u8], account: &str) -> Marks {
        let keys = secrets.iter().map(|byte| hmac::Key::new(hmac::HMAC_SHA256, &[*byte; 32]));
        Marks::new(keys.collect(), account)
    }

    #[test]
    fn a_mark_fits_one_object_of_one_calendar_of_one_account_under_our_keys_alone() {
        let ours = marks(&[1], "ada");
        let google = |marks: &Marks, calendar: &str, id: &str, mark: &str| {
            let raw = format!(r#"{{"extendedProperties":{{"private":{{"calfleet":"{mark}"}}}}}}"#);
            let object = (&ProviderId::from(id), &Uid::from("u"));
            marks.made(ProviderKind::Google, calendar, object, &raw)
        };
        let mark = ours.of("work", "abc");

        assert_eq!(mark.len(), 32);
        assert_eq!(google(&ours, "work", "abc", &mark), Made::ByUs);
        assert_eq!(google(&marks(&[2, 1], "ada"), "work", "abc", &mark), Made::ByUs, "a key that is retired");
        for (marks, calendar, id) in [
            (&ours, "work", "copy"),
            (&ours, "home", "abc"),
            (&marks(&[1], "bob"), "work", "abc"),
            (&marks(&[2], "ada"), "work", "abc"),
        ] {
            assert_eq!(google(marks, calendar, id, &mark), Made::ByOthers, "{calendar} {id}");
        }
        assert_eq!(google(&ours, "work", "abc", "abc"), Made::ByOthers);
    }

    #[test]
    fn a_copy_is_not_taken_for_ours() {
        let ours = marks(&[1], "ada");
        let of = |kind, uid: &str, raw: &str| {
            ours.made(kind, "work", (&ProviderId::from("id"), &Uid::from(uid)), raw)
        };
        let object = format!("BEGIN:VEVENT\r\nUID:u\r\n{CALDAV}:{}\r\nEND:VEVENT\r\n", ours.of("work", "u"));

        assert_eq!(of(ProviderKind::Caldav, "u", &object), Made::ByUs);
        assert_eq!(of(ProviderKind::Caldav, "c", &object), Made::ByOthers);
        assert_eq!(
            of(ProviderKind::Caldav, "u", "BEGIN:VEVENT\r\nUID:u\r\nX-CALFLEET-MARK:u\r\n"),
            Made::ByOthers
        );
        let graph = r#"{"transactionId":"0191f0a0-0000-7000-8000-000000000001"}"#;
        assert!(matches!(of(ProviderKind::Microsoft, "u", graph), Made::IfFound(_)));
        assert_eq!(of(ProviderKind::Microsoft, "u", r#"{"transactionId":"mine"}"#), Made::ByOthers);
        assert_eq!(of(ProviderKind::Feed, "u", &object), Made::ByOthers);
    }
}
