//! Reads a push (Calendar API, "Push notifications"): headers without a body.

use calfleet_domain::clock::Timestamp;
use chrono::DateTime;
use http::HeaderMap;

use crate::notification::{Notification, NotificationKind};

/// Why a request is no push of Google's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// It names no channel.
    #[error("the push names no channel")]
    NoChannel,
    /// It says nothing that is known.
    #[error("the push is in no known state")]
    UnknownState,
}

/// Longest name of a channel, from the reference; longer ones are nobody's.
const MOST_ID_BYTES: usize = 64;

/// Reads the headers of a push. The token it brings is not checked here: only whoever knows the channel can
/// ([`Notification::proves`]).
///
/// # Errors
/// When it is no push.
pub fn read(headers: &HeaderMap) -> Result<Notification, PushError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let watch = header("x-goog-channel-id")
        .filter(|id| !id.is_empty() && id.len() <= MOST_ID_BYTES)
        .ok_or(PushError::NoChannel)?;
    let kind = match header("x-goog-resource-state") {
        Some("sync") => NotificationKind::Proof,
        // What is gone is found out by the sync that follows.
        Some("exists" | "not_exists") => NotificationKind::Changed,
        _ => return Err(PushError::UnknownState),
    };
    let expires_at = header("x-goog-channel-expiration")
        .and_then(|text| DateTime::parse_from_rfc2822(text).ok())
        .map(|instant| Timestamp::from_utc(instant.to_utc()));
    Ok(Notification {
        watch: watch.to_owned(),
        secret: header("x-goog-channel-token").unwrap_or_default().into(),
        kind,
        resource: header("x-goog-resource-id").filter(|id| !id.is_empty()).map(str::to_owned),
        number: header("x-goog-message-number").and_then(|number| number.parse().ok()),
        expires_at,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn push(headers: &[(&'static str, &'static str)]) -> Result<Notification, PushError> {
        read(
            &headers
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect(),
        )
    }

    #[test]
    fn a_push_is_read_whole() {
        let read = push(&[
            ("x-goog-channel-id", "4ba78bf0-6a47-11e2-bcfd-0800200c9a66"),
            ("x-goog-channel-token", "s3cret"),
            ("x-goog-channel-expiration", "Tue, 19 Nov 2013 01:13:52 GMT"),
            ("x-goog-resource-id", "ret08u3rv24htgh289g"),
            ("x-goog-resource-state", "exists"),
            ("x-goog-message-number", "10"),
        ])
        .unwrap();

        assert_eq!(read.watch, "4ba78bf0-6a47-11e2-bcfd-0800200c9a66");
        assert_eq!(read.kind, NotificationKind::Changed);
        assert_eq!(read.resource.as_deref(), Some("ret08u3rv24htgh289g"));
        assert_eq!(read.number, Some(10));
        assert_eq!(read.expires_at, Some(Timestamp(1_384_823_632_000)));
        assert!(read.proves(&"s3cret".into()) && !read.proves(&"other".into()));
    }

    #[test]
    fn the_first_message_proves_the_watch_and_strangers_say_nothing() {
        let first = push(&[("x-goog-channel-id", "c"), ("x-goog-resource-state", "sync")]).unwrap();

        assert_eq!(first.kind, NotificationKind::Proof);
        assert!(!first.proves(&"s3cret".into()));
        assert_eq!(push(&[("x-goog-resource-state", "sync")]).unwrap_err(), PushError::NoChannel);
        assert_eq!(push(&[("x-goog-channel-id", "c")]).unwrap_err(), PushError::UnknownState);
    }
}
