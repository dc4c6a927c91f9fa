//! `/calendar/{provider}/connect` and `/connections/{ticket}/confirm`: an application begins a sign-in for one of its
//! users and finishes it with its own credentials.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use calfleet_domain::model::{ConnectionId, ProviderKind, UserId};
use calfleet_service::Actor;
use calfleet_service::connect::ConnectError;
use calfleet_service::overview::{self, ConnectionView};
use calfleet_service::sign_in::{BeginSignIn, SignInAccess, SignInError};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::auth::Connector;
use super::body::Body;
use super::parameters::{Parameters, Path};
use super::problem::Problem;
use crate::app::App;

/// What is needed to begin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    return_url: Url,
    user_id: Option<UserId>,
    connection_id: Option<ConnectionId>,
    /// `read`, the default, or `write`.
    #[serde(default)]
    access: SignInAccess,
}

/// A sign-in that has begun.
#[derive(Debug, Serialize)]
pub(super) struct Begun {
    /// The consent page, to be opened in the user's browser.
    authorize_url: String,
    /// Milliseconds since 1970 until it can be finished.
    expires_at: i64,
}

/// `POST /calendar/{provider}/connect`.
pub(super) async fn begin(
    State(app): State<App>,
    caller: Connector,
    Path(provider): Path<String>,
    parameters: Parameters,
    body: Body,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    let provider: ProviderKind = provider.parse().map_err(|_| Problem::not_found("provider"))?;
    parameters.only(&[])?;
    let wanted: Begin = body.read()?;
    let begun = app
        .service
        .begin_sign_in(&BeginSignIn {
            organization_id: caller.organization_id,
            user_id: wanted.user_id,
            provider,
            return_url: wanted.return_url,
            connection_id: wanted.connection_id,
            access: wanted.access,
        })
        .await
        .map_err(problem)?;
    let begun = Begun { authorize_url: begun.authorize_url.into(), expires_at: begun.expires_at.0 };
    Ok((StatusCode::CREATED, Json(begun)))
}

/// For whom a sign-in is finished.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirm {
    user_id: Option<UserId>,
}

/// `POST /connections/{ticket}/confirm`.
pub(super) async fn confirm(
    State(app): State<App>,
    caller: Connector,
    Path(ticket): Path<String>,
    parameters: Parameters,
    body: Body,
) -> Result<(StatusCode, Json<ConnectionView>), Problem> {
    parameters.only(&[])?;
    let wanted: Confirm = body.read_or_default()?;
    let (service, organization) = (&app.service, caller.organization_id);
    let ticket = SecretString::from(ticket);
    let connected =
        Box::pin(service.confirm_sign_in(organization, wanted.user_id, &ticket, &Actor(caller.actor)))
            .await
            .map_err(problem)?;
    let id = connected.connection.id();
    let view = overview::connection(&service.store, organization, id, service.now()).await;
    let view = view.map_err(Problem::store)?.ok_or_else(|| Problem::not_found("connection"))?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// An error as a sentence for people.
fn sentence(error: &SignInError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn problem(error: SignInError) -> Problem {
    match error {
        SignInError::Connect(ConnectError::Store(error)) => Problem::store(error),
        SignInError::Connect(ConnectError::Driver(error)) => {
            Problem::provider(error.problem.code(), error.problem.to_string())
        }
        SignInError::Connect(ConnectError::Vault(_)) | SignInError::NoRandomness(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a sign-in failed on our side");
            Problem::ours()
        }
        SignInError::NotYours => Problem::not_yours(sentence(&error)),
        SignInError::NotOffered => Problem::refused("not_offered", sentence(&error)),
        SignInError::ReturnUrl => Problem::bad_parameter("return_url", sentence(&error)),
        SignInError::Unknown => Problem::refused("sign_in_unknown", sentence(&error)),
        SignInError::Denied { .. } => Problem::refused("sign_in_denied", sentence(&error)),
        SignInError::MissingScope { .. } => Problem::refused("missing_scope", sentence(&error)),
        SignInError::OtherAccount => Problem::refused("other_account", sentence(&error)),
    }
}
