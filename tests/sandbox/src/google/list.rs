//! Reads of events: one, a page of many, the changes since a sync token, the instances of a series.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::account::GoogleRole;
use super::calendar::{Calendar, Stored, etag, text};
use super::call::{Call, Reply};
use super::error::ApiError;
use super::times::{self, When};
use super::token::{self, PageToken, SyncToken};
use super::{Google, event};

/// Parameters that do not go with a sync token.
const FORBIDDEN: [&str; 8] = [
    "iCalUID",
    "orderBy",
    "privateExtendedProperty",
    "q",
    "sharedExtendedProperty",
    "timeMin",
    "timeMax",
    "updatedMin",
];

/// Parameters that a sync token carries along.
const CARRIED: [&str; 5] =
    ["singleEvents", "eventTypes", "maxAttendees", "showHiddenInvitations", "timeZone"];

/// How long ago `updatedMin` may lie, in milliseconds.
const UPDATED_MIN_REACH_MS: i64 = 28 * 86_400_000;

/// What a listing leaves out.
#[derive(Debug, Default)]
struct Filter {
    types: Vec<String>,
    from: Option<i64>,
    until: Option<i64>,
    updated_min: Option<i64>,
    uid: Option<String>,
    words: Option<String>,
    private: Vec<(String, String)>,
    shared: Vec<(String, String)>,
    shows_deleted: bool,
    /// Cancelled instances of living series, whatever `shows_deleted`.
    shows_exclusions: bool,
}

impl Filter {
    fn of(call: &Call<'_>) -> Result<Self, ApiError> {
        let pairs = |name: &str| {
            let split =
                |pair: &str| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            call.texts(name).into_iter().filter_map(split).collect()
        };
        let updated_min = call.instant("updatedMin")?;
        if updated_min.is_some_and(|at| at < call.now - UPDATED_MIN_REACH_MS) {
            return Err(ApiError::updated_min_too_long_ago());
        }
        let (from, until) = (call.instant("timeMin")?, call.instant("timeMax")?);
        if from.zip(until).is_some_and(|(from, until)| from >= until) {
            return Err(ApiError::new(
                400,
                "calendar",
                "timeRangeEmpty",
                "The specified time range is empty.",
            ));
        }
        Ok(Self {
            types: call.texts("eventTypes").into_iter().map(str::to_owned).collect(),
            from,
            until,
            updated_min,
            uid: call.text("iCalUID").map(str::to_owned),
            words: call.text("q").map(str::to_lowercase),
            private: pairs("privateExtendedProperty"),
            shared: pairs("sharedExtendedProperty"),
            shows_deleted: call.flag("showDeleted")?.unwrap_or(false)
                || updated_min.is_some()
                || call.text("syncToken").is_some(),
            shows_exclusions: true,
        })
    }

    fn admits(&self, stored: &Stored, calendar: &Calendar) -> bool {
        if !self.types.is_empty() && !self.types.iter().any(|name| **name == *stored.event_type.0) {
            return false;
        }
        if stored.is_cancelled && !self.shows_deleted {
            let is_exclusion = self.shows_exclusions
                && stored
                    .series
                    .as_ref()
                    .and_then(|id| calendar.get(id))
                    .is_some_and(|master| !master.is_cancelled);
            if !is_exclusion {
                return false;
            }
        }
        if self.updated_min.is_some_and(|least| stored.updated < least) {
            return false;
        }
        let starts_late = self.until.is_some_and(|until| stored.span.0 >= until);
        let ends_early = self.from.is_some_and(|from| stored.span.1 <= from) && !stored.is_master;
        if starts_late || ends_early {
            return false;
        }
        self.admits_content(stored)
    }

    fn admits_content(&self, stored: &Stored) -> bool {
        if self.uid.is_none() && self.words.is_none() && self.private.is_empty() && self.shared.is_empty() {
            return true;
        }
        let event = stored.map();
        let has = |kind: &str, pairs: &[(String, String)]| {
            let known = event.get("extendedProperties").and_then(|all| all.get(kind));
            pairs.is_empty()
                || pairs.iter().any(|(key, value)| {
                    known.and_then(|known| known.get(key)).and_then(Value::as_str) == Some(value)
                })
        };
        let holds = |word: &String| {
            ["summary", "description", "location"]
                .iter()
                .any(|name| text(&event, name).to_lowercase().contains(word))
        };
        self.uid.as_deref().is_none_or(|uid| text(&event, "iCalUID") == uid)
            && self.words.as_ref().is_none_or(holds)
            && has("private", &self.private)
            && has("shared", &self.shared)
    }
}

