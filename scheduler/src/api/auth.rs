//! Who calls: an API key in the `Authorization` header, which stands for one organization.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use calfleet_domain::model::OrganizationId;
use calfleet_service::Actor;
use calfleet_store::api_keys::{self, ApiKey};
use secrecy::SecretString;

use super::problem::Problem;
use crate::app::App;

/// The permission to read every connection, calendar and event of the organization.
pub const VIEW_ALL: &str = "calendar.view_all";

/// The permission to connect accounts for the organization's users.
pub const CONNECT: &str = "calendar.connect";

/// The permission to make, change, answer and delete events of the organization.
pub const SCHEDULE: &str = "calendar.schedule";

/// Longest header that is looked at; ours are shorter by far.
const LONGEST_KEY: usize = 256;

/// A caller who may read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    /// Whose data.
    pub(super) organization_id: OrganizationId,
}

/// A caller who may connect accounts.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    /// For whom.
    pub(super) organization_id: OrganizationId,
    /// The key, for the audit.
    pub(super) actor: String,
}

/// A caller who may write events.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    /// Whose events.
    pub(super) organization_id: OrganizationId,
    /// The key, for history and audit.
    pub(super) actor: Actor,
}

impl FromRequestParts<App> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let key = key(parts, app, SCHEDULE).await?;
        let actor = Actor(format!("api_key:{}", key.id));
        Ok(Self { organization_id: key.organization_id, actor })
    }
}

impl FromRequestParts<App> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let key = key(parts, app, VIEW_ALL).await?;
        Ok(Self { organization_id: key.organization_id })
    }
}

impl FromRequestParts<App> for Connector {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let key = key(parts, app, CONNECT).await?;
        Ok(Self { organization_id: key.organization_id, actor: format!("api_key:{}", key.id) })
    }
}

/// The key that was sent, if it gives `scope`.
async fn key(parts: &Parts, app: &App, scope: &str) -> Result<ApiKey, Problem> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let presented = header
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, key)| scheme.eq_ignore_ascii_case("bearer") && key.len() <= LONGEST_KEY)
        .map(|(_, key)| SecretString::from(key.trim()))
        .ok_or_else(Problem::unauthorized)?;
    let key = api_keys::authenticate(&app.service.store, &presented).await.map_err(Problem::store)?;
    let key = key.ok_or_else(Problem::unauthorized)?;
    if !key.scopes.iter().any(|given| given == scope) {
        return Err(Problem::forbidden(scope));
    }
    Ok(key)
}
