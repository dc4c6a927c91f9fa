//! `/conflicts`: two versions of an event that a person has to decide about.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use calfleet_domain::model::ConflictId;
use calfleet_service::read::Page;
use calfleet_service::write::{Choice, ConflictView, Mix};
use calfleet_store::conflicts::Which;
use serde::Deserialize;

use super::auth::{Reader, Writer};
use super::body::Body;
use super::parameters::{Parameters, Path, id};
use super::problem::Problem;
use super::wish::Wish;
use super::writes::{SILENT, answer};
use crate::app::App;

/// `GET /conflicts?state&limit&cursor`: newest first; those that wait when no state is named.
pub(super) async fn list(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Page<ConflictView>>, Problem> {
    parameters.only(&["state", "limit", "cursor"])?;
    let which = match parameters.state.as_deref() {
        None | Some("open") => Which::Open,
        Some("resolved") => Which::Resolved,
        Some(_) => return Err(Problem::bad_parameter("state", "Give open or resolved.")),
    };
    let limit = parameters.limit()?;
    let before = parameters.cursor.as_deref().map(|cursor| id::<ConflictId>("cursor", cursor)).transpose()?;
    let most = u32::try_from(limit).unwrap_or(u32::MAX);
    let found = app.service.conflicts(reader.organization_id, which, before, most).await;
    let data = found.map_err(Problem::store)?;
    let next_cursor = data.last().filter(|_| data.len() == limit).map(|view| view.id.to_string());
    Ok(Json(Page { data, next_cursor, is_complete: true }))
}

/// `GET /conflicts/{id}`.
pub(super) async fn read(
    State(app): State<App>,
    reader: Reader,
    Path(text): Path<String>,
    parameters: Parameters,
) -> Result<Json<ConflictView>, Problem> {
    let id: ConflictId = id("id", &text)?;
    parameters.only(&[])?;
    let view = app.service.conflict(reader.organization_id, id).await.map_err(Problem::store)?;
    view.map(Json).ok_or_else(|| Problem::not_found("conflict"))
}

/// A decision: of all fields, of each by its name, or of some by name and of all others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decision {
    #[serde(default)]
    keep: Option<Kept>,
    #[serde(default)]
    fields: BTreeMap<String, Kept>,
}

/// The side that is kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    #[serde(alias = "local")]
    Ours,
    #[serde(alias = "remote")]
    Theirs,
}

impl From<Kept> for Choice {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Ours => Self::Ours,
            Kept::Theirs => Self::Theirs,
        }
    }
}

/// `POST /conflicts/{id}/resolve?notify&wait&dry_run`.
pub(super) async fn resolve(
    State(app): State<App>,
    caller: Writer,
    Path(text): Path<String>,
    wish: Wish,
    body: Body,
) -> Result<Response, Problem> {
    let id: ConflictId = id("id", &text)?;
    wish.is_about_all()?;
    wish.is_unconditional()?;
    let Decision { keep, fields } = body.read()?;
    if keep.is_none() && fields.is_empty() {
        return Err(Problem::bad_field(
            "keep",
            "Say which side is kept: ours or theirs, or which of each field.",
        ));
    }
    let fields = fields.into_iter().map(|(name, kept)| (name, kept.into())).collect();
    let mix = Mix { fields, rest: keep.map(Choice::from) };
    let terms = wish.terms(&caller, SILENT);
    let write = Box::pin(app.service.mix_conflict(id, &mix, &terms));
    let outcome = wish.carry_out(&app, &caller, &body, write).await?;
    answer(&app, &caller, &wish, &outcome, StatusCode::OK).await
}