/// The parameters that a page token has to be used with again.
fn parameters(call: &Call<'_>, names: &[&str]) -> String {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let mut values = call.texts(name);
        values.sort_unstable();
        all.extend(values.into_iter().map(|value| format!("{name}={value}")));
    }
    all.join("&")
}

/// Where the listing starts.
struct Start {
    /// Only what changed after this revision.
    after: u64,
    /// What the next sync token will say.
    revision: u64,
    is_delta: bool,
}

fn start(call: &Call<'_>, calendar: &Calendar) -> Result<Start, ApiError> {
    let all: Vec<&str> =
        FORBIDDEN.iter().chain(&CARRIED).copied().chain(["showDeleted", "syncToken"]).collect();
    let sync = call.text("syncToken");
    if sync.is_some() {
        if let Some(name) = FORBIDDEN.iter().find(|name| call.text(name).is_some()) {
            return Err(ApiError::invalid_parameter(
                name,
                "Sync token cannot be used with other query restrictions.",
            ));
        }
        if call.flag("showDeleted")? == Some(false) {
            return Err(ApiError::invalid_parameter("showDeleted", "Sync token requires deleted entries."));
        }
    }
    let known: Option<SyncToken> = sync
        .map(|text| {
            let known: Option<SyncToken> = token::read(text);
            let known = known.filter(|known| known.era == calendar.era && !call.twist.expired_token);
            known.ok_or_else(ApiError::full_sync_required)
        })
        .transpose()?;
    if known.as_ref().is_some_and(|known| known.parameters != parameters(call, &CARRIED)) {
        return Err(ApiError::invalid_parameter("syncToken", "Sync token was made with other parameters."));
    }
    let after = known.as_ref().map_or(0, |known| known.revision);
    match call.text("pageToken") {
        None => Ok(Start { after, revision: calendar.revision, is_delta: known.is_some() }),
        Some(page) => {
            let wrong = || ApiError::invalid_parameter("pageToken", "Invalid page token value.");
            let page: PageToken = token::read(page).ok_or_else(wrong)?;
            if page.era != calendar.era {
                return Err(if known.is_some() { ApiError::full_sync_required() } else { wrong() });
            }
            if page.parameters != parameters(call, &all) {
                return Err(wrong());
            }
            Ok(Start { after: page.at, revision: page.revision, is_delta: known.is_some() })
        }
    }
}

/// `events.list`.
pub(crate) fn events(google: &Google, call: &Call<'_>, id: &str) -> Result<Reply, ApiError> {
    let calendar = google.open(&call.who, id, GoogleRole::FreeBusyReader)?;
    let role = google.role(&call.who, id).unwrap_or(GoogleRole::FreeBusyReader);
    let size = call.page_size(250, 2_500)?;
    let is_single = call.flag("singleEvents")?.unwrap_or(false);
    let order = call.text("orderBy");
    if order == Some("startTime") && !is_single {
        return Err(ApiError::invalid("The requested ordering is not available for the particular query."));
    }
    let mut filter = Filter::of(call)?;
    let start = start(call, calendar)?;
    filter.shows_exclusions = !is_single;
    let shown = Shown::of(call, role)?;
    let reminders = google.default_reminders(&call.who, id);
    let mut page = Page::new(call, (calendar, reminders), &start);
    if call.twist.empty_listing {
        return Ok(page.reply(None));
    }
    if is_single {
        return Ok(single_events(call, (calendar, page), (&filter, &shown), (&start, size)));
    }
    let mut last = start.after;
    for (_, stored) in
        calendar.changed_after(start.after).filter(|(_, stored)| filter.admits(stored, calendar))
    {
        if page.items.len() == size {
            return Ok(page.reply(Some(last)));
        }
        last = stored.revision;
        page.items.push(shown.text(stored));
    }
    Ok(page.reply(None))
}

/// How a caller is shown events.
struct Shown {
    role: GoogleRole,
    most_guests: Option<usize>,
}

