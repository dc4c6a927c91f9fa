//! The controls of the simulated Microsoft as JSON over HTTP, under `/control/microsoft/`.
//!
//! | request | does |
//! |---|---|
//! | `POST accounts` | [`MicrosoftAccountSpec`], answers `{calendar}`, the id of the default one |
//! | `POST accounts/{a}/calendars` | `{name}`, answers `{calendar}` |
//! | `POST accounts/{a}/tokens` | `{client, scopes}`, answers `{access_token, refresh_token}` |
//! | `POST accounts/{a}/calls` | `{method, path, body?}`: any call of Graph as that person |
//! | `POST accounts/{a}/expire-access`, `…/expire-refresh`, `…/revoke` | ends tokens |
//! | `POST accounts/{a}/refuse-refresh` | `{number?}`: an AADSTS number, or none |
//! | `POST accounts/{a}/move` | `{event, to}`: to another calendar |
//! | `POST calendars/{c}/expire-deltas`, `…/share {with, can_edit?}` | ends delta links, shares |
//! | `GET/PUT habits` | [`GraphHabits`] |
//! | `GET subscriptions`, `DELETE subscriptions/{id}` | living ones, ends one silently |
//! | `POST subscriptions/{id}/lifecycle` | `{event}`: `reauthorizationRequired`, `subscriptionRemoved`, `missed` |

use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::GraphHabits;
use super::account::MicrosoftAccountSpec;
use super::subscriptions::GraphLifecycle;
use crate::control::Control;
use crate::error::SandboxError;

/// All routes below `/control/microsoft`.
pub(crate) fn routes(control: Control) -> Router {
    Router::new()
        .route("/accounts", post(create_account))
        .route("/accounts/{account}/calendars", post(create_calendar))
        .route("/accounts/{account}/tokens", post(tokens))
        .route("/accounts/{account}/calls", post(call))
        .route("/accounts/{account}/refuse-refresh", post(refuse_refresh))
        .route("/accounts/{account}/move", post(move_event))
        .route("/accounts/{account}/{action}", post(end_tokens))
        .route("/calendars/{calendar}/expire-deltas", post(expire_deltas))
        .route("/calendars/{calendar}/share", post(share))
        .route("/habits", get(habits).put(set_habits))
        .route("/subscriptions", get(subscriptions))
        .route("/subscriptions/{subscription}", delete(drop_subscription))
        .route("/subscriptions/{subscription}/lifecycle", post(tell_lifecycle))
        .with_state(control)
}

type Answered = Result<Json<Value>, SandboxError>;

fn done() -> Json<Value> {
    Json(json!({ "done": true }))
}

async fn create_account(State(control): State<Control>, Json(spec): Json<MicrosoftAccountSpec>) -> Answered {
    let email = spec.email.to_lowercase();
    control.microsoft().create_account(spec)?;
    Ok(Json(json!({ "calendar": control.microsoft().default_calendar(&email)? })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCalendar {
    name: String,
}

async fn create_calendar(
    State(control): State<Control>,
    Path(account): Path<String>,
    Json(new): Json<NewCalendar>,
) -> Answered {
    Ok(Json(json!({ "calendar": control.microsoft().create_calendar(&account, &new.name)? })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenWish {
    client: String,
    scopes: Vec<String>,
}

async fn tokens(
    State(control): State<Control>,
    Path(account): Path<String>,
    Json(wish): Json<TokenWish>,
) -> Answered {
    let scopes: Vec<&str> = wish.scopes.iter().map(String::as_str).collect();
    let (access, refresh) = control.microsoft().tokens(&account, &wish.client, &scopes)?;
    Ok(Json(json!({ "access_token": access, "refresh_token": refresh })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MadeCall {
    method: String,
    path: String,
    #[serde(default)]
    body: Value,
}

async fn call(
    State(control): State<Control>,
    Path(account): Path<String>,
    Json(made): Json<MadeCall>,
) -> Json<Value> {
    let (status, body) = control.microsoft().call(&account, &made.method, &made.path, &made.body);
    Json(json!({ "status": status, "body": body }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusing {
    number: Option<u32>,
}

async fn refuse_refresh(
    State(control): State<Control>,
    Path(account): Path<String>,
    Json(refusing): Json<Refusing>,
) -> Answered {
    control.microsoft().refuse_refresh(&account, refusing.number)?;
    Ok(done())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    event: String,
    to: String,
}

async fn move_event(
    State(control): State<Control>,
    Path(account): Path<String>,
    Json(wish): Json<Move>,
) -> Answered {
    control.microsoft().move_event(&account, &wish.event, &wish.to)?;
    Ok(done())
}

async fn end_tokens(
    State(control): State<Control>,
    Path((account, action)): Path<(String, String)>,
) -> Answered {
    let microsoft = control.microsoft();
    match action.as_str() {
        "expire-access" => microsoft.expire_access_tokens(&account),
        "expire-refresh" => microsoft.expire_refresh_tokens(&account),
        "revoke" => microsoft.revoke(&account),
        _ => return Err(SandboxError::UnknownResource(action)),
    }
    Ok(done())
}

async fn expire_deltas(State(control): State<Control>, Path(calendar): Path<String>) -> Answered {
    control.microsoft().expire_deltas(&calendar)?;
    Ok(done())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Share {
    with: String,
    can_edit: Option<bool>,
}

async fn share(
    State(control): State<Control>,
    Path(calendar): Path<String>,
    Json(share): Json<Share>,
) -> Answered {
    control.microsoft().share(&calendar, &share.with, share.can_edit)?;
    Ok(done())
}

async fn habits(State(control): State<Control>) -> Json<GraphHabits> {
    Json(control.microsoft().habits())
}

async fn set_habits(State(control): State<Control>, Json(habits): Json<GraphHabits>) -> Json<Value> {
    control.microsoft().set_habits(habits);
    done()
}

async fn subscriptions(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "subscriptions": control.microsoft().subscriptions() }))
}

async fn drop_subscription(State(control): State<Control>, Path(subscription): Path<String>) -> Answered {
    if control.microsoft().drop_subscription(&subscription) {
        Ok(done())
    } else {
        Err(SandboxError::UnknownResource(subscription))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifecycle {
    event: GraphLifecycle,
}

async fn tell_lifecycle(
    State(control): State<Control>,
    Path(subscription): Path<String>,
    Json(lifecycle): Json<Lifecycle>,
) -> Answered {
    if control.microsoft().tell_lifecycle(&subscription, lifecycle.event) {
        Ok(done())
    } else {
        Err(SandboxError::UnknownResource(subscription))
    }
}
