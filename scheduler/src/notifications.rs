//! Where providers tell that a calendar has changed: verified, made due, answered, and nothing else.
//!
//! A notification is a hint from a stranger. What is well-formed is answered alike whether it was believed or not, so
//! that nobody can try secrets out and no provider sends again what will never be believed.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use calfleet_domain::model::ProviderKind;
use calfleet_providers::notification::{self, Notification, NotificationKind};
use calfleet_store::doors::{DoorKind, SecretHash};
use calfleet_store::watches::{About, Notice};
use secrecy::ExposeSecret as _;
use url::form_urlencoded;

use crate::app::App;
use crate::intake::Intake;

/// Longest handshake that is repeated; real ones are some hundred bytes.
const LONGEST_TOKEN: usize = 4_096;

/// The routes.
pub(crate) fn routes(app: &App) -> Router<App> {
    Router::new().route("/notifications/{provider}", post(receive)).with_state(Intake::start(app))
}

/// `POST /notifications/{provider}`.
async fn receive(
    State(intake): State<Intake>,
    Path(provider): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(provider) = provider.parse::<ProviderKind>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if let Some(token) = query.as_deref().and_then(handshake) {
        return repeated(&token);
    }
    let notices = match notification::read(provider, &headers, &body) {
        Ok(notifications) => notifications.iter().map(notice).collect(),
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "a request is no notification");
            return StatusCode::BAD_REQUEST.into_response();
        }
    };
    if intake.take(notices).await.is_ok() {
        return StatusCode::ACCEPTED.into_response();
    }
    metrics::counter!("calfleet_notifications_total", "outcome" => "unavailable").increment(1);
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, HeaderValue::from_static("2"))]).into_response()
}

fn notice(notification: &Notification) -> Notice {
    Notice {
        secret: SecretHash::of(DoorKind::Watch, notification.secret.expose_secret().as_bytes()),
        watch: notification.watch.clone(),
        resource: notification.resource.clone(),
        number: notification.number,
        about: match notification.kind {
            NotificationKind::Proof => About::Proof,
            NotificationKind::Changed | NotificationKind::Missed => About::Changed,
            NotificationKind::Reauthorize => About::Renew,
            NotificationKind::Removed => About::Ended,
        },
    }
}

/// What Microsoft wants to hear again before it agrees to a subscription (Graph, "Receive change notifications
/// through webhooks").
fn handshake(query: &str) -> Option<String> {
    let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "validationToken")?.1;
    (token.len() <= LONGEST_TOKEN).then(|| token.into_owned())
}

/// Anybody can have anything repeated: as text that no browser takes for a page.
fn repeated(token: &str) -> Response {
    let escaped = token
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, escaped).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_decoded_and_nothing_too_long_is_repeated() {
        let read = |query: &str| handshake(query);

        assert_eq!(read("validationToken=Validation%3a+a%26b").as_deref(), Some("Validation: a&b"));
        assert_eq!(read("other=1"), None);
        assert_eq!(read(&format!("validationToken={}", "x".repeat(LONGEST_TOKEN + 1))), None);
    }
}
