//! How a write is wished for, beside what it is: how far it reaches, whom it mails, how long the caller waits, and under
//! which conditions it is made.

use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use calfleet_domain::model::{EditScope, Notify, RecurrenceId};
use calfleet_service::write::{Mode, Reach, Terms, WriteError};
use calfleet_store::requests::Fingerprint;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::auth::Writer;
use super::body::Body;
use super::problem::Problem;
use crate::app::App;

/// Longest key or name of a request, in letters.
const KEY_CHARS: usize = 200;

/// What a request is called, by its sender or by us: an answer repeats it, and the history keeps it.
const REQUEST_ID: &str = "x-request-id";

/// How a write is wished for.
#[derive(Debug, Default)]
pub(super) struct Wish {
    scope: Option<EditScope>,
    instance: Option<RecurrenceId>,
    notify: Option<Notify>,
    wait: Option<Duration>,
    dry_run: Option<bool>,
    idempotency_key: Option<String>,
    expected: Option<String>,
    request_id: Option<String>,
    /// What is asked for, but for the body and how the answer is waited for.
    route: String,
}

impl<S: Sync> FromRequestParts<S> for Wish {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = pairs.map_err(|_| Problem::bad_query())?;
        let mut wish = Self::default();
        for (name, value) in &pairs {
            let is_first = match name.as_str() {
                "scope" => wish.scope.replace(scope(value)?).is_none(),
                "instance" => wish.instance.replace(instance(value)?).is_none(),
                "notify" => wish.notify.replace(notify(value)?).is_none(),
                "wait" => wish.wait.replace(wait(value)?).is_none(),
                "dry_run" => wish.dry_run.replace(truth(value)?).is_none(),
                _ => return Err(Problem::bad_parameter(name, "There is no such parameter.")),
            };
            if !is_first {
                return Err(Problem::bad_parameter(name, "Give it once."));
            }
        }
        wish.route = route(parts, &pairs);
        wish.wait = wish.wait.or_else(|| preferred(&parts.headers));
        wish.idempotency_key = idempotency_key(&parts.headers)?;
        wish.expected = expected(&parts.headers)?;
        wish.request_id = request_id(&parts.headers)?;
        Ok(wish)
    }
}

impl Wish {
    /// How much of a series is meant: the instance where one is named, all of it otherwise.
    pub(super) fn reach(&self) -> Reach {
        let scope = self.scope.unwrap_or(match self.instance {
            Some(_) => EditScope::This,
            None => EditScope::All,
        });
        Reach { scope, recurrence_id: self.instance }
    }

    /// Refuses a reach where none can be meant.
    pub(super) fn is_about_all(&self) -> Result<(), Problem> {
        let named = [("scope", self.scope.is_some()), ("instance", self.instance.is_some())];
        match named.into_iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(Problem::bad_parameter(name, "There is no such parameter here.")),
            None => Ok(()),
        }
    }

    /// Refuses a condition on what is not there yet.
    pub(super) fn is_unconditional(&self) -> Result<(), Problem> {
        match &self.expected {
            Some(_) => Err(Problem::bad_parameter("If-Match", "No ETag belongs to this; leave it out.")),
            None => Ok(()),
        }
    }

    /// Refuses a key where no answer is kept.
    pub(super) fn is_unkeyed(&self) -> Result<(), Problem> {
        match &self.idempotency_key {
            Some(_) => {
                Err(Problem::bad_parameter("Idempotency-Key", "No answer is kept of this; leave it out."))
            }
            None => Ok(()),
        }
    }

    /// Carries a write out; once, where the request has a key of its own and is repeated.
    pub(super) async fn carry_out<T: Serialize + DeserializeOwned>(
        &self,
        app: &App,
        caller: &Writer,
        body: &Body,
        write: impl Future<Output = Result<T, WriteError>>,
    ) -> Result<T, WriteError> {
        match &self.idempotency_key {
            Some(key) if self.dry_run != Some(true) => {
                let fingerprint = Fingerprint::of(&self.route, &body.spelled());
                app.service.once(caller.organization_id, key, fingerprint, write).await
            }
            _ => write.await,
        }
    }

    /// The terms of the write; `notify` is what holds where the caller does not say.
    pub(super) fn terms(&self, caller: &Writer, notify: Notify) -> Terms {
        Terms {
            notify: self.notify.unwrap_or(notify),
            idempotency_key: self.idempotency_key.clone(),
            expected: self.expected.clone(),
            request_id: self.request_id.clone(),
            mode: if self.dry_run == Some(true) { Mode::Explain } else { Mode::Store },
            ..Terms::of_person(caller.organization_id, caller.actor.clone())
        }
    }

    /// How long the caller waits for the provider's answer, at most `longest`.
    pub(super) fn wait(&self, longest: Duration) -> Duration {
        self.wait.unwrap_or_default().min(longest)
    }
}

