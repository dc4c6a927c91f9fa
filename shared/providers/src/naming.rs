//! What a new object is called at its provider, before the provider has heard of it: a name of ours makes a create
//! whose answer was lost findable.

use calfleet_domain::model::{EventId, ProviderId, ProviderKind, Uid};
use uuid::Uuid;

/// The names of an object that does not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The provider's id, as far as we choose it.
    pub provider_id: ProviderId,
    /// The `UID`, as far as we choose it.
    pub uid: Uid,
}

/// The names of a new object in `calendar`; the same for the same `event`.
///
/// - Google takes ids of 0–9 and a–v, and makes the `UID` of them.
/// - CalDAV takes the address and the `UID`.
/// - Microsoft Graph chooses both; until it has, the object goes by the transaction id that it is created with.
pub fn names(kind: ProviderKind, calendar: &ProviderId, event: EventId) -> Names {
    let simple = event.0.simple().to_string();
    match kind {
        ProviderKind::Google => {
            let uid = Uid(format!("{simple}@google.com"));
            Names { provider_id: ProviderId(simple), uid }
        }
        ProviderKind::Microsoft => Names {
            provider_id: ProviderId(format!("{UNSENT}{simple}")),
            uid: Uid(event.0.hyphenated().to_string()),
        },
        ProviderKind::Caldav | ProviderKind::Feed => {
            let uid = event.0.hyphenated().to_string();
            // members go by their path, also where the calendar is on another host than the account
            let path = match calendar.as_str().split_once("://") {
                Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/"),
                None => calendar.as_str(),
            };
            let slash = if path.ends_with('/') { "" } else { "/" };
            let provider_id = ProviderId(format!("{path}{slash}{uid}.ics"));
            Names { provider_id, uid: Uid(uid) }
        }
    }
}

/// What ids begin with of objects that Microsoft Graph has not named yet; the rest is the transaction id.
pub const UNSENT: &str = "unsent:";

/// The transaction id that an object which goes by a name of ours is created with; `None` for an id of Graph's own.
pub fn transaction(id: &ProviderId) -> Option<Uuid> {
    Uuid::try_parse(id.as_str().strip_prefix(UNSENT)?).ok()
}

/// The name that an object went by until Graph named it, from its transaction id; `None` where that is not one of ours.
pub fn unsent(transaction: &str) -> Option<ProviderId> {
    let id = Uuid::try_parse(transaction).ok()?;
    Some(ProviderId(format!("{UNSENT}{}", id.simple())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ones_that_the_provider_takes_and_the_same_each_time() {
        let event = EventId(Uuid::from_u128(0xab));
        let of = |kind, calendar: &str| names(kind, &ProviderId(calendar.to_owned()), event);

        let google = of(ProviderKind::Google, "ada@example.com");
        assert!(google.provider_id.as_str().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'v')));
        assert_eq!(google.uid.as_str(), format!("{}@google.com", google.provider_id.as_str()));
        let dav = of(ProviderKind::Caldav, "/ada/work/");
        assert_eq!(dav.provider_id.as_str(), "/ada/work/00000000-0000-0000-0000-0000000000ab.ics");
        assert_eq!(of(ProviderKind::Caldav, "/ada/work"), dav);
        assert_eq!(of(ProviderKind::Caldav, "https://p7.example.com/ada/work/"), dav);
        let graph = of(ProviderKind::Microsoft, "AAMk").provider_id;
        assert_eq!(transaction(&graph), Some(event.0));
        assert_eq!(unsent(&event.0.hyphenated().to_string()), Some(graph));
        assert_eq!((transaction(&google.provider_id), unsent("their own words")), (None, None));
    }
}
