//! `/outbox`: what the providers have yet to be told, and what was given up.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use calfleet_domain::model::OutboxId;
use calfleet_service::explain::PushExplained;
use calfleet_service::read::Page;
use calfleet_service::write::{IntentView, Mode};
use calfleet_store::outbox::OutboxState;

use super::auth::{Reader, Writer};
use super::body::Body;
use super::parameters::{Parameters, Path, id};
use super::problem::Problem;
use super::wish::Wish;
use super::writes::{SILENT, answer};
use crate::app::App;

/// `GET /outbox?state&limit&cursor`: newest first; what waits when no state is named.
pub(super) async fn list(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Page<IntentView>>, Problem> {
    parameters.only(&["state", "limit", "cursor"])?;
    let state = match &parameters.state {
        None => OutboxState::Pending,
        Some(name) => OutboxState::from_name(name)
            .ok_or_else(|| Problem::bad_parameter("state", "Give pending, done, folded or dead."))?,
    };
    let limit = parameters.limit()?;
    let before = parameters.cursor.as_deref().map(|cursor| id::<OutboxId>("cursor", cursor)).transpose()?;
    let most = u32::try_from(limit).unwrap_or(u32::MAX);
    let data =
        app.service.intents(reader.organization_id, state, before, most).await.map_err(Problem::store)?;
    let next_cursor = data.last().filter(|_| data.len() == limit).map(|view| view.id.to_string());
    Ok(Json(Page { data, next_cursor, is_complete: true }))
}

/// `POST /outbox/{id}/retry?dry_run`: what was given up of an event is tried again.
pub(super) async fn retry(
    State(app): State<App>,
    caller: Writer,
    Path(text): Path<String>,
    wish: Wish,
) -> Result<Response, Problem> {
    let id: OutboxId = id("id", &text)?;
    let organization = caller.organization_id;
    wish.is_about_all()?;
    wish.is_unconditional()?;
    wish.is_unkeyed()?;
    if wish.terms(&caller, SILENT).mode == Mode::Explain {
        let plan = app.service.plan_intent(organization, id).await?;
        let view = app.service.plan_view(organization, &plan).await.map_err(Problem::store)?;
        return Ok(Json(view).into_response());
    }
    Ok(Json(app.service.retry_intent(organization, id, &caller.actor).await?).into_response())
}

/// `POST /outbox/{id}/discard?dry_run`: what was given up of an event is dropped, and the event says again what the
/// provider has.
pub(super) async fn discard(
    State(app): State<App>,
    caller: Writer,
    Path(text): Path<String>,
    wish: Wish,
    body: Body,
) -> Result<Response, Problem> {
    let id: OutboxId = id("id", &text)?;
    wish.is_about_all()?;
    wish.is_unconditional()?;
    let terms = wish.terms(&caller, SILENT);
    let write = Box::pin(app.service.discard_intent(id, &terms));
    let outcome = wish.carry_out(&app, &caller, &body, write).await?;
    answer(&app, &caller, &wish, &outcome, StatusCode::OK).await
}

/// `GET /outbox/{id}/explain`: what telling the provider would come to.
pub(super) async fn explain(
    State(app): State<App>,
    reader: Reader,
    Path(text): Path<String>,
    parameters: Parameters,
) -> Result<Json<PushExplained>, Problem> {
    let id: OutboxId = id("id", &text)?;
    parameters.only(&[])?;
    Ok(Json(app.service.explain_intent(reader.organization_id, id).await?))
}
