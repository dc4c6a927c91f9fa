//! calendarList and calendars.

use serde_json::{Map, Value, json};

use super::account::{GoogleRole, ListEntry};
use super::calendar::{Calendar, etag, text};
use super::call::{Call, Reply};
use super::error::ApiError;
use super::fields::set;
use super::token::{self, PageToken, SyncToken};
use super::{Google, event, watch};

/// Fields of an entry that its owner may write.
const ENTRY_FIELDS: [&str; 9] = [
    "summaryOverride",
    "colorId",
    "backgroundColor",
    "foregroundColor",
    "hidden",
    "selected",
    "defaultReminders",
    "notificationSettings",
    "autoAcceptInvitations",
];

/// Fields of a calendar that a writer may set.
const CALENDAR_FIELDS: [&str; 3] = ["summary", "description", "location"];

/// One entry as the API shows it.
fn entry(calendar: &Calendar, entry: &ListEntry, (id, who): (&str, &str)) -> Value {
    let mut shown = calendar.own.clone();
    for (name, value) in [
        ("kind", json!("calendar#calendarListEntry")),
        ("id", json!(id)),
        ("timeZone", json!(calendar.time_zone)),
        ("colorId", json!("1")),
        ("backgroundColor", json!("#ac725e")),
        ("foregroundColor", json!("#000000")),
        ("selected", json!(true)),
        ("defaultReminders", json!([])),
        ("conferenceProperties", json!({ "allowedConferenceSolutionTypes": ["hangoutsMeet"] })),
    ] {
        shown.insert(name.to_owned(), value);
    }
    if id == who {
        shown.insert("primary".to_owned(), true.into());
    } else {
        shown.insert("dataOwner".to_owned(), calendar.data_owner.as_str().into());
    }
    if let Some(role) = calendar.roles.get(who) {
        shown.insert("accessRole".to_owned(), role.word().into());
    }
    shown.extend(entry.own.clone());
    shown.insert("etag".to_owned(), etag(entry.revision).into());
    Value::Object(shown)
}

fn gone(id: &str, revision: u64) -> Value {
    json!({ "kind": "calendar#calendarListEntry", "etag": etag(revision), "id": id, "deleted": true })
}

/// The methods of calendarList.
pub(crate) fn entries(google: &mut Google, call: &Call<'_>, rest: &[&str]) -> Result<Reply, ApiError> {
    match (call.method, rest) {
        ("GET", []) => list(google, call),
        ("POST", []) => insert(google, call),
        ("POST", ["watch"]) => google.watch(call, watch::Collection::List),
        ("GET", [id]) => {
            let id = Google::calendar_id(&call.who, id);
            google.shown_entry(&call.who, &id)
        }
        ("PATCH" | "PUT", [id]) => {
            let id = Google::calendar_id(&call.who, id);
            google.shown_entry(&call.who, &id)?;
            let sent = call.document()?;
            google.change_entry(&call.who, &id, |entry| {
                let writable = sent.into_iter().filter(|(name, _)| ENTRY_FIELDS.contains(&name.as_str()));
                event::merge(&mut entry.own, &writable.collect());
            });
            google.shown_entry(&call.who, &id)
        }
        ("DELETE", [id]) => {
            let id = Google::calendar_id(&call.who, id);
            google.shown_entry(&call.who, &id)?;
            if google.calendars.get(&id).is_some_and(|calendar| calendar.data_owner == call.who) {
                return Err(ApiError::forbidden(
                    "The data owner of a calendar cannot remove it from the list.",
                ));
            }
            google.change_entry(&call.who, &id, |entry| entry.is_deleted = true);
            Ok(Reply::Empty)
        }
        _ => Err(ApiError::not_found()),
    }
}

fn insert(google: &mut Google, call: &Call<'_>) -> Result<Reply, ApiError> {
    let sent = call.document()?;
    let id = text(&sent, "id").to_owned();
    google.open(&call.who, &id, GoogleRole::FreeBusyReader)?;
    google.change_entry(&call.who, &id, |entry| {
        entry.is_deleted = false;
        let writable = sent.into_iter().filter(|(name, _)| ENTRY_FIELDS.contains(&name.as_str()));
        event::merge(&mut entry.own, &writable.collect());
    });
    google.shown_entry(&call.who, &id)
}

