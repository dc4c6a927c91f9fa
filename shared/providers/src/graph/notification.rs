//! Reads what Graph posts to our address ("Receive change notifications through webhooks").
//!
//! One request may bring notifications of many subscriptions, of several accounts. Before Graph believes that an
//! address is ours it asks it to repeat a word. Basic notifications bear no signature: what they bring is a hint,
//! worth as much as the secret in it.

use calfleet_domain::clock::Timestamp;

use super::{times, wire};
use crate::notification::{Notification, NotificationKind};

/// A request that is none of Graph's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request holds no notifications")]
pub struct NotNotifications;

/// Longest name of a subscription and longest secret, far above the reference's; longer ones are nobody's.
const MOST_TEXT_BYTES: usize = 256;

/// Most notifications in one request; what is left out asks for the same sync.
const MOST_NOTIFICATIONS: usize = 1_000;

/// Longest word that is repeated.
const MOST_WORD_BYTES: usize = 4096;

/// The word to answer with as `text/plain` and status 200 within ten seconds, when the query asks for it; `None` for
/// a request with notifications. A word with control characters is nobody's.
pub fn word_to_repeat(query: &str) -> Option<String> {
    let (_, word) =
        url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "validationToken")?;
    let is_word = !word.is_empty() && word.len() <= MOST_WORD_BYTES && !word.contains(char::is_control);
    is_word.then(|| word.into_owned())
}

/// Reads the body of a request. The secrets it brings are not checked here: only whoever knows the subscriptions can
/// ([`Notification::proves`]). A notification that cannot be read is left out: it would only ask for a sync.
///
/// # Errors
/// When it holds no list of notifications.
pub fn read(body: &[u8]) -> Result<Vec<Notification>, NotNotifications> {
    let posted: wire::Notifications<'_> = serde_json::from_slice(body).map_err(|_| NotNotifications)?;
    if posted.value.is_empty() {
        return Err(NotNotifications);
    }
    let some = posted.value.iter().take(MOST_NOTIFICATIONS);
    Ok(some.filter_map(|raw| notification(serde_json::from_str(raw.get()).ok()?)).collect())
}

fn notification(read: wire::Notification) -> Option<Notification> {
    let watch = read.subscription_id.filter(|id| !id.is_empty() && id.len() <= MOST_TEXT_BYTES)?;
    let secret = read.client_state.filter(|secret| secret.len() <= MOST_TEXT_BYTES).unwrap_or_default();
    let kind = match (read.lifecycle_event.as_deref(), read.change_type.as_deref()) {
        (Some("reauthorizationRequired"), _) => NotificationKind::Reauthorize,
        (Some("subscriptionRemoved"), _) => NotificationKind::Removed,
        (Some("missed"), _) => NotificationKind::Missed,
        (Some(_), _) | (None, None) => return None,
        (None, Some(_)) => NotificationKind::Changed,
    };
    let expires_at: Option<Timestamp> =
        read.subscription_expiration_date_time.as_deref().and_then(times::timestamp);
    Some(Notification { watch, secret: secret.into(), kind, resource: None, number: None, expires_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTED: &str = r##"{"value":[
        {"id":"n1","subscriptionId":"sub-1","subscriptionExpirationDateTime":"2026-03-20T11:00:00.0000000Z","clientState":"s3cret","changeType":"updated",
         "resource":"Users/u/Events/e","tenantId":"t","resourceData":{"@odata.type":"#Microsoft.Graph.Event","@odata.id":"Users/u/Events/e","@odata.etag":"W/\"x\"","id":"e"}},
        {"id":"n2","subscriptionId":"sub-2","clientState":"other","lifecycleEvent":"subscriptionRemoved","resource":"x","tenantId":"t"},
        {"id":"n3","subscriptionId":"sub-3","clientState":"other","lifecycleEvent":"missed"},
        {"id":"n4","subscriptionId":"sub-3","clientState":"other","lifecycleEvent":"reauthorizationRequired"},
        {"id":"n5","subscriptionId":"sub-4","changeType":"deleted"},
        {"id":"n6","subscriptionId":"sub-5","lifecycleEvent":"somethingNew"},
        {"subscriptionId":7}, {"changeType":"updated"}],"validationTokens":["t"]}"##;

    #[test]
    fn notifications_of_many_subscriptions_are_read_one_by_one() {
        let read = read(POSTED.as_bytes()).unwrap();

        let kinds: Vec<_> = read.iter().map(|one| (one.watch.as_str(), one.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("sub-1", NotificationKind::Changed),
                ("sub-2", NotificationKind::Removed),
                ("sub-3", NotificationKind::Missed),
                ("sub-3", NotificationKind::Reauthorize),
                ("sub-4", NotificationKind::Changed),
            ]
        );
        assert_eq!(read[0].expires_at, Some(Timestamp(1_774_004_400_000)));
        assert!(read[0].proves(&"s3cret".into()) && !read[1].proves(&"s3cret".into()));
        assert!(!read[4].proves(&"".into()), "no secret proves nothing");
    }

    #[test]
    fn strangers_post_nothing() {
        for body in ["", "{}", "[]", r#"{"value":[]}"#, r#"{"value":7}"#, "<html>"] {
            assert_eq!(read(body.as_bytes()).unwrap_err(), NotNotifications, "{body}");
        }
    }

    #[test]
    fn the_word_is_repeated_as_it_was_meant() {
        let word = word_to_repeat("validationToken=Validation%3a+Testing+client%20application%3Cb%3E");

        assert_eq!(word.as_deref(), Some("Validation: Testing client application<b>"));
        for query in ["", "a=b", "validationToken=", "validationToken=a%0d%0ab"] {
            assert_eq!(word_to_repeat(query), None, "{query}");
        }
    }
}
