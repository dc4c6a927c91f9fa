//! `DELETE /connections/{id}` and `DELETE /calendar/{provider}`: an application disconnects an account of its users.
//!
//! Both answer with the connection as it is then: 202 while the provider is still to be told or events are still to
//! go, 200 when nothing is left to do. Repeating them changes nothing.

use axum::Json;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use calfleet_domain::model::{ConnectionId, ConnectionState, ProviderKind, UserId};
use calfleet_service::Actor;
use calfleet_service::control::ControlError;
use calfleet_service::overview::{self, ConnectionView};
use calfleet_store::connections::{self, Connection};
use calfleet_store::departures::Events;
use calfleet_store::{Scope, StoreError};

use super::auth::Connector;
use super::parameters::{Path, id};
use super::problem::Problem;
use crate::app::App;

/// Whose connection, and what becomes of its events.
#[derive(Debug, Default)]
pub(super) struct Wish {
    user_id: Option<UserId>,
    events: Events,
}

impl<S: Sync> FromRequestParts<S> for Wish {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = pairs.map_err(|_| Problem::bad_query())?;
        let mut wish = Self::default();
        let (mut users, mut events) = (0, 0);
        for (name, value) in &pairs {
            match name.as_str() {
                "user_id" => {
                    wish.user_id = Some(id("user_id", value)?);
                    users += 1;
                }
                "events" => {
                    wish.events = Events::from_name(value)
                        .ok_or_else(|| Problem::bad_parameter("events", "Give keep or purge."))?;
                    events += 1;
                }
                _ => return Err(Problem::bad_parameter(name, "There is no such parameter.")),
            }
        }
        for (name, count) in [("user_id", users), ("events", events)] {
            if count > 1 {
                return Err(Problem::bad_parameter(name, "Give it once."));
            }
        }
        Ok(wish)
    }
}

type Answered = Result<(StatusCode, Json<ConnectionView>), Problem>;

/// `DELETE /connections/{id}?events=keep|purge`.
pub(super) async fn connection(
    State(app): State<App>,
    caller: Connector,
    Path(text): Path<String>,
    wish: Wish,
) -> Answered {
    if wish.user_id.is_some() {
        return Err(Problem::bad_parameter("user_id", "The connection is named by its id."));
    }
    disconnect(&app, caller, id("id", &text)?, wish.events).await
}

/// `DELETE /calendar/{provider}?user_id=…&events=keep|purge`: the user's only connection there, or the organization's
/// own without a user.
pub(super) async fn of_provider(
    State(app): State<App>,
    caller: Connector,
    Path(provider): Path<String>,
    wish: Wish,
) -> Answered {
    let provider: ProviderKind = provider.parse().map_err(|_| Problem::not_found("provider"))?;
    let all = of_user(&app, &caller, provider, wish.user_id).await.map_err(Problem::store)?;
    let (gone, living): (Vec<Connection>, Vec<Connection>) =
        all.into_iter().partition(|connection| connection.state == ConnectionState::Disconnected);
    let one = match living.as_slice() {
        [one] => one.id,
        // a repetition
        [] => gone.last().map(|one| one.id).ok_or_else(|| Problem::not_found("connection"))?,
        several => return Err(Problem::several(several.iter().map(|one| (one.id, &one.settings.label)))),
    };
    disconnect(&app, caller, one, wish.events).await
}

async fn of_user(
    app: &App,
    caller: &Connector,
    provider: ProviderKind,
    user: Option<UserId>,
) -> Result<Vec<Connection>, StoreError> {
    let tx = app.service.store.read(Scope::Organization(caller.organization_id)).await?;
    connections::of_user(&tx, provider, user).await
}

async fn disconnect(app: &App, caller: Connector, id: ConnectionId, events: Events) -> Answered {
    let (service, organization) = (&app.service, caller.organization_id);
    service.disconnect(organization, id, events, &Actor(caller.actor)).await.map_err(problem)?;
    let view = overview::connection(&service.store, organization, id, service.now()).await;
    let view = view.map_err(Problem::store)?.ok_or_else(|| Problem::not_found("connection"))?;
    let is_over = view.departure.as_ref().is_none_or(|departure| departure.is_over);
    Ok((if is_over { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(view)))
}

fn problem(error: ControlError) -> Problem {
    match error {
        ControlError::NotFound => Problem::not_found("connection"),
        ControlError::Store(error) => Problem::store(error),
        ControlError::AtRest(_) | ControlError::Open(_) | ControlError::Vault(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a connection was not disconnected");
            Problem::ours()
        }
    }
}
