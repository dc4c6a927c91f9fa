//! Who calls: an API key in the `Authorization` header, which stands for one organization.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use calfleet_domain::model::OrganizationId;
use calfleet_store::api_keys;
use secrecy::SecretString;

use super::problem::Problem;
use crate::app::App;

/// The permission to read every connection, calendar and event of the organization.
pub const VIEW_ALL: &str = "calendar.view_all";

/// Longest header that is looked at; ours are shorter by far.
const LONGEST_KEY: usize = 256;

/// A caller who may read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    /// Whose data.
    pub(super) organization_id: OrganizationId,
}

impl FromRequestParts<App> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let presented = header
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, key)| scheme.eq_ignore_ascii_case("bearer") && key.len() <= LONGEST_KEY)
            .map(|(_, key)| SecretString::from(key.trim()))
            .ok_or_else(Problem::unauthorized)?;
        let key = api_keys::authenticate(&app.service.store, &presented).await.map_err(Problem::store)?;
        let key = key.ok_or_else(Problem::unauthorized)?;
        if !key.scopes.iter().any(|scope| scope == VIEW_ALL) {
            return Err(Problem::forbidden(VIEW_ALL));
        }
        Ok(Self { organization_id: key.organization_id })
    }
}
