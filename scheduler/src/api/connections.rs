//! `/connections` and `/calendars`: where they lead, how they are, how fresh they are.

use axum::Json;
use axum::extract::State;
use calfleet_domain::model::{CalendarId, ConnectionId};
use calfleet_service::explain::SyncExplained;
use calfleet_service::overview::{self, CalendarView, ConnectionView};
use calfleet_service::read::Page;

use super::auth::Reader;
use super::parameters::{Parameters, Path, id};
use super::problem::Problem;
use crate::app::App;

/// `GET /connections`: oldest first.
pub(super) async fn list(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Page<ConnectionView>>, Problem> {
    parameters.only(&["limit", "cursor"])?;
    let limit = parameters.limit()?;
    let after =
        parameters.cursor.as_deref().map(|cursor| id::<ConnectionId>("cursor", cursor)).transpose()?;
    let most = u32::try_from(limit).unwrap_or(u32::MAX);
    let service = &app.service;
    let data = overview::connections(&service.store, reader.organization_id, after, most, service.now())
        .await
        .map_err(Problem::store)?;
    let next_cursor = data.last().filter(|_| data.len() == limit).map(|view| view.id.to_string());
    Ok(Json(Page { data, next_cursor, is_complete: true }))
}

/// `GET /connections/{id}`.
pub(super) async fn read(
    State(app): State<App>,
    reader: Reader,
    Path(text): Path<String>,
    parameters: Parameters,
) -> Result<Json<ConnectionView>, Problem> {
    let id: ConnectionId = id("id", &text)?;
    parameters.only(&[])?;
    let service = &app.service;
    let view = overview::connection(&service.store, reader.organization_id, id, service.now()).await;
    view.map_err(Problem::store)?.map(Json).ok_or_else(|| Problem::not_found("connection"))
}

/// `GET /calendars/{id}`.
pub(super) async fn read_calendar(
    State(app): State<App>,
    reader: Reader,
    Path(text): Path<String>,
    parameters: Parameters,
) -> Result<Json<CalendarView>, Problem> {
    let id: CalendarId = id("id", &text)?;
    parameters.only(&[])?;
    let service = &app.service;
    let view = overview::calendar(&service.store, reader.organization_id, id, service.now()).await;
    view.map_err(Problem::store)?.map(Json).ok_or_else(|| Problem::not_found("calendar"))
}

/// `GET /calendars/{id}/explain`: what its next sync would come to.
pub(super) async fn explain(
    State(app): State<App>,
    reader: Reader,
    Path(text): Path<String>,
    parameters: Parameters,
) -> Result<Json<SyncExplained>, Problem> {
    let id: CalendarId = id("id", &text)?;
    parameters.only(&[])?;
    let explained = app.service.explain_sync(reader.organization_id, id, app.full_sync_every).await;
    Ok(Json(explained?))
}