impl Shown {
    fn of(call: &Call<'_>, role: GoogleRole) -> Result<Self, ApiError> {
        let most_guests =
            call.number("maxAttendees")?.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        Ok(Self { role, most_guests })
    }

    fn text(&self, stored: &Stored) -> Arc<str> {
        if !stored.is_cancelled && self.role != GoogleRole::FreeBusyReader && self.most_guests.is_none() {
            return Arc::clone(&stored.text);
        }
        self.map_text(stored.map(), stored.is_cancelled)
    }

    fn map_text(&self, event: Map<String, Value>, is_cancelled: bool) -> Arc<str> {
        let event = if is_cancelled { event::cancelled(&event) } else { self.map(event) };
        Value::Object(event).to_string().into()
    }

    fn map(&self, mut event: Map<String, Value>) -> Map<String, Value> {
        if self.role == GoogleRole::FreeBusyReader {
            return event::busy_only(&event);
        }
        if let (Some(most), Some(Value::Array(guests))) = (self.most_guests, event.get_mut("attendees"))
            && guests.len() > most
        {
            guests.sort_by_key(|guest| guest.get("self").is_none());
            guests.truncate(most.max(1));
            event.insert("attendeesOmitted".to_owned(), true.into());
        }
        event
    }
}

/// A page under way.
struct Page {
    head: Map<String, Value>,
    items: Vec<Arc<str>>,
    era: u64,
    revision: u64,
    parameters: String,
    carried: String,
    has_sync_token: bool,
}

impl Page {
    fn new(call: &Call<'_>, (calendar, reminders): (&Calendar, Value), start: &Start) -> Self {
        let all: Vec<&str> =
            FORBIDDEN.iter().chain(&CARRIED).copied().chain(["showDeleted", "syncToken"]).collect();
        let mut head = calendar.own.clone();
        head.insert("kind".to_owned(), "calendar#events".into());
        head.insert("etag".to_owned(), etag(calendar.revision).into());
        head.insert("updated".to_owned(), times::stamp(call.now).into());
        head.insert("timeZone".to_owned(), calendar.time_zone.as_str().into());
        let role = calendar.roles.get(&call.who).copied().unwrap_or(GoogleRole::FreeBusyReader);
        head.insert("accessRole".to_owned(), role.word().into());
        head.insert("defaultReminders".to_owned(), reminders);
        let hinders =
            ["iCalUID", "orderBy", "privateExtendedProperty", "q", "sharedExtendedProperty", "updatedMin"];
        Self {
            head,
            items: Vec::new(),
            era: calendar.era,
            revision: start.revision,
            parameters: parameters(call, &all),
            carried: parameters(call, &CARRIED),
            has_sync_token: start.is_delta || hinders.iter().all(|name| call.text(name).is_none()),
        }
    }

    /// The page; `at` is where the next one starts, if there is one.
    fn reply(mut self, at: Option<u64>) -> Reply {
        let (era, revision) = (self.era, self.revision);
        if let Some(at) = at {
            let next = PageToken { era, at, revision, parameters: self.parameters };
            self.head.insert("nextPageToken".to_owned(), token::write(&next).into());
        } else if self.has_sync_token {
            let next = SyncToken { era, revision, parameters: self.carried };
            self.head.insert("nextSyncToken".to_owned(), token::write(&next).into());
        }
        let mut text = Value::Object(self.head).to_string();
        text.pop();
        text.push_str(",\"items\":[");
        text.push_str(&self.items.join(","));
        text.push_str("]}");
        Reply::Text(text)
    }
}

/// The instances that stand for an event when series are expanded.
fn expanded(
    calendar: &Calendar,
    stored: &Stored,
    (from, until): (Option<i64>, Option<i64>),
    now: i64,
) -> Vec<(Map<String, Value>, bool)> {
    if !stored.is_master || stored.is_cancelled {
        return vec![(stored.map(), stored.is_cancelled)];
    }
    let master = stored.map();
    let zone = &calendar.time_zone;
    let mut instances = Vec::new();
    for start in times::starts(&master, zone, until, now).unwrap_or_default() {
        let instance = times::instance(&master, start, zone);
        if calendar.get(text(&instance, "id")).is_some() {
            continue;
        }
        let Some((start, end)) = times::span(&instance, zone) else { continue };
        if from.is_none_or(|from| end > from) && until.is_none_or(|until| start < until) {
            instances.push((instance, false));
        }
    }
    instances
}