fn list(google: &Google, call: &Call<'_>) -> Result<Reply, ApiError> {
    let account = google.accounts.get(&call.who).ok_or_else(ApiError::unauthorized)?;
    let size = call.page_size(100, 250)?;
    let (deleted, hidden) = (call.flag("showDeleted")?, call.flag("showHidden")?);
    let least = call.text("minAccessRole").and_then(GoogleRole::read);
    let sync = call.text("syncToken");
    if sync.is_some() {
        if call.text("minAccessRole").is_some() || call.text("showOwnOrganizationOnly").is_some() {
            return Err(ApiError::invalid("Sync token cannot be used with other query restrictions."));
        }
        if deleted == Some(false) || hidden == Some(false) {
            return Err(ApiError::invalid("Sync token requires deleted and hidden entries."));
        }
    }
    let since = sync.map(|text| {
        let known: Option<SyncToken> = token::read(text);
        let known = known.filter(|known| known.era == account.era && !call.twist.expired_token);
        known.map(|known| known.revision).ok_or_else(ApiError::full_sync_required)
    });
    let since = since.transpose()?;
    let skipped = call.text("pageToken").and_then(token::read::<PageToken>).map_or(0, |page| page.at);
    let mut all = Vec::new();
    for (id, line) in &account.list {
        let Some(calendar) = google.calendars.get(id) else {
            if since.is_some_and(|since| line.revision > since) {
                all.push(gone(id, line.revision));
            }
            continue;
        };
        let is_hidden = line.own.get("hidden") == Some(&json!(true));
        let role = calendar.roles.get(&call.who).copied();
        let is_gone = line.is_deleted || role.is_none();
        let is_wanted = match since {
            Some(since) => line.revision > since,
            None => {
                (!is_gone || deleted == Some(true))
                    && (!is_hidden || hidden == Some(true))
                    && least.is_none_or(|least| role.is_some_and(|role| role >= least))
            }
        };
        if is_wanted {
            all.push(if is_gone { gone(id, line.revision) } else { entry(calendar, line, (id, &call.who)) });
        }
    }
    let newest = account.list.values().map(|line| line.revision).max().unwrap_or(0);
    let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
    let total = all.len();
    let items: Vec<Value> = all.into_iter().skip(skipped).take(size).collect();
    let listed = skipped.saturating_add(items.len());
    let mut page = json!({ "kind": "calendar#calendarList", "etag": etag(newest), "items": items });
    if listed < total {
        let next =
            PageToken { era: account.era, at: listed as u64, revision: newest, parameters: String::new() };
        set(&mut page, "nextPageToken", json!(token::write(&next)));
    } else {
        let next = SyncToken { era: account.era, revision: newest, parameters: String::new() };
        set(&mut page, "nextSyncToken", json!(token::write(&next)));
    }
    Ok(Reply::Document(page))
}

/// The methods of calendars.
pub(crate) fn calendars(google: &mut Google, call: &Call<'_>, rest: &[&str]) -> Result<Reply, ApiError> {
    match (call.method, rest) {
        ("POST", []) => create(google, call),
        (_, [id]) => {
            let id = Google::calendar_id(&call.who, id);
            one(google, call, &id)
        }
        ("POST", [id, "clear"]) => {
            let id = Google::calendar_id(&call.who, id);
            google.open(&call.who, &id, GoogleRole::Owner)?;
            let revision = google.next_revision();
            let calendar = google.calendars.get_mut(&id).filter(|calendar| calendar.is_primary);
            let calendar = calendar.ok_or_else(|| ApiError::invalid("Cannot clear secondary calendars."))?;
            calendar.clear();
            calendar.era = revision;
            calendar.revision = revision;
            google.changed.insert(id);
            Ok(Reply::Empty)
        }
        _ => Err(ApiError::not_found()),
    }
}

fn create(google: &mut Google, call: &Call<'_>) -> Result<Reply, ApiError> {
    let sent = call.document()?;
    if text(&sent, "summary").is_empty() {
        return Err(ApiError::required("Missing summary."));
    }
    let zone = match text(&sent, "timeZone") {
        "" => {
            google.accounts.get(&call.who).map(|account| account.spec.time_zone.clone()).unwrap_or_default()
        }
        named => named.to_owned(),
    };
    let id = google.create_calendar(&call.who, text(&sent, "summary"), &zone);
    change(google, &id, sent);
    shown(google, &id)
}

