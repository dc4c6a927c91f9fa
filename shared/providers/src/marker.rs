//! How we know what we made, at a provider whose object we read, even when our own database is lost.
//!
//! | provider | mark | why a copy is not taken for it |
//! |---|---|---|
//! | Google | private extended property `calfleet` | its value is the event's id |
//! | Microsoft Graph | extended property, and the transaction id | a copy has another transaction id or none |
//! | CalDAV | `X-CALFLEET-UID` | its value is the event's `UID`, and what guests hold has another owner |

use calfleet_domain::model::{ProviderId, ProviderKind, Uid};
use serde_json::Value;

use crate::naming;

/// The property that marks objects of ours on CalDAV servers.
pub(crate) const CALDAV: &str = "X-CALFLEET-UID";
/// The private extended property that marks events of ours at Google.
pub(crate) const GOOGLE: &str = "calfleet";

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

/// Whether the object of that id and `UID` with that payload is one that we made.
pub fn made(kind: ProviderKind, id: &ProviderId, uid: &Uid, raw: &str) -> Made {
    let json = || serde_json::from_str::<Value>(raw).unwrap_or_default();
    let by_us = |is_ours: bool| if is_ours { Made::ByUs } else { Made::ByOthers };
    match kind {
        ProviderKind::Google => {
            let pointer = format!("/extendedProperties/private/{GOOGLE}");
            by_us(json().pointer(&pointer).and_then(Value::as_str) == Some(id.as_str()))
        }
        ProviderKind::Microsoft => {
            let event = json();
            let name = event.get("transactionId").and_then(Value::as_str).and_then(naming::unsent);
            name.map_or(Made::ByOthers, Made::IfFound)
        }
        ProviderKind::Caldav => {
            let mark = format!("{CALDAV}:{}", uid.as_str());
            by_us(raw.lines().any(|line| line.trim_end() == mark))
        }
        ProviderKind::Feed => Made::ByOthers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_not_taken_for_ours() {
        let of = |kind, id: &str, raw: &str| made(kind, &ProviderId::from(id), &Uid::from("u"), raw);
        let google = r#"{"id":"abc","extendedProperties":{"private":{"calfleet":"abc"}}}"#;

        assert_eq!(of(ProviderKind::Google, "abc", google), Made::ByUs);
        assert_eq!(of(ProviderKind::Google, "copy", google), Made::ByOthers);
        assert_eq!(of(ProviderKind::Google, "abc", "{}"), Made::ByOthers);
        let ours = "BEGIN:VEVENT\r\nUID:u\r\nX-CALFLEET-UID:u\r\nEND:VEVENT\r\n";
        assert_eq!(of(ProviderKind::Caldav, "/a/u.ics", ours), Made::ByUs);
        assert_eq!(
            of(
                ProviderKind::Caldav,
                "/a/u.ics",
                &ours.replace("UID:u\r\nX", "UID:c\r\nX").replace("-UID:u", "-UID:c")
            ),
            Made::ByOthers
        );
        let graph = r#"{"transactionId":"0191f0a0-0000-7000-8000-000000000001"}"#;
        assert!(matches!(of(ProviderKind::Microsoft, "AAMk", graph), Made::IfFound(_)));
        assert_eq!(of(ProviderKind::Microsoft, "AAMk", r#"{"transactionId":"mine"}"#), Made::ByOthers);
        assert_eq!(of(ProviderKind::Feed, "u", ours), Made::ByOthers);
    }
}
