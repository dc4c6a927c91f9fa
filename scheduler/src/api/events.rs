//! `/events` and `/instances`: what the calendars hold, and when it takes place.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, EventId};
use calfleet_service::past::ChangeView;
use calfleet_service::read::{self, EventView, InstanceView, InstancesQuery, Page};
use calfleet_store::events::RangeQuery;

use super::auth::Reader;
use super::parameters::{Parameters, Path, id};
use super::problem::Problem;
use crate::app::App;

/// `GET /events?from&to&calendar&connection&limit&cursor`: copies, by the start of their span.
pub(super) async fn list(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Page<EventView>>, Problem> {
    parameters.only(&["from", "to", "calendar", "connection", "limit", "cursor"])?;
    let after = match &parameters.cursor {
        Some(text) => Some(
            read::read_cursor(text)
                .ok_or_else(|| Problem::bad_parameter("cursor", "Give a next_cursor back as it is."))?,
        ),
        None => None,
    };
    let store = &app.service.store;
    let [from, until] = parameters.between()?;
    let query = RangeQuery {
        calendars: parameters.calendars(store, reader.organization_id).await?,
        from: from.map(Timestamp::from_utc),
        until: until.map(Timestamp::from_utc),
        after,
        limit: parameters.limit()?,
    };
    read::events(store, reader.organization_id, &query).await.map(Json).map_err(Problem::store)
}

/// `GET /events/{id}?at`: as it is, or as it was at an instant.
pub(super) async fn read(
    State(app): State<App>,
    reader: Reader,
    Path(text): Path<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let id: EventId = id("id", &text)?;
    parameters.only(&["at"])?;
    if let Some(at) = parameters.at()? {
        return Ok(Json(app.service.event_at(reader.organization_id, id, at).await?).into_response());
    }
    let view = read::event(&app.service.store, reader.organization_id, id).await;
    let view = view.map_err(Problem::store)?.ok_or_else(|| Problem::not_found("event"))?;
    Ok(([(header::ETAG, view.etag.clone())], Json(view)).into_response())
}

/// `GET /events/{id}/history?limit`: newest first, of a deleted event too.
pub(super) async fn history(
    State(app): State<App>,
    reader: Reader,
    Path(text): Path<String>,
    parameters: Parameters,
) -> Result<Json<Page<ChangeView>>, Problem> {
    let id: EventId = id("id", &text)?;
    parameters.only(&["limit"])?;
    let limit = parameters.limit()?;
    let data = app.service.event_history(reader.organization_id, id, limit).await?;
    let is_complete = data.len() < limit;
    Ok(Json(Page { data, next_cursor: None, is_complete }))
}

/// `GET /events/{id}/instances?from&to&time_zone&limit&cursor`.
pub(super) async fn instances_of(
    State(app): State<App>,
    reader: Reader,
    Path(text): Path<String>,
    parameters: Parameters,
) -> Result<Json<Page<InstanceView>>, Problem> {
    let id: EventId = id("id", &text)?;
    parameters.only(&["from", "to", "time_zone", "limit", "cursor"])?;
    let query = instances_query(&parameters, Vec::new())?;
    let page = read::instances_of(&app.service.store, reader.organization_id, id, &query).await;
    page.map_err(Problem::store)?.map(Json).ok_or_else(|| Problem::not_found("event"))
}

/// `GET /instances?from&to&time_zone&calendar&connection&limit&cursor`: by start.
pub(super) async fn instances(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Page<InstanceView>>, Problem> {
    parameters.only(&["from", "to", "time_zone", "calendar", "connection", "limit", "cursor"])?;
    let store = &app.service.store;
    let calendars = parameters.calendars(store, reader.organization_id).await?;
    let query = instances_query(&parameters, calendars)?;
    read::instances(store, reader.organization_id, &query).await.map(Json).map_err(Problem::store)
}

fn instances_query(parameters: &Parameters, calendars: Vec<CalendarId>) -> Result<InstancesQuery, Problem> {
    let (from, until) = parameters.stretch()?;
    let offset = match &parameters.cursor {
        Some(text) => {
            text.parse().map_err(|_| Problem::bad_parameter("cursor", "Give a next_cursor back as it is."))?
        }
        None => 0,
    };
    Ok(InstancesQuery {
        calendars,
        from,
        until,
        zone: parameters.zone()?,
        limit: parameters.limit()?,
        offset,
    })
}
