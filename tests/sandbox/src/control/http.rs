//! The controls as JSON over HTTP, under `/control/`.
//!
//! | request | does |
//! |---|---|
//! | `GET/POST accounts`, `DELETE accounts/{a}` | lists, creates ([`AccountSpec`]), removes |
//! | `PATCH accounts/{a}` | `{secret?, profile?}`, a profile by its preset's name or in full |
//! | `GET/POST accounts/{a}/calendars` | lists, creates ([`CalendarSpec`]) |
//! | `PATCH/DELETE …/calendars/{c}` | `{access?, reach?, title?, color?}`, removes |
//! | `GET …/calendars/{c}/resources` | all resources with their texts |
//! | `PUT/DELETE …/resources/{name}` | stores `text/calendar`, removes, as another client |
//! | `POST …/calendars/{c}/generate`, `…/mutate`, `…/expire-tokens` | [`GeneratorPlan`], `{changes, seed}` |
//! | `POST edits` | one [`Edit`] |
//! | `GET/POST/DELETE faults` | [`FaultRule`]s waiting, one more, none |
//! | `GET/DELETE requests` | the log, forget it |
//! | `PUT/DELETE feeds/{f}`, `PUT/DELETE feeds/{f}/items/{name}` | [`FeedSpec`], its items |
//! | `GET/DELETE mails` | the mail that would have been sent, forget it |
//! | `GET/PUT notifications` | what was sent to watchers, [`NotificationHabits`] from now on |
//! | `google/…`, `microsoft/…` | see `google/control_http.rs`, `graph/control_http.rs` |
//! | `GET profiles`, `POST clock {shift_ms}`, `POST reset` | presets, time, the beginning |

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Control;
use crate::caldav::account::AccountSpec;
use crate::caldav::calendar::{Access, CalendarSpec, Reach};
use crate::caldav::profile::Profile;
use crate::courier::NotificationHabits;
use crate::edit::Edit;
use crate::error::SandboxError;
use crate::faults::FaultRule;
use crate::feed::FeedSpec;
use crate::generator::GeneratorPlan;

/// All routes below `/control`.
pub(crate) fn routes(control: Control) -> Router {
    let calendars = Router::new()
        .route("/", get(list_calendars).post(create_calendar))
        .route("/{calendar}", patch(change_calendar).delete(remove_calendar))
        .route("/{calendar}/resources", get(list_resources))
        .route("/{calendar}/resources/{name}", put(put_resource).delete(delete_resource))
        .route("/{calendar}/generate", post(generate))
        .route("/{calendar}/mutate", post(mutate))
        .route("/{calendar}/expire-tokens", post(expire_tokens));
    Router::new()
        .route("/accounts", get(list_accounts).post(create_account))
        .route("/accounts/{account}", patch(change_account).delete(remove_account))
        .nest("/accounts/{account}/calendars", calendars)
        .route("/edits", post(apply_edit))
        .route("/faults", get(list_faults).post(inject).delete(clear_faults))
        .route("/requests", get(list_requests).delete(clear_requests))
        .route("/feeds/{feed}", put(set_feed).delete(remove_feed))
        .route("/feeds/{feed}/items/{name}", put(put_in_feed).delete(remove_from_feed))
        .route("/mails", get(list_mails).delete(clear_mails))
        .route("/notifications", get(list_notifications).put(set_notification_habits))
        .route("/profiles", get(list_profiles))
        .route("/clock", get(read_clock).post(shift_clock))
        .route("/reset", post(reset))
        .route("/", delete(reset))
        .with_state(control.clone())
        .nest("/google", crate::google::control_http::routes(control.clone()))
        .nest("/microsoft", crate::graph::control_http::routes(control))
}

impl IntoResponse for SandboxError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::UnknownAccount(_)
            | Self::UnknownCalendar { .. }
            | Self::UnknownResource(_)
            | Self::UnknownFeed(_) => StatusCode::NOT_FOUND,
            Self::Exists(_) => StatusCode::CONFLICT,
            Self::NotACalendarObject(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Listen { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

type Answered = Result<Json<Value>, SandboxError>;

fn done() -> Json<Value> {
    Json(json!({ "done": true }))
}

async fn list_accounts(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "accounts": control.accounts() }))
}

