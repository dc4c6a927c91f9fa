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

use crate::app::App;
use crate::intake::Intake;

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
    if let Some(word) = query.and_then(|query| notification::word_to_repeat(provider, &query)) {
        return repeated(word);
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

/// Anybody can have anything repeated, as it was meant: as text that no browser takes for a page.
fn repeated(word: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    (headers, word).into_response()
}
