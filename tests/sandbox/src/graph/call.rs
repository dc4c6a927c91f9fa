//! One call of the API: who asks what, in which form it is to be answered.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};

use super::calendar::Window;
use super::error::ApiError;
use super::id::Form;
use super::times::{self, Zone};
use crate::faults::Twist;
use crate::oauth;

/// What scopes begin with when they are written in full.
pub(crate) const RESOURCE: &str = "https://graph.microsoft.com/";

/// What a method needs; any one of its scopes will do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope {
    ReadUser,
    ReadSettings,
    Read,
    Write,
}

impl Scope {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::ReadUser => &["User.Read", "User.ReadWrite", "User.Read.All", "User.ReadBasic.All"],
            Self::ReadSettings => &["MailboxSettings.Read", "MailboxSettings.ReadWrite"],
            Self::Read => &[
                "Calendars.ReadBasic",
                "Calendars.Read",
                "Calendars.ReadWrite",
                "Calendars.Read.Shared",
                "Calendars.ReadWrite.Shared",
            ],
            Self::Write => &["Calendars.ReadWrite", "Calendars.ReadWrite.Shared"],
        }
    }
}

/// What comes of a call.
#[derive(Debug)]
pub(crate) enum Reply {
    Document(u16, Value),
    Empty(u16),
}

impl Reply {
    pub(crate) fn ok(document: Value) -> Self {
        Self::Document(200, document)
    }
}

/// The preferences of a request (`Prefer`).
#[derive(Debug, Clone)]
pub(crate) struct Preferences {
    pub(crate) form: Form,
    pub(crate) zone: Option<Zone>,
    unknown_zone: Option<String>,
    pub(crate) is_body_text: bool,
    pub(crate) page_size: Option<usize>,
    /// As they were sent, for `Preference-Applied`.
    pub(crate) applied: String,
}

impl Preferences {
    /// Immutable ids, and nothing else.
    pub(crate) fn immutable() -> Self {
        Self { form: Form::Immutable, ..Self::read(&HeaderMap::new()) }
    }

    fn read(headers: &HeaderMap) -> Self {
        let mut read = Self {
            form: Form::Default,
            zone: None,
            unknown_zone: None,
            is_body_text: false,
            page_size: None,
            applied: String::new(),
        };
        let lines = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for preference in lines.flat_map(|line| line.split([',', ';'])).map(str::trim) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_lowercase().as_str() {
                "idtype" if value.eq_ignore_ascii_case("ImmutableId") => read.form = Form::Immutable,
                "outlook.timezone" => match Zone::read(value) {
                    Some(zone) => read.zone = Some(zone),
                    None => read.unknown_zone = Some(value.to_owned()),
                },
                "outlook.body-content-type" => read.is_body_text = value.eq_ignore_ascii_case("text"),
                "odata.maxpagesize" => read.page_size = value.parse().ok().filter(|size| *size > 0),
                _ => continue,
            }
            if !read.applied.is_empty() {
                read.applied.push_str(", ");
            }
            read.applied.push_str(preference);
        }
        read
    }
}

#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    /// Decoded segments below `v1.0/`.
    pub(crate) path: Vec<String>,
    query: Vec<(String, String)>,
    pub(crate) body: &'a [u8],
    pub(crate) token: Option<String>,
    if_match: Option<String>,
    pub(crate) prefer: Preferences,
    pub(crate) twist: &'a Twist,
    /// Root of the API, such as `http://127.0.0.1:40123/microsoft/v1.0`.
    pub(crate) root: String,
    /// Path of the call below the root, as it was sent.
    pub(crate) address: &'a str,
    pub(crate) now: i64,
    /// The account behind the token.
    pub(crate) who: String,
    /// The application the token was given to.
    pub(crate) client: String,
    pub(crate) scopes: Vec<String>,
    /// Addresses that have answered the validation handshake of this request.
    pub(crate) validated: &'a [String],
}

/// The access token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (kind, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then_some(token)
}

