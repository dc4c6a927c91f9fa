//! Identifiers, each a type of its own, so that one cannot be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    )*};
}

uuid_ids! {
    /// A tenant: everything belongs to exactly one.
    OrganizationId,
    /// A person of the application.
    UserId,
    /// One authorised account at one provider.
    ConnectionId,
    /// A calendar of a connection.
    CalendarId,
    /// A copy: one event in one calendar.
    EventId,
    /// The meeting that joins the copies of one event.
    MeetingId,
    /// An intent to write to a provider.
    OutboxId,
    /// Two versions that could not be merged without a person.
    ConflictId,
    /// One entry of an event's history.
    HistoryId,
    /// One run of a job.
    RunId,
    /// A key of an application.
    ApiKeyId,
    /// A wish to be told when a calendar changes.
    WatchId,
    /// A worker process.
    WorkerId,
    /// Who holds a lease: random for every claim call.
    LeaseOwner,
}

impl MeetingId {
    /// The meeting of a normalised iCalendar UID in an organization: the same for every copy, on every machine,
    /// without asking anyone.
    #[must_use]
    pub fn of(organization: OrganizationId, uid: &Uid) -> Self {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        hash.update(b"calfleet meeting 1");
        hash.update(organization.0.as_bytes());
        hash.update(uid.normalised().as_bytes());
        let digest = hash.finalize();
        let mut bytes = [0_u8; 16];
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = from;
        }
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The identifier exactly as its provider spells it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}

text_ids! {
    /// The provider's own name of a calendar or an event: Google and Graph ids, CalDAV hrefs, feed UIDs.
    ProviderId,
    /// Where a listing stopped: Google sync token, Graph delta link, DAV sync token, ctag or entity tag. Opaque.
    SyncToken,
    /// What changes at the provider whenever the object does: `ETag`, `changeKey`. Opaque.
    Revision,
    /// The `UID` of RFC 5545 §3.8.4.7, as written.
    Uid,
}

impl Uid {
    /// The form in which UIDs are compared: outer white space is dropped, letters keep their case (RFC 5545
    /// compares UIDs as text).
    pub fn normalised(&self) -> &str {
        self.0.trim()
    }
}

/// Our hash of an event's canonical form: equal versions mean the same event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub [u8; 16]);

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_one_uid_share_a_meeting_inside_an_organization_only() {
        let (here, there) = (OrganizationId(Uuid::from_u128(1)), OrganizationId(Uuid::from_u128(2)));
        let (uid, padded) = (Uid::from("a@example.com"), Uid::from(" a@example.com "));

        assert_eq!(MeetingId::of(here, &uid), MeetingId::of(here, &padded));
        assert_ne!(MeetingId::of(here, &uid), MeetingId::of(there, &uid));
        assert_ne!(MeetingId::of(here, &uid), MeetingId::of(here, &Uid::from("b@example.com")));
    }
}
