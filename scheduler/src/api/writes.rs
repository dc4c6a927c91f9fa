//! Making, changing, deleting, answering and undoing events.
//!
//! What is asked for is stored with the intent to tell the provider, or refused with one problem. `wait` holds the answer
//! back until the provider has answered, with no transaction open: 200 or 201 then, 202 and the same body otherwise.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use calfleet_domain::model::{CalendarId, EventId, HistoryId, Notify, ParticipationStatus};
use calfleet_service::write::{Answer, EventInput, EventPatch, Mode, Outcome, Terms, UndoneView, WriteView};
use serde::Deserialize;

use super::auth::Writer;
use super::body::Body;
use super::parameters::{Path, id};
use super::problem::Problem;
use super::wish::{Wish, is_request_name};
use crate::app::App;

/// Who writes about people tells them, unless asked otherwise.
const TOLD: Notify = Notify::All;

/// What only puts something right tells nobody, unless asked to.
pub(super) const SILENT: Notify = Notify::None;

type Answered = Result<Response, Problem>;

/// `POST /calendars/{id}/events?notify&wait&dry_run`.
pub(super) async fn create(
    State(app): State<App>,
    caller: Writer,
    Path(text): Path<String>,
    wish: Wish,
    body: Body,
) -> Answered {
    let calendar: CalendarId = id("id", &text)?;
    wish.is_about_all()?;
    wish.is_unconditional()?;
    let input: EventInput = body.read()?;
    let terms = wish.terms(&caller, TOLD);
    let write = Box::pin(app.service.create_event(calendar, &input, &terms));
    let outcome = wish.carry_out(&app, &caller, &body, write).await?;
    answer(&app, &caller, &wish, &outcome, StatusCode::CREATED).await
}

/// `PUT /calendars/{id}/events/by-key/{key}?notify&wait&dry_run`: saved twice is one event.
pub(super) async fn save(
    State(app): State<App>,
    caller: Writer,
    Path((text, key)): Path<(String, String)>,
    wish: Wish,
    body: Body,
) -> Answered {
    let calendar: CalendarId = id("id", &text)?;
    wish.is_about_all()?;
    let input: EventInput = body.read()?;
    let mut terms = wish.terms(&caller, TOLD);
    // the key in the path does the same, and for good
    terms.idempotency_key = None;
    let saved = app.service.save_event_by_key(&key, Some(calendar), &input, &terms).await?;
    let status = if saved.is_new { StatusCode::CREATED } else { StatusCode::OK };
    answer(&app, &caller, &wish, &saved.outcome, status).await
}

/// `PATCH /events/{id}?scope&instance&notify&wait&dry_run`: a merge patch (RFC 7396) of the fields.
pub(super) async fn edit(
    State(app): State<App>,
    caller: Writer,
    Path(text): Path<String>,
    wish: Wish,
    body: Body,
) -> Answered {
    let event: EventId = id("id", &text)?;
    let patch: EventPatch = body.read()?;
    let terms = wish.terms(&caller, TOLD);
    let write = Box::pin(app.service.edit_event(event, &patch, wish.reach(), &terms));
    let outcome = wish.carry_out(&app, &caller, &body, write).await?;
    answer(&app, &caller, &wish, &outcome, StatusCode::OK).await
}

/// What is said with a deletion.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancellation {
    /// To those who are mailed, where the provider can carry it.
    message: Option<String>,
}

/// `DELETE /events/{id}?scope&instance&notify&wait&dry_run`.
pub(super) async fn delete(
    State(app): State<App>,
    caller: Writer,
    Path(text): Path<String>,
    wish: Wish,
    body: Body,
) -> Answered {
    let event: EventId = id("id", &text)?;
    let Cancellation { message } = body.read_or_default()?;
    let terms = Terms { message, ..wish.terms(&caller, TOLD) };
    let write = Box::pin(app.service.delete_event(event, wish.reach(), &terms));
    let outcome = wish.carry_out(&app, &caller, &body, write).await?;
    answer(&app, &caller, &wish, &outcome, StatusCode::OK).await
}

/// An answer to an invitation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    response: ParticipationStatus,
    #[serde(default)]
    comment: Option<String>,
}

