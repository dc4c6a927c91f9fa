//! One call of the API: who asks what, and its parameters in their types.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::faults::Twist;
use crate::oauth;

/// What every Calendar scope begins with.
const SCOPE: &str = "https://www.googleapis.com/auth/calendar";

/// What a method needs; any one of its scopes will do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope {
    ReadEvents,
    WriteEvents,
    ReadLists,
    WriteLists,
    ReadCalendars,
    WriteCalendars,
    ReadSettings,
    FreeBusy,
}

impl Scope {
    /// What follows [`SCOPE`] in the scopes that suffice, besides the full one.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::ReadEvents => &[
                ".readonly",
                ".events",
                ".events.readonly",
                ".events.owned",
                ".events.owned.readonly",
                ".events.public.readonly",
                ".app.created",
            ],
            Self::WriteEvents => &[".events", ".events.owned", ".app.created"],
            Self::ReadLists => &[".readonly", ".calendarlist", ".calendarlist.readonly"],
            Self::WriteLists => &[".calendarlist"],
            Self::ReadCalendars => &[".readonly", ".calendars", ".calendars.readonly", ".app.created"],
            Self::WriteCalendars => &[".calendars", ".app.created"],
            Self::ReadSettings => &[".readonly", ".settings.readonly"],
            Self::FreeBusy => &[".readonly", ".freebusy", ".events.freebusy"],
        }
    }
}

/// What comes of a call.
#[derive(Debug)]
pub(crate) enum Reply {
    Document(Value),
    /// A document that is text already.
    Text(String),
    Empty,
}

#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    /// Decoded segments below `calendar/v3/`.
    pub(crate) path: Vec<String>,
    query: Vec<(String, String)>,
    pub(crate) body: &'a [u8],
    pub(crate) token: Option<String>,
    if_match: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) twist: &'a Twist,
    pub(crate) url: &'a str,
    pub(crate) now: i64,
    /// The account behind the token.
    pub(crate) who: String,
    pub(crate) scopes: Vec<String>,
}

/// The access token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        (method, path, query): (&'a str, &str, &str),
        headers: &HeaderMap,
        body: &'a [u8],
        (twist, url): (&'a Twist, &'a str),
        now: i64,
    ) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            method,
            path: path.split('/').filter(|part| !part.is_empty()).map(crate::caldav::decode).collect(),
            query: oauth::form(query.as_bytes()),
            body,
            token: bearer(headers).map(str::to_owned),
            if_match: header("if-match"),
            if_none_match: header("if-none-match"),
            twist,
            url,
            now,
            who: String::new(),
            scopes: Vec::new(),
        }
    }

    pub(crate) fn needs(&self, scope: Scope) -> Result<(), ApiError> {
        let suffices = |given: &String| {
            given.strip_prefix(SCOPE).is_some_and(|rest| rest.is_empty() || scope.endings().contains(&rest))
        };
        if self.scopes.iter().any(suffices) { Ok(()) } else { Err(ApiError::scope_insufficient()) }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        oauth::field(&self.query, name)
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        self.query.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(ApiError::invalid_parameter(
                name,
                &format!("Invalid boolean value: '{other}'. Valid values: [true, false]"),
            )),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let wrong =
            |text: &str| ApiError::invalid_parameter(name, &format!("Invalid integer value: '{text}'."));
        self.text(name).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
    }

    /// Milliseconds of an RFC 3339 instant.
    pub(crate) fn instant(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let wrong = || ApiError::invalid_parameter(name, "Bad Request");
        self.text(name).map(|text| super::times::instant(text).ok_or_else(wrong)).transpose()
    }

    /// How many items a page holds: asked for, between 1 and `most`.
    pub(crate) fn page_size(&self, default: u64, most: u64) -> Result<usize, ApiError> {
        let size = self.number("maxResults")?.unwrap_or(default);
        if size == 0 {
            return Err(ApiError::invalid_parameter(
                "maxResults",
                "Invalid value '0'. Values must be at least 1.",
            ));
        }
        Ok(usize::try_from(size.min(most)).unwrap_or(usize::MAX))
    }

    /// The body as a JSON object.
    pub(crate) fn document(&self) -> Result<Map<String, Value>, ApiError> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_slice(self.body).map_err(|_| {
            ApiError::new(
                400,
                "global",
                "parseError",
                "This API does not support parsing form-encoded input.",
            )
        })
    }

    /// Holds an `If-Match` against an etag.
    pub(crate) fn check_match(&self, etag: &str) -> Result<(), ApiError> {
        match self.if_match.as_deref() {
            None | Some("*") => Ok(()),
            Some(wanted) if wanted == etag => Ok(()),
            Some(_) => Err(ApiError::condition_not_met()),
        }
    }
}
