//! Parameters of requests: read once, refused with the name of the field and what it should look like.

use std::str::FromStr;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{CalendarId, ConnectionId, OrganizationId};
use calfleet_store::{Scope, Store, calendars, connections};
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Items on a page that does not say how many.
const PAGE: usize = 100;
/// Most items on a page.
const LARGEST_PAGE: usize = 1_000;
/// The longest stretch of time that instances are looked for in.
const LONGEST_STRETCH_DAYS: i64 = 366;
/// Most calendars of one request.
const MOST_CALENDARS: u32 = 1_000;

/// What may stand in a query beside the wishes of writes; each route says which of it by [`Parameters::only`].
#[derive(Debug, Default)]
pub(super) struct Parameters {
    from: Option<String>,
    to: Option<String>,
    time_zone: Option<String>,
    calendar: Option<String>,
    connection: Option<String>,
    limit: Option<String>,
    at: Option<String>,
    pub(super) cursor: Option<String>,
    pub(super) state: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = pairs.map_err(|_| Problem::bad_query())?;
        let mut parameters = Self::default();
        for (name, value) in pairs {
            let place = match name.as_str() {
                "from" => &mut parameters.from,
                "to" => &mut parameters.to,
                "time_zone" => &mut parameters.time_zone,
                "calendar" => &mut parameters.calendar,
                "connection" => &mut parameters.connection,
                "limit" => &mut parameters.limit,
                "at" => &mut parameters.at,
                "cursor" => &mut parameters.cursor,
                "state" => &mut parameters.state,
                _ => return Err(Problem::bad_parameter(name, "There is no such parameter.")),
            };
            if place.replace(value).is_some() {
                return Err(Problem::bad_parameter(name, "Give it once."));
            }
        }
        Ok(parameters)
    }
}

impl Parameters {
    /// Refuses what the route does not go by: what is asked for is never left aside in silence.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), Problem> {
        let given = [
            ("from", &self.from),
            ("to", &self.to),
            ("time_zone", &self.time_zone),
            ("calendar", &self.calendar),
            ("connection", &self.connection),
            ("limit", &self.limit),
            ("at", &self.at),
            ("cursor", &self.cursor),
            ("state", &self.state),
        ];
        match given.into_iter().find(|(name, value)| value.is_some() && !names.contains(name)) {
            Some((name, _)) => Err(Problem::bad_parameter(name, "There is no such parameter here.")),
            None => Ok(()),
        }
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = &self.limit else { return Ok(PAGE) };
        let limit = text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
        limit.ok_or_else(|| {
            Problem::bad_parameter("limit", format!("Give a number from 1 to {LARGEST_PAGE}."))
        })
    }

    pub(super) fn zone(&self) -> Result<Tz, Problem> {
        let Some(name) = &self.time_zone else { return Ok(Tz::UTC) };
        let zone = calfleet_domain::recurrence::zone::iana(name);
        zone.ok_or_else(|| Problem::bad_parameter("time_zone", "Give an IANA name such as Europe/Paris."))
    }

    /// The instants from and to, of which each may be left out.
    pub(super) fn between(&self) -> Result<[Option<DateTime<Utc>>; 2], Problem> {
        let from = self.from.as_deref().map(|text| instant("from", text)).transpose()?;
        let to = self.to.as_deref().map(|text| instant("to", text)).transpose()?;
        match (from, to) {
            (Some(from), Some(to)) if to <= from => {
                Err(Problem::bad_parameter("to", "It has to be after from."))
            }
            (from, to) => Ok([from, to]),
        }
    }

    /// An instant in the past, also as the history writes it: in milliseconds since 1970.
    pub(super) fn at(&self) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = &self.at else { return Ok(None) };
        match text.parse() {
            Ok(milliseconds) => Ok(Some(Timestamp(milliseconds))),
            Err(_) => instant("at", text).map(|instant| Some(Timestamp::from_utc(instant))),
        }
    }

    /// A stretch of time that has to be given and is short enough to be expanded.
    pub(super) fn stretch(&self) -> Result<(DateTime<Utc>, DateTime<Utc>), Problem> {
        let missing = |field| Problem::bad_parameter(field, "Give an instant such as 2026-11-01T00:00:00Z.");
        let [from, to] = self.between()?;
        let from = from.ok_or_else(|| missing("from"))?;
        let to = to.ok_or_else(|| missing("to"))?;
        if (to - from).num_days() > LONGEST_STRETCH_DAYS {
            let detail = format!("The stretch may be {LONGEST_STRETCH_DAYS} days long at most.");
            return Err(Problem::bad_parameter("to", detail));
        }
        Ok((from, to))
    }

    /// The calendars asked for: one, those of a connection, or all; always the caller's own.
    pub(super) async fn calendars(
        &self,
        store: &Store,
        organization: OrganizationId,
    ) -> Result<Vec<CalendarId>, Problem> {
        if self.calendar.is_some() && self.connection.is_some() {
            let detail = "Name a calendar or a connection: a calendar belongs to one.";
            return Err(Problem::bad_parameter("connection", detail));
        }
        let tx = store.read(Scope::Organization(organization)).await.map_err(Problem::store)?;
        if let Some(text) = &self.calendar {
            let id: CalendarId = id("calendar", text)?;
            let calendar = calendars::load(&tx, id).await.map_err(Problem::store)?;
            return calendar.map(|calendar| vec![calendar.id]).ok_or_else(|| Problem::not_found("calendar"));
        }
        let listed = if let Some(text) = &self.connection {
            let id: ConnectionId = id("connection", text)?;
            let connection = connections::load(&tx, id).await.map_err(Problem::store)?;
            connection.ok_or_else(|| Problem::not_found("connection"))?;
            calendars::list(&tx, id).await
        } else {
            // one more than there may be tells that there are too many
            calendars::list_all(&tx, None, MOST_CALENDARS + 1).await
        };
        are_few(listed.map_err(Problem::store)?.into_iter().map(|calendar| calendar.id).collect())
    }
}