fn single_events(
    call: &Call<'_>,
    (calendar, mut page): (&Calendar, Page),
    (filter, shown): (&Filter, &Shown),
    (start, size): (&Start, usize),
) -> Reply {
    // Pages of instances count items, not revisions: one revision can be many instances.
    let skipped = if call.text("pageToken").is_some() { start.after } else { 0 };
    let sync: Option<SyncToken> = call.text("syncToken").and_then(token::read);
    let after = sync.map_or(0, |known| known.revision);
    let mut all = Vec::new();
    for (_, stored) in calendar.changed_after(after).filter(|(_, stored)| filter.admits(stored, calendar)) {
        all.extend(expanded(calendar, stored, (filter.from, filter.until), call.now));
    }
    if call.text("orderBy") == Some("startTime") {
        all.sort_by_key(|(event, _)| times::span(event, &calendar.time_zone).unwrap_or_default().0);
    }
    let skipped_count = usize::try_from(skipped).unwrap_or(usize::MAX);
    let total = all.len();
    for (event, is_cancelled) in all.into_iter().skip(skipped_count).take(size) {
        page.items.push(shown.map_text(event, is_cancelled));
    }
    let listed = skipped_count.saturating_add(page.items.len());
    page.reply((listed < total).then_some(listed as u64))
}

/// `events.get`.
pub(crate) fn event(google: &Google, call: &Call<'_>, id: &str, event: &str) -> Result<Reply, ApiError> {
    google.open(&call.who, id, GoogleRole::FreeBusyReader)?;
    let role = google.role(&call.who, id).unwrap_or(GoogleRole::FreeBusyReader);
    let shown = Shown::of(call, role)?;
    let found = google.find(id, event, call.now).ok_or_else(ApiError::not_found)?;
    Ok(Reply::Document(Value::Object(shown.map(found))))
}

/// `events.instances`.
pub(crate) fn instances(google: &Google, call: &Call<'_>, id: &str, series: &str) -> Result<Reply, ApiError> {
    let calendar = google.open(&call.who, id, GoogleRole::FreeBusyReader)?;
    let role = google.role(&call.who, id).unwrap_or(GoogleRole::FreeBusyReader);
    let size = call.page_size(250, 2_500)?;
    let (from, until) = (call.instant("timeMin")?, call.instant("timeMax")?);
    let master =
        calendar.get(series).filter(|stored| !stored.is_cancelled).ok_or_else(ApiError::not_found)?;
    let shows_deleted = call.flag("showDeleted")?.unwrap_or(false);
    let zone = &calendar.time_zone;
    let mut all = expanded(calendar, master, (from, until), call.now);
    for exception in calendar.exceptions(series).iter().filter_map(|id| calendar.get(id)) {
        let in_range = from.is_none_or(|from| exception.span.1 > from)
            && until.is_none_or(|until| exception.span.0 < until);
        if in_range && (!exception.is_cancelled || shows_deleted) {
            all.push((exception.map(), exception.is_cancelled));
        }
    }
    if let Some(original) = call.text("originalStart") {
        let wanted = times::instant(original);
        let is_wanted = |event: &Map<String, Value>| {
            let when = event.get("originalStartTime").and_then(|value| When::read(value, zone));
            when.is_some_and(|when| {
                Some(when.milliseconds(zone)) == wanted || when.value().get("date") == Some(&json!(original))
            })
        };
        all.retain(|(event, _)| is_wanted(event));
    }
    all.sort_by_key(|(event, _)| times::span(event, zone).unwrap_or_default().0);
    let shown = Shown::of(call, role)?;
    let skipped = call.text("pageToken").and_then(token::read::<PageToken>).map_or(0, |page| page.at);
    let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
    let total = all.len();
    let start = Start { after: 0, revision: calendar.revision, is_delta: false };
    let reminders = google.default_reminders(&call.who, id);
    let mut page = Page::new(call, (calendar, reminders), &start);
    page.items =
        all.into_iter().skip(skipped).take(size).map(|(event, gone)| shown.map_text(event, gone)).collect();
    let listed = skipped.saturating_add(page.items.len());
    Ok(page.reply((listed < total).then_some(listed as u64)))
}