async fn create_account(State(control): State<Control>, Json(spec): Json<AccountSpec>) -> Answered {
    Ok(Json(json!(control.create_account(spec)?)))
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ProfileChoice {
    Preset(String),
    Full(Box<Profile>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountChange {
    secret: Option<String>,
    profile: Option<ProfileChoice>,
}

async fn change_account(
    State(control): State<Control>,
    Path(account): Path<String>,
    Json(change): Json<AccountChange>,
) -> Result<Response, SandboxError> {
    if let Some(secret) = change.secret {
        control.set_secret(&account, &secret)?;
    }
    let profile = match change.profile {
        None => None,
        Some(ProfileChoice::Full(profile)) => Some(*profile),
        Some(ProfileChoice::Preset(name)) => match Profile::preset(&name) {
            Some(profile) => Some(profile),
            None => return Ok(StatusCode::UNPROCESSABLE_ENTITY.into_response()),
        },
    };
    if let Some(profile) = profile {
        control.set_profile(&account, profile)?;
    }
    Ok(done().into_response())
}

async fn remove_account(State(control): State<Control>, Path(account): Path<String>) -> Answered {
    control.remove_account(&account)?;
    Ok(done())
}

async fn list_calendars(State(control): State<Control>, Path(account): Path<String>) -> Answered {
    Ok(Json(json!({ "calendars": control.calendars(&account)? })))
}

async fn create_calendar(
    State(control): State<Control>,
    Path(account): Path<String>,
    Json(spec): Json<CalendarSpec>,
) -> Answered {
    control.create_calendar(&account, spec)?;
    Ok(done())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalendarChange {
    access: Option<Access>,
    reach: Option<Reach>,
    title: Option<String>,
    color: Option<String>,
}

type CalendarPath = Path<(String, String)>;
type ResourcePath = Path<(String, String, String)>;

async fn change_calendar(
    State(control): State<Control>,
    Path((account, calendar)): CalendarPath,
    Json(change): Json<CalendarChange>,
) -> Answered {
    if let Some(access) = change.access {
        control.set_access(&account, &calendar, access)?;
    }
    if let Some(reach) = change.reach {
        control.set_reach(&account, &calendar, reach)?;
    }
    if let Some(title) = change.title {
        control.rename_calendar(&account, &calendar, &title, change.color.as_deref())?;
    }
    Ok(done())
}

async fn remove_calendar(
    State(control): State<Control>,
    Path((account, calendar)): CalendarPath,
) -> Answered {
    control.remove_calendar(&account, &calendar)?;
    Ok(done())
}

async fn list_resources(State(control): State<Control>, Path((account, calendar)): CalendarPath) -> Answered {
    Ok(Json(json!({ "resources": control.resources(&account, &calendar)? })))
}

async fn put_resource(
    State(control): State<Control>,
    Path((account, calendar, name)): ResourcePath,
    body: String,
) -> Answered {
    Ok(Json(json!({ "etag": control.put(&account, &calendar, &name, &body)? })))
}

async fn delete_resource(
    State(control): State<Control>,
    Path((account, calendar, name)): ResourcePath,
) -> Answered {
    control.delete(&account, &calendar, &name)?;
    Ok(done())
}

async fn generate(
    State(control): State<Control>,
    Path((account, calendar)): CalendarPath,
    Json(plan): Json<GeneratorPlan>,
) -> Answered {
    Ok(Json(json!({ "generated": control.generate(&account, &calendar, plan)? })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutating {
    changes: usize,
    #[serde(default)]
    seed: u64,
}

async fn mutate(
    State(control): State<Control>,
    Path((account, calendar)): CalendarPath,
    Json(wanted): Json<Mutating>,
) -> Answered {
    let mutations = control.mutate(&account, &calendar, wanted.changes, wanted.seed)?;
    Ok(Json(json!({ "mutations": mutations })))
}

async fn expire_tokens(State(control): State<Control>, Path((account, calendar)): CalendarPath) -> Answered {
    control.expire_tokens(&account, &calendar)?;
    Ok(done())
}

async fn apply_edit(State(control): State<Control>, Json(edit): Json<Edit>) -> Answered {
    control.apply(&edit)?;
    Ok(done())
}

async fn list_faults(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "faults": control.faults() }))
}

async fn inject(State(control): State<Control>, Json(rule): Json<FaultRule>) -> Json<Value> {
    control.inject(rule);
    done()
}

async fn clear_faults(State(control): State<Control>) -> Json<Value> {
    control.clear_faults();
    done()
}

async fn list_requests(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "count": control.log().count(), "requests": control.log().entries() }))
}

async fn clear_requests(State(control): State<Control>) -> Json<Value> {
    control.log().clear();
    done()
}

async fn set_feed(
    State(control): State<Control>,
    Path(feed): Path<String>,
    Json(spec): Json<FeedSpec>,
) -> Json<Value> {
    Json(json!({ "url": control.set_feed(&feed, spec) }))
}

async fn remove_feed(State(control): State<Control>, Path(feed): Path<String>) -> Answered {
    control.remove_feed(&feed)?;
    Ok(done())
}

async fn put_in_feed(
    State(control): State<Control>,
    Path((feed, name)): Path<(String, String)>,
    body: String,
) -> Answered {
    control.put_in_feed(&feed, &name, &body)?;
    Ok(done())
}

async fn remove_from_feed(
    State(control): State<Control>,
    Path((feed, name)): Path<(String, String)>,
) -> Answered {
    control.remove_from_feed(&feed, &name)?;
    Ok(done())
}

async fn list_mails(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "mails": control.mails() }))
}

async fn clear_mails(State(control): State<Control>) -> Json<Value> {
    control.clear_mails();
    done()
}

async fn list_notifications(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "notifications": control.deliveries() }))
}

async fn set_notification_habits(
    State(control): State<Control>,
    Json(habits): Json<NotificationHabits>,
) -> Json<Value> {
    control.set_notification_habits(habits);
    done()
}

async fn list_profiles() -> Json<Value> {
    Json(json!({ "profiles": Profile::presets() }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockShift {
    shift_ms: i64,
}

async fn read_clock(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "now": control.clock().now() }))
}

async fn shift_clock(State(control): State<Control>, Json(shift): Json<ClockShift>) -> Json<Value> {
    control.clock().shift(shift.shift_ms);
    Json(json!({ "now": control.clock().now() }))
}

async fn reset(State(control): State<Control>) -> Json<Value> {
    control.reset();
    done()
}