/// The calendars, unless there are more than one request can go through: leaving some out would pass for all.
fn are_few(calendars: Vec<CalendarId>) -> Result<Vec<CalendarId>, Problem> {
    if calendars.len() <= MOST_CALENDARS as usize {
        return Ok(calendars);
    }
    let detail = format!("There are more than {MOST_CALENDARS} calendars: name a calendar or a connection.");
    Err(Problem::refused("too_many_calendars", detail))
}

/// What stands in the path, decoded; what is no UTF-8 is refused by its name, like any parameter.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(found)) => Ok(Self(found)),
            Err(PathRejection::FailedToDeserializePathParams(failure)) => {
                let field = match failure.into_kind() {
                    ErrorKind::InvalidUtf8InPathParam { key } => key,
                    _ => "path".to_owned(),
                };
                Err(Problem::bad_parameter(field, "Write it percent-encoded, in UTF-8."))
            }
            Err(_) => Err(Problem::no_route()),
        }
    }
}

/// An id in a path or a parameter; what is no id at all is refused by name.
pub(super) fn id<T: FromStr>(field: &'static str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| {
        Problem::bad_parameter(field, "Give an id such as 01890a5d-ac96-774b-bcce-b302099a8057.")
    })
}

fn instant(field: &'static str, text: &str) -> Result<DateTime<Utc>, Problem> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.with_timezone(&Utc));
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    date.and_then(|date| date.and_hms_opt(0, 0, 0)).map(|midnight| midnight.and_utc()).ok_or_else(|| {
        Problem::bad_parameter(
            field,
            "Give an instant such as 2026-11-01T00:00:00Z, or a date (midnight UTC).",
        )
    })
}

#[cfg(test)]
mod tests {
    use calfleet_domain::clock::Rng as _;
    use calfleet_runtime::clock::SystemRng;

    use super::*;

    #[test]
    fn calendars_are_never_left_out_in_silence() {
        let some = |count: u32| (0..count).map(|_| CalendarId(SystemRng.uuid(Timestamp::ZERO))).collect();

        assert_eq!(are_few(some(MOST_CALENDARS)).unwrap().len(), 1_000);
        let refused = serde_json::to_value(are_few(some(MOST_CALENDARS + 1)).unwrap_err()).unwrap();

        let detail = "There are more than 1000 calendars: name a calendar or a connection.";
        assert_eq!((&refused["status"], &refused["detail"]), (&422.into(), &detail.into()), "{refused}");
    }
}