/// Method, path and those parameters that change what is done, in any order.
fn route(parts: &Parts, pairs: &[(String, String)]) -> String {
    let mut pairs: Vec<_> = pairs.iter().filter(|(name, _)| name != "wait").collect();
    pairs.sort();
    format!("{} {} {pairs:?}", parts.method, parts.uri.path())
}

fn scope(text: &str) -> Result<EditScope, Problem> {
    EditScope::from_name(text).ok_or_else(|| Problem::bad_parameter("scope", "Give this, following or all."))
}

fn instance(text: &str) -> Result<RecurrenceId, Problem> {
    let detail =
        "Give the original start of the instance as its recurrence_id says it, such as 20260714T080000.";
    text.parse().map_err(|_| Problem::bad_parameter("instance", detail))
}

fn notify(text: &str) -> Result<Notify, Problem> {
    Notify::from_name(text).ok_or_else(|| Problem::bad_parameter("notify", "Give none, external or all."))
}

fn truth(text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| Problem::bad_parameter("dry_run", "Give true or false."))
}

/// A length of time such as `2s`, `500ms` or, in seconds, `2`.
fn wait(text: &str) -> Result<Duration, Problem> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let length = seconds.or_else(|| humantime::parse_duration(text).ok());
    length.ok_or_else(|| Problem::bad_parameter("wait", "Give a length of time such as 2s."))
}

/// `Prefer: wait=2` (RFC 7240 §4.3); what cannot be read of a preference is ignored.
fn preferred(headers: &HeaderMap) -> Option<Duration> {
    let given = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = given.flat_map(|value| value.split([',', ';']));
    preferences.find_map(|preference| {
        let (name, seconds) = preference.split_once('=')?;
        let seconds = seconds.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("wait").then(|| Duration::from_secs(seconds))
    })
}

fn request_id(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(REQUEST_ID) else { return Ok(None) };
    let name = value.to_str().ok().filter(|name| is_request_name(name));
    let detail = "Give a name of 1 to 200 visible ASCII characters, or none: then it is given one.";
    name.map(str::to_owned).map(Some).ok_or_else(|| Problem::bad_parameter("X-Request-Id", detail))
}

/// Whether a request can be called so: what a header can carry, and every database keep.
pub(super) fn is_request_name(name: &str) -> bool {
    let is_visible = |byte: u8| matches!(byte, b'\t' | b' '..=b'~');
    (1..=KEY_CHARS).contains(&name.len()) && name.bytes().all(is_visible)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().map(str::trim);
    let key = key.filter(|key| !key.is_empty() && key.chars().count() <= KEY_CHARS);
    let detail = || format!("Give a key of 1 to {KEY_CHARS} letters.");
    key.map(|key| Some(key.to_owned())).ok_or_else(|| Problem::bad_parameter("Idempotency-Key", detail()))
}

/// The ETag that `If-Match` names; `None` for any. One that was never given matches nothing.
fn expected(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let tag = value.to_str().unwrap_or_default().trim();
    if tag.contains(',') {
        return Err(Problem::bad_parameter("If-Match", "Give the one ETag that the event was read with."));
    }
    Ok((tag != "*").then(|| tag.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_from_either_place_and_kept_short() {
        let wish = |wait| Wish { wait, ..Wish::default() };
        assert_eq!(wait("2s").unwrap(), Duration::from_secs(2));
        assert_eq!(wait("2").unwrap(), Duration::from_secs(2));
        assert_eq!(wait("500ms").unwrap(), Duration::from_millis(500));
        assert!(wait("soon").is_err() && wait("-1").is_err());
        assert_eq!(
            wish(Some(Duration::from_hours(1))).wait(Duration::from_secs(10)),
            Duration::from_secs(10)
        );
        assert_eq!(wish(None).wait(Duration::from_secs(10)), Duration::ZERO);

        let mut headers = HeaderMap::new();
        headers.insert("prefer", "respond-async, Wait=3".parse().unwrap());
        assert_eq!(preferred(&headers), Some(Duration::from_secs(3)));
        headers.insert("prefer", "wait=forever".parse().unwrap());
        assert_eq!(preferred(&headers), None);
    }

    #[test]
    fn one_tag_is_expected_or_any() {
        let of = |tag: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, tag.parse().unwrap());
            expected(&headers)
        };
        assert_eq!(of("\"7\"").unwrap().as_deref(), Some("\"7\""));
        assert_eq!(of("*").unwrap(), None);
        assert_eq!(expected(&HeaderMap::new()).unwrap(), None);
        assert_eq!(of("").unwrap().as_deref(), Some(""), "an empty tag matches nothing");
        assert!(of("\"7\", \"8\"").is_err());
    }
}
