//! The habits of a CalDAV server, as switches.
//!
//! A [`Profile`] is an ordinary struct: the presets copy what was measured on running servers, and a test
//! takes one and turns a switch. No code asks for a product's name, only for a habit.

use serde::{Deserialize, Serialize};

/// What a server says to a sync token that it does not know or no longer keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvalidToken {
    /// 403 with `D:valid-sync-token` (RFC 6578 §3.2; Radicale, sabre).
    Forbidden,
    /// 409 with `D:valid-sync-token`.
    Conflict,
    /// 412 with `D:valid-sync-token` (Xandikos).
    PreconditionFailed,
    /// A bare 410.
    Gone,
    /// A bare 400.
    BadRequest,
    /// A bare 500 (Xandikos for tokens of others).
    ServerError,
    /// 207 with every member and no deletions, marked as full by nothing (DAViCal, SOGo).
    CompleteListing,
}

/// How exactly a sync token remembers its moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenHabit {
    /// A token names a revision; nothing is missed or repeated.
    Exact,
    /// The last change before the token comes again (DAViCal).
    RepeatsLast,
    /// A token is a second; all changes of that second come again (SOGo).
    Second,
    /// A token is a second; changes later in that second are never told (Bedework).
    SecondMissing,
}

/// What a server does with `D:limit` in a sync-collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitHabit {
    /// Ignores it.
    Ignored,
    /// Cuts at it, says 507, and gives a token for the rest (RFC 6578 §3.6).
    Paged,
    /// Cuts at it, says nothing, and gives the newest token: the rest is lost (Nextcloud, Xandikos).
    LosesRest,
}

/// The form in which hrefs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HrefForm {
    /// `/dav/calendars/ada/work/a.ics`.
    Path,
    /// `http://host/dav/calendars/ada/work/a.ics`.
    Url,
    /// `a.ics`, to be resolved against the request.
    Relative,
}

/// How namespaces are declared in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceStyle {
    /// `D:`, `C:`, `CS:`, `A:`.
    Upper,
    /// `d:`, `cal:`, `cs:`, `x1:` (sabre).
    Lower,
    /// `DAV:` as the default namespace (Radicale).
    DefaultDav,
    /// `ns0:` to `ns3:` (Xandikos).
    Numbered,
}

/// How calendar data stand in XML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataForm {
    /// Escaped, with carriage returns as `&#13;` (Cyrus, sabre).
    Escaped,
    /// Escaped, with raw line ends, which XML readers turn into LF (Radicale).
    RawLineEnds,
    /// In a CDATA section.
    Cdata,
}

/// What a multiget says of an href that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingHref {
    /// A response with status 404.
    NotFound,
    /// Nothing at all (DAViCal).
    Omitted,
}

/// What a server says to a second resource with the same UID in one calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UidConflict {
    /// 403 with `C:no-uid-conflict`.
    Forbidden,
    /// 409 with `C:no-uid-conflict` (Radicale).
    Conflict,
    /// 412 with `C:no-uid-conflict` (Xandikos).
    PreconditionFailed,
    /// Stores it (DAViCal, Baïkal).
    Accepted,
}

/// What a server says to a PUT into a collection that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PutNowhere {
    /// 409 (RFC 4918 §9.7.1).
    Conflict,
    /// 404 (sabre).
    NotFound,
}

/// What a server keeps of the text it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rewriting {
    /// Every byte.
    Verbatim,
    /// The meaning, under its own `PRODID` and with a line of its own added (Radicale).
    Reserialised,
    /// As `Reserialised`, and `X-` properties are dropped (mail.ru, Zimbra).
    DropsUnknown,
}

/// How `/.well-known/caldav` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WellKnown {
    /// 301 to the context root.
    Redirect,
    /// As the context root itself.
    Direct,
    /// 404.
    Missing,
}

