//! The controls of the simulated Google as JSON over HTTP, under `/control/google/`.
//!
//! | request | does |
//! |---|---|
//! | `POST accounts` | [`GoogleAccountSpec`] |
//! | `POST accounts/{a}/tokens` | `{client, scopes}`, answers `{access_token, refresh_token}` |
//! | `POST accounts/{a}/calls` | `{method, path, body?}`: any call of the API as that person |
//! | `POST accounts/{a}/expire-access`, `…/expire-refresh`, `…/revoke`, `…/expire-list-tokens` | ends tokens |
//! | `POST calendars/{c}/expire-tokens`, `…/share {with, role?}` | ends sync tokens, changes a role |
//! | `GET/PUT habits` | [`GoogleHabits`] |
//! | `GET channels`, `DELETE channels/{id}` | open channels, closes one silently |

use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::GoogleHabits;
use super::account::{GoogleAccountSpec, GoogleRole};
use crate::control::Control;
use crate::error::SandboxError;

/// All routes below `/control/google`.
pub(crate) fn routes(control: Control) -> Router {
    Router::new()
        .route("/accounts", post(create_account))
        .route("/accounts/{account}/tokens", post(tokens))
        .route("/accounts/{account}/calls", post(call))
        .route("/accounts/{account}/{action}", post(end_tokens))
        .route("/calendars/{calendar}/expire-tokens", post(expire_tokens))
        .route("/calendars/{calendar}/share", post(share))
        .route("/habits", get(habits).put(set_habits))
        .route("/channels", get(channels))
        .route("/channels/{channel}", delete(drop_channel))
        .with_state(control)
}

type Answered = Result<Json<Value>, SandboxError>;

fn done() -> Json<Value> {
    Json(json!({ "done": true }))
}

async fn create_account(State(control): State<Control>, Json(spec): Json<GoogleAccountSpec>) -> Answered {
    control.google().create_account(spec)?;
    Ok(done())
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
    let (access, refresh) = control.google().tokens(&account, &wish.client, &scopes)?;
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
    let (status, body) = control.google().call(&account, &made.method, &made.path, &made.body);
    Json(json!({ "status": status, "body": body }))
}

async fn end_tokens(
    State(control): State<Control>,
    Path((account, action)): Path<(String, String)>,
) -> Answered {
    let google = control.google();
    match action.as_str() {
        "expire-access" => google.expire_access_tokens(&account),
        "expire-refresh" => google.expire_refresh_tokens(&account),
        "revoke" => google.revoke(&account),
        "expire-list-tokens" => google.expire_list_tokens(&account)?,
        _ => return Err(SandboxError::UnknownResource(action)),
    }
    Ok(done())
}

async fn expire_tokens(State(control): State<Control>, Path(calendar): Path<String>) -> Answered {
    control.google().expire_sync_tokens(&calendar)?;
    Ok(done())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Share {
    with: String,
    role: Option<GoogleRole>,
}

async fn share(
    State(control): State<Control>,
    Path(calendar): Path<String>,
    Json(share): Json<Share>,
) -> Answered {
    control.google().share(&calendar, &share.with, share.role)?;
    Ok(done())
}

async fn habits(State(control): State<Control>) -> Json<GoogleHabits> {
    Json(control.google().habits())
}

async fn set_habits(State(control): State<Control>, Json(habits): Json<GoogleHabits>) -> Json<Value> {
    control.google().set_habits(habits);
    done()
}

async fn channels(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "channels": control.google().channels() }))
}

async fn drop_channel(State(control): State<Control>, Path(channel): Path<String>) -> Answered {
    if control.google().drop_channel(&channel) {
        Ok(done())
    } else {
        Err(SandboxError::UnknownResource(channel))
    }
}