/// A segment without what `OData` adds to functions.
fn segment(part: &str) -> String {
    let part = crate::caldav::decode(part);
    let part = part.strip_prefix("microsoft.graph.").unwrap_or(&part);
    part.strip_suffix("()").unwrap_or(part).to_owned()
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        (method, address): (&'a str, &'a str),
        headers: &HeaderMap,
        body: &'a [u8],
        (twist, url): (&'a Twist, &str),
        now: i64,
    ) -> Self {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let if_match = headers.get("if-match").and_then(|value| value.to_str().ok());
        Self {
            method,
            path: path.split('/').filter(|part| !part.is_empty()).map(segment).collect(),
            query: oauth::form(query.as_bytes()),
            body,
            token: bearer(headers).map(str::to_owned),
            if_match: if_match.map(str::to_owned),
            prefer: Preferences::read(headers),
            twist,
            root: format!("{url}/microsoft/v1.0"),
            address: path,
            now,
            who: String::new(),
            client: String::new(),
            scopes: Vec::new(),
            validated: &[],
        }
    }

    pub(crate) fn needs(&self, scope: Scope) -> Result<(), ApiError> {
        let bare = |given: &String| given.strip_prefix(RESOURCE).unwrap_or(given).to_owned();
        if self.scopes.iter().map(bare).any(|given| scope.names().contains(&given.as_str())) {
            return Ok(());
        }
        Err(match scope {
            Scope::ReadUser => ApiError::privileges(),
            _ => ApiError::access_denied(),
        })
    }

    /// Refuses a zone that is not known.
    pub(crate) fn check_preferences(&self) -> Result<(), ApiError> {
        match &self.prefer.unknown_zone {
            Some(zone) => Err(ApiError::zone(zone)),
            None => Ok(()),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let wrong = |text: &str| ApiError::bad_request(&format!("Invalid value '{text}' for {name}."));
        self.text(name).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
    }

    /// `startDateTime` and `endDateTime`, both required.
    pub(crate) fn window(&self) -> Result<Window, ApiError> {
        let side = |name: &str| {
            let missing = || {
                ApiError::new(
                    400,
                    "ErrorInvalidParameter",
                    "This request requires a time window specified by the query string parameters StartDateTime and EndDateTime.",
                )
            };
            let text = self.text(name).ok_or_else(missing)?;
            times::instant(text)
                .ok_or_else(|| ApiError::bad_request(&format!("'{text}' is not a valid {name}.")))
        };
        let window = (side("startDateTime")?, side("endDateTime")?);
        if window.0 > window.1 {
            return Err(ApiError::bad_request("The start of the window is after its end."));
        }
        Ok(window)
    }

    /// How many items a page holds.
    pub(crate) fn page_size(&self, default: usize) -> Result<usize, ApiError> {
        let asked = self.number("$top")?.filter(|size| *size > 0).or(self.prefer.page_size);
        Ok(asked.unwrap_or(default).min(1_000))
    }

    /// The body as a JSON object.
    pub(crate) fn document(&self) -> Result<Map<String, Value>, ApiError> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Map::new());
        }
        serde_json::from_slice(self.body).map_err(|_| ApiError::unreadable())
    }

    /// Holds an `If-Match` against an etag.
    pub(crate) fn check_match(&self, etag: &str) -> Result<(), ApiError> {
        match self.if_match.as_deref() {
            None | Some("*") => Ok(()),
            Some(wanted) if wanted == etag => Ok(()),
            Some(_) => Err(ApiError::conflict(412)),
        }
    }

    /// The same address with another query.
    pub(crate) fn link(&self, query: &str) -> String {
        format!("{}/{}?{query}", self.root, self.address)
    }

    /// The query without a name.
    pub(crate) fn query_without(&self, name: &str) -> String {
        let kept = self.query.iter().filter(|(known, _)| !known.eq_ignore_ascii_case(name));
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept.map(|(name, value)| (name.as_str(), value.as_str())))
            .finish();
        query.replace("%24", "$")
    }
}