fn change(google: &mut Google, id: &str, mut sent: Map<String, Value>) {
    let revision = google.next_revision();
    let Some(calendar) = google.calendars.get_mut(id) else { return };
    if let Some(Value::String(zone)) = sent.remove("timeZone") {
        calendar.time_zone = zone;
    }
    sent.retain(|name, _| CALENDAR_FIELDS.contains(&name.as_str()));
    event::merge(&mut calendar.own, &sent);
    let owner = calendar.data_owner.clone();
    if let Some(entry) = google.accounts.get_mut(&owner).and_then(|account| account.list.get_mut(id)) {
        entry.revision = revision;
    }
    google.changed_lists.insert(owner);
}

fn shown(google: &Google, id: &str) -> Result<Reply, ApiError> {
    let calendar = google.calendars.get(id).ok_or_else(ApiError::not_found)?;
    let mut document = calendar.own.clone();
    for (name, value) in [
        ("kind", json!("calendar#calendar")),
        ("etag", json!(etag(calendar.era))),
        ("id", json!(id)),
        ("timeZone", json!(calendar.time_zone)),
        ("conferenceProperties", json!({ "allowedConferenceSolutionTypes": ["hangoutsMeet"] })),
    ] {
        document.insert(name.to_owned(), value);
    }
    if !calendar.is_primary {
        document.insert("dataOwner".to_owned(), calendar.data_owner.as_str().into());
    }
    Ok(Reply::Document(Value::Object(document)))
}

fn one(google: &mut Google, call: &Call<'_>, id: &str) -> Result<Reply, ApiError> {
    let least = if call.method == "GET" { GoogleRole::FreeBusyReader } else { GoogleRole::Owner };
    let calendar = google.open(&call.who, id, least)?;
    match call.method {
        "GET" => shown(google, id),
        "PATCH" | "PUT" => {
            let mut sent = call.document()?;
            if call.method == "PUT" {
                for name in ["description", "location"] {
                    sent.entry(name).or_insert(Value::Null);
                }
            }
            change(google, id, sent);
            shown(google, id)
        }
        "DELETE" => {
            if calendar.is_primary {
                return Err(ApiError::forbidden("Cannot delete primary calendars."));
            }
            if calendar.data_owner != call.who {
                return Err(ApiError::forbidden("Only the data owner can delete a calendar."));
            }
            google.remove_calendar(id);
            Ok(Reply::Empty)
        }
        _ => Err(ApiError::not_found()),
    }
}

impl Google {
    fn shown_entry(&self, who: &str, id: &str) -> Result<Reply, ApiError> {
        let calendar = self.open(who, id, GoogleRole::FreeBusyReader)?;
        let line = self.accounts.get(who).and_then(|account| account.list.get(id));
        let line = line.filter(|line| !line.is_deleted).ok_or_else(ApiError::not_found)?;
        Ok(Reply::Document(entry(calendar, line, (id, who))))
    }

    /// Changes somebody's entry for a calendar, which is made when there is none.
    pub(crate) fn change_entry(&mut self, who: &str, id: &str, change: impl FnOnce(&mut ListEntry)) {
        let revision = self.next_revision();
        let Some(account) = self.accounts.get_mut(who) else { return };
        let entry = account.list.entry(id.to_owned()).or_default();
        change(entry);
        entry.revision = revision;
        self.changed_lists.insert(who.to_owned());
    }

    /// A new secondary calendar; returns its id.
    pub(crate) fn create_calendar(&mut self, owner: &str, summary: &str, zone: &str) -> String {
        let id = format!("c_{}@group.calendar.google.com", self.new_id());
        let revision = self.next_revision();
        self.calendars.insert(id.clone(), Calendar::new(&id, summary, (owner, zone), revision));
        self.change_entry(owner, &id, |_| {});
        id
    }

    /// The default reminders that somebody has set for a calendar; none where it is not on their list.
    pub(crate) fn default_reminders(&self, who: &str, id: &str) -> Value {
        let entry = self.accounts.get(who).and_then(|account| account.list.get(id));
        entry.and_then(|entry| entry.own.get("defaultReminders")).cloned().unwrap_or_else(|| json!([]))
    }

    /// Removes a calendar; it leaves all lists.
    pub(crate) fn remove_calendar(&mut self, id: &str) {
        let Some(calendar) = self.calendars.remove(id) else { return };
        for who in calendar.roles.keys() {
            self.change_entry(who, id, |entry| entry.is_deleted = true);
        }
        self.changed.insert(id.to_owned());
    }
}
