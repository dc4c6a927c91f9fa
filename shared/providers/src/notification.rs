//! What a provider's notification says, whichever provider sent it.
//!
//! A notification is a hint from a stranger: it names a watch and brings the secret that this watch was made with.
//! Whoever receives it looks the watch up by that secret, or asks [`Notification::proves`]; until then it says
//! nothing. What has changed it never tells: it only asks for a sync.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::ProviderKind;
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// One notification of one watch.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The provider's name for the watch.
    pub watch: String,
    /// What it brought along to show that the provider sent it; empty where it brought nothing.
    pub secret: SecretString,
    /// What it is about.
    pub kind: NotificationKind,
    /// The second name of a Google channel, which must be that of the watch.
    pub resource: Option<String>,
    /// Its number, where the provider counts; rising, with gaps.
    pub number: Option<u64>,
    /// When the watch ends by itself, where the notification says so.
    pub expires_at: Option<Timestamp>,
}

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    /// The watch has begun: nothing has changed, but notifications arrive.
    Proof,
    /// Something has changed.
    Changed,
    /// Some notifications were lost.
    Missed,
    /// The provider has ended the watch.
    Removed,
    /// The watch wants to be prolonged or allowed again, else it ends.
    Reauthorize,
}

/// A request that is no notification.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// This provider sends none.
    #[error("take notifications of {provider}, which sends none")]
    Silent {
        /// Which.
        provider: ProviderKind,
    },
    /// Google's, but not as documented.
    #[error("read a push of Google's")]
    Google(#[from] crate::google::notification::PushError),
    /// Microsoft's, but not as documented.
    #[error("read a change notification of Microsoft Graph's")]
    Microsoft(#[from] crate::graph::notification::NotNotifications),
}

/// The word that a provider wants to hear again before it believes that an address is ours; `None` where it asks for
/// nothing.
pub fn word_to_repeat(provider: ProviderKind, query: &str) -> Option<String> {
    match provider {
        ProviderKind::Microsoft => crate::graph::notification::word_to_repeat(query),
        _ => None,
    }
}

/// Reads what a provider has sent: one request may bring notifications of many watches.
///
/// # Errors
/// When it is none of that provider's.
pub fn read(
    provider: ProviderKind,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<Notification>, Unreadable> {
    match provider {
        ProviderKind::Google => Ok(vec![crate::google::notification::read(headers)?]),
        ProviderKind::Microsoft => Ok(crate::graph::notification::read(body)?),
        ProviderKind::Caldav | ProviderKind::Feed => Err(Unreadable::Silent { provider }),
    }
}

impl Notification {
    /// Whether it brought the secret its watch was made with. Takes the same time however much of it is right;
    /// an empty secret proves nothing.
    pub fn proves(&self, secret: &SecretString) -> bool {
        let (brought, expected) = (self.secret.expose_secret(), secret.expose_secret());
        !expected.is_empty() && bool::from(brought.as_bytes().ct_eq(expected.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(secret: &str) -> Notification {
        Notification {
            watch: "w".to_owned(),
            secret: secret.into(),
            kind: NotificationKind::Changed,
            resource: None,
            number: None,
            expires_at: None,
        }
    }

    #[test]
    fn only_the_secret_of_the_watch_proves_a_notification() {
        assert!(with("s3cret").proves(&"s3cret".into()));

        assert!(!with("s3cre").proves(&"s3cret".into()));
        assert!(!with("").proves(&"s3cret".into()));
        assert!(!with("").proves(&"".into()));
    }
}