/// The habits of one CalDAV server; see the presets for what real ones do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches that tests mix freely")]
pub struct Profile {
    /// What the `Server` header says; no behaviour hangs on it.
    pub name: String,
    /// Offers sync-collection and the `sync-token` property.
    pub sync_collection: bool,
    /// Offers the `getctag` property.
    pub ctag: bool,
    /// Refuses a sync-collection whose `Depth` is not 0 (RFC 6578 §3.2); python-caldav sends 1.
    pub strict_sync_depth: bool,
    /// Answer to an invalid sync token.
    pub invalid_token: InvalidToken,
    /// How exact sync tokens are.
    pub tokens: TokenHabit,
    /// Members after which a sync-collection answer ends with 507.
    pub page_limit: Option<usize>,
    /// What `D:limit` does.
    pub limit: LimitHabit,
    /// Lists removed members even in an initial sync.
    pub tombstones_in_initial_sync: bool,
    /// Lists the collection itself among its members in a sync (iCloud).
    pub lists_collection_in_sync: bool,
    /// Gives calendar data in a sync-collection when asked.
    pub data_in_sync: bool,
    /// Form of the hrefs of members that exist.
    pub hrefs: HrefForm,
    /// Form of the hrefs of members that are gone.
    pub removed_hrefs: HrefForm,
    /// Writes the hrefs of collections without the last slash.
    pub collections_without_slash: bool,
    /// VEVENTs in one REPORT with calendar data, beyond which the answer is 400.
    pub report_event_limit: Option<usize>,
    /// What a multiget says of a missing href.
    pub multiget_missing: MissingHref,
    /// Answers PROPFIND on its root without credentials, as `unauthenticated`.
    pub anonymous_root: bool,
    /// Names an authentication scheme in its 401.
    pub challenges: bool,
    /// Offers `current-user-principal`.
    pub principal: bool,
    /// Scheme and authority put before the home set, as of a server on another host.
    pub home_origin: Option<String>,
    /// How the well-known address answers.
    pub well_known: WellKnown,
    /// Answer to a second resource with one UID.
    pub uid_conflict: UidConflict,
    /// Answer to a PUT into a collection that does not exist.
    pub put_nowhere: PutNowhere,
    /// Overwrites on `If-None-Match: *` (SOGo, Zimbra).
    pub ignores_if_none_match: bool,
    /// Ignores `If-Match` on DELETE and on resources that do not exist (SOGo).
    pub lax_if_match: bool,
    /// Gives the `ETag` after a PUT that was stored byte for byte.
    pub etag_on_put: bool,
    /// Writes ETags as weak ones.
    pub weak_etags: bool,
    /// What becomes of the text of a PUT.
    pub rewriting: Rewriting,
    /// Largest resource in bytes, beyond which a PUT is refused.
    pub max_resource_size: usize,
    /// Requests on one connection after which it is closed without an answer.
    pub requests_per_connection: Option<u64>,
    /// Offers MOVE.
    pub moves: bool,
    /// How namespaces are written.
    pub namespaces: NamespaceStyle,
    /// How calendar data are written.
    pub data_form: DataForm,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "standard".to_owned(),
            sync_collection: true,
            ctag: true,
            strict_sync_depth: false,
            invalid_token: InvalidToken::Forbidden,
            tokens: TokenHabit::Exact,
            page_limit: None,
            limit: LimitHabit::Paged,
            tombstones_in_initial_sync: false,
            lists_collection_in_sync: false,
            data_in_sync: false,
            hrefs: HrefForm::Path,
            removed_hrefs: HrefForm::Path,
            collections_without_slash: false,
            report_event_limit: None,
            multiget_missing: MissingHref::NotFound,
            anonymous_root: false,
            challenges: true,
            principal: true,
            home_origin: None,
            well_known: WellKnown::Redirect,
            uid_conflict: UidConflict::Forbidden,
            put_nowhere: PutNowhere::Conflict,
            ignores_if_none_match: false,
            lax_if_match: false,
            etag_on_put: true,
            weak_etags: false,
            rewriting: Rewriting::Verbatim,
            max_resource_size: 10_000_000,
            requests_per_connection: None,
            moves: true,
            namespaces: NamespaceStyle::Upper,
            data_form: DataForm::Escaped,
        }
    }
}

impl Profile {
    /// Follows the RFCs wherever they say something.
    pub fn standard() -> Self {
        Self::default()
    }

    /// Like Radicale 3.9.
    pub fn radicale() -> Self {
        Self {
            name: "like-radicale".to_owned(),
            limit: LimitHabit::Ignored,
            tombstones_in_initial_sync: true,
            data_in_sync: true,
            report_event_limit: Some(10_000),
            uid_conflict: UidConflict::Conflict,
            rewriting: Rewriting::Reserialised,
            namespaces: NamespaceStyle::DefaultDav,
            data_form: DataForm::RawLineEnds,
            ..Self::default()
        }
    }

    /// Like Xandikos 0.4.
    pub fn xandikos() -> Self {
        Self {
            name: "like-xandikos".to_owned(),
            invalid_token: InvalidToken::PreconditionFailed,
            limit: LimitHabit::LosesRest,
            removed_hrefs: HrefForm::Url,
            uid_conflict: UidConflict::PreconditionFailed,
            rewriting: Rewriting::Reserialised,
            namespaces: NamespaceStyle::Numbered,
            data_form: DataForm::RawLineEnds,
            ..Self::default()
        }
    }

    /// Like Cyrus 3.6.
    pub fn cyrus() -> Self {
        Self {
            name: "like-cyrus".to_owned(),
            page_limit: Some(500),
            data_in_sync: true,
            anonymous_root: true,
            ..Self::default()
        }
    }

    /// Like DAViCal 1.1.
    pub fn davical() -> Self {
        Self {
            name: "like-davical".to_owned(),
            invalid_token: InvalidToken::CompleteListing,
            tokens: TokenHabit::RepeatsLast,
            limit: LimitHabit::Ignored,
            multiget_missing: MissingHref::Omitted,
            uid_conflict: UidConflict::Accepted,
            namespaces: NamespaceStyle::DefaultDav,
            ..Self::default()
        }
    }

    /// Like SOGo 5.8.
    pub fn sogo() -> Self {
        Self {
            name: "like-sogo".to_owned(),
            invalid_token: InvalidToken::CompleteListing,
            tokens: TokenHabit::Second,
            limit: LimitHabit::Ignored,
            ignores_if_none_match: true,
            lax_if_match: true,
            rewriting: Rewriting::Reserialised,
            requests_per_connection: Some(5),
            uid_conflict: UidConflict::Conflict,
            ..Self::default()
        }
    }

    /// Without sync-collection, with `getctag`.
    pub fn ctag_only() -> Self {
        Self { name: "ctag-only".to_owned(), sync_collection: false, ..Self::default() }
    }

    /// With neither sync-collection nor `getctag`.
    pub fn etag_only() -> Self {
        Self { name: "etag-only".to_owned(), sync_collection: false, ctag: false, ..Self::default() }
    }

    /// All presets.
    pub fn presets() -> Vec<Self> {
        vec![
            Self::standard(),
            Self::radicale(),
            Self::xandikos(),
            Self::cyrus(),
            Self::davical(),
            Self::sogo(),
            Self::ctag_only(),
            Self::etag_only(),
        ]
    }

    /// The preset of that name, with or without `like-`; `None` when there is none.
    pub fn preset(name: &str) -> Option<Self> {
        let bare = |name: &str| name.strip_prefix("like-").unwrap_or(name).to_owned();
        Self::presets().into_iter().find(|profile| bare(&profile.name) == bare(name))
    }
}