/// `POST /events/{id}/respond?scope&instance&notify&wait&dry_run`.
pub(super) async fn respond(
    State(app): State<App>,
    caller: Writer,
    Path(text): Path<String>,
    wish: Wish,
    body: Body,
) -> Answered {
    let event: EventId = id("id", &text)?;
    let given: Reply = body.read()?;
    let given = Answer { status: given.response, comment: given.comment };
    let terms = wish.terms(&caller, TOLD);
    let write = Box::pin(app.service.respond_to_event(event, &given, wish.reach(), &terms));
    let outcome = wish.carry_out(&app, &caller, &body, write).await?;
    answer(&app, &caller, &wish, &outcome, StatusCode::OK).await
}

/// Which change is taken back.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Undo {
    /// The entry of the history; the last change that was requested here when absent.
    history_id: Option<HistoryId>,
}

/// `POST /events/{id}/undo?notify&wait&dry_run`.
pub(super) async fn undo(
    State(app): State<App>,
    caller: Writer,
    Path(text): Path<String>,
    wish: Wish,
    body: Body,
) -> Answered {
    let event: EventId = id("id", &text)?;
    wish.is_about_all()?;
    let Undo { history_id } = body.read_or_default()?;
    let terms = wish.terms(&caller, SILENT);
    let write = Box::pin(async {
        let entry = match history_id {
            Some(entry) => entry,
            None => app.service.last_request(caller.organization_id, event).await?,
        };
        app.service.undo_change(event, entry, &terms).await
    });
    let outcome = wish.carry_out(&app, &caller, &body, write).await?;
    answer(&app, &caller, &wish, &outcome, StatusCode::OK).await
}

/// What wrote the changes that are taken back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UndoCause {
    /// The request or the run, as the history of an event names it.
    cause_id: String,
}

/// `POST /undo?notify&dry_run`: everything that one request or one run of a job changed.
pub(super) async fn undo_cause(
    State(app): State<App>,
    caller: Writer,
    wish: Wish,
    body: Body,
) -> Result<Json<Vec<UndoneView>>, Problem> {
    wish.is_about_all()?;
    wish.is_unconditional()?;
    let UndoCause { cause_id } = body.read()?;
    if !is_request_name(&cause_id) {
        let detail =
            "Give the name of a request or a run as the history has it: 1 to 200 visible ASCII characters.";
        return Err(Problem::bad_field("cause_id", detail));
    }
    let terms = Terms { idempotency_key: None, ..wish.terms(&caller, SILENT) };
    let write = Box::pin(app.service.undo_cause(&cause_id, &terms));
    Ok(Json(wish.carry_out(&app, &caller, &body, write).await?))
}

/// What came of a write, or what would; `done` is the status once the provider has it.
pub(super) async fn answer(
    app: &App,
    caller: &Writer,
    wish: &Wish,
    outcome: &Outcome,
    done: StatusCode,
) -> Answered {
    let (service, organization) = (&app.service, caller.organization_id);
    if let (Mode::Explain, Some(plan)) = (wish.terms(caller, TOLD).mode, &outcome.plan) {
        let view = service.plan_view(organization, plan).await.map_err(Problem::store)?;
        return Ok((StatusCode::OK, Json(view)).into_response());
    }
    let now = service.now();
    let until = now.plus(wish.wait(app.longest_wait));
    let view = tokio::select! {
        view = service.confirmation(organization, outcome, until) => view,
        () = app.draining.cancelled() => service.confirmation(organization, outcome, now).await,
    };
    let view = view.map_err(Problem::store)?;
    let status = if view.is_confirmed() { done } else { StatusCode::ACCEPTED };
    Ok((status, headers(&view, done), Json(view)).into_response())
}

fn headers(view: &WriteView, done: StatusCode) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let etag = view.event.as_ref().and_then(|event| HeaderValue::try_from(&event.etag).ok());
    headers.extend(etag.map(|etag| (header::ETAG, etag)));
    if done == StatusCode::CREATED {
        let location = HeaderValue::try_from(format!("/api/v1/events/{}", view.event_id)).ok();
        headers.extend(location.map(|location| (header::LOCATION, location)));
    }
    headers
}
