//! The person, the mailbox and its calendars.

use serde_json::{Value, json};

use super::calendar::Calendar;
use super::call::{Call, Reply, Scope};
use super::error::ApiError;
use super::event::change_key;
use super::id::{Form, Id};
use super::{Graph, fields, zones};

/// Most ids of one translation.
const MOST_IDS: usize = 1_000;

/// `GET /me`.
pub(crate) fn me(graph: &Graph, call: &Call<'_>) -> Result<Reply, ApiError> {
    call.needs(Scope::ReadUser)?;
    let account = graph.accounts.get(&call.who).ok_or_else(ApiError::unauthorized)?;
    Ok(Reply::ok(json!({
        "@odata.context": format!("{}/$metadata#users/$entity", call.root),
        "id": account.object_id,
        "displayName": account.name(),
        "userPrincipalName": account.spec.email,
        "mail": account.spec.email,
        "givenName": null,
        "surname": null,
        "jobTitle": null,
        "mobilePhone": null,
        "officeLocation": null,
        "preferredLanguage": null,
        "businessPhones": [],
    })))
}

fn show(graph: &Graph, calendar: &Calendar, who: &str) -> Value {
    let owner = graph.accounts.get(&calendar.owner);
    let can_edit = calendar.roles.get(who).copied().unwrap_or(false);
    let is_own = calendar.owner == who;
    let is_personal = owner.is_some_and(|owner| owner.spec.is_personal);
    let provider = if is_personal { "unknown" } else { "teamsForBusiness" };
    let providers: Vec<&str> = if is_personal { Vec::new() } else { vec![provider] };
    json!({
        "id": calendar.id,
        "name": calendar.name,
        "color": calendar.color,
        "hexColor": "",
        "changeKey": change_key(calendar.era),
        "isDefaultCalendar": calendar.is_default && is_own,
        "canShare": is_own,
        "canViewPrivateItems": is_own,
        "canEdit": can_edit,
        "isRemovable": !calendar.is_default,
        "isTallyingResponses": is_own,
        "allowedOnlineMeetingProviders": providers,
        "defaultOnlineMeetingProvider": provider,
        "owner": {
            "name": owner.map_or(calendar.owner.as_str(), |owner| owner.name()),
            "address": calendar.owner,
        },
    })
}

/// `GET` and `POST` of `/me/calendars`.
pub(crate) fn calendars(graph: &mut Graph, call: &Call<'_>) -> Result<Reply, ApiError> {
    if call.method == "GET" {
        call.needs(Scope::Read)?;
        return list(graph, call);
    }
    call.needs(Scope::Write)?;
    let sent = call.document()?;
    let name = fields::text(&sent, "name").to_owned();
    if name.is_empty() {
        return Err(ApiError::property("Property name is required."));
    }
    let who = call.who.clone();
    let is_taken = |id: &String| {
        graph
            .calendars
            .get(id)
            .is_some_and(|known| known.owner == who && known.name.eq_ignore_ascii_case(&name))
    };
    if graph.accounts.get(&who).is_some_and(|account| account.calendars.iter().any(is_taken)) {
        return Err(ApiError::new(
            409,
            "ErrorFolderExists",
            "A folder with the specified name already exists.",
        ));
    }
    let id = graph.create_calendar(&who, &name);
    change(graph, &id, &sent);
    let calendar = graph.open(&who, &id)?;
    Ok(Reply::Document(201, show(graph, calendar, &who)))
}

fn list(graph: &Graph, call: &Call<'_>) -> Result<Reply, ApiError> {
    let account = graph.accounts.get(&call.who).ok_or_else(ApiError::unauthorized)?;
    let size = call.page_size(10)?;
    let skipped = call.number("$skip")?.unwrap_or(0);
    let known = account.calendars.iter().filter_map(|id| graph.calendars.get(id));
    let all: Vec<&Calendar> = if call.twist.empty_listing { Vec::new() } else { known.collect() };
    let shown: Vec<Value> =
        all.iter().skip(skipped).take(size).map(|calendar| show(graph, calendar, &call.who)).collect();
    let mut page = json!({
        "@odata.context": format!("{}/$metadata#users('me')/calendars", call.root),
        "value": shown,
    });
    if skipped + size < all.len() {
        let query = format!("{}&$skip={}", call.query_without("$skip"), skipped + size);
        super::set(&mut page, "@odata.nextLink", json!(call.link(query.trim_start_matches('&'))));
    }
    Ok(Reply::ok(page))
}

/// The methods of one calendar.
pub(crate) fn calendar(graph: &mut Graph, call: &Call<'_>, id: &str) -> Result<Reply, ApiError> {
    call.needs(if call.method == "GET" { Scope::Read } else { Scope::Write })?;
    let calendar = graph.open(&call.who, id)?;
    match call.method {
        "GET" => Ok(Reply::ok(show(graph, calendar, &call.who))),
        "PATCH" => {
            let sent = call.document()?;
            change(graph, id, &sent);
            Ok(Reply::ok(show(graph, graph.open(&call.who, id)?, &call.who)))
        }
        "DELETE" => {
            if calendar.is_default {
                return Err(ApiError::new(
                    400,
                    "ErrorDeleteDistinguishedFolder",
                    "Distinguished folders cannot be deleted.",
                ));
            }
            graph.remove_calendar(id);
            Ok(Reply::Empty(204))
        }
        _ => Err(ApiError::resource_not_found()),
    }
}

fn change(graph: &mut Graph, id: &str, sent: &serde_json::Map<String, Value>) {
    let Some(calendar) = graph.calendars.get_mut(id) else { return };
    for (field, target) in [("name", &mut calendar.name), ("color", &mut calendar.color)] {
        if let Some(value) = sent.get(field).and_then(Value::as_str) {
            value.clone_into(target);
        }
    }
}

impl Graph {
    /// A new calendar on its owner's list; returns its id.
    pub(crate) fn create_calendar(&mut self, owner: &str, name: &str) -> String {
        let id = self.new_calendar(owner, name, false);
        if let Some(account) = self.accounts.get_mut(owner) {
            account.calendars.push(id.clone());
        }
        id
    }

    /// Removes a calendar with all it holds.
    pub(crate) fn remove_calendar(&mut self, id: &str) {
        let Some(calendar) = self.calendars.remove(id) else { return };
        for serial in calendar.serials() {
            self.places.remove(&serial);
        }
        for account in self.accounts.values_mut() {
            account.calendars.retain(|known| known != id);
        }
    }
}

/// Settings of the mailbox, zones, translation of ids.
pub(crate) fn settings(graph: &Graph, call: &Call<'_>, rest: &[&str]) -> Result<Reply, ApiError> {
    let account = graph.accounts.get(&call.who).ok_or_else(ApiError::unauthorized)?;
    match rest {
        ["mailboxSettings"] => {
            call.needs(Scope::ReadSettings)?;
            Ok(Reply::ok(json!({
                "timeZone": zones::kept_name(&account.spec.time_zone),
                "delegateMeetingMessageDeliveryOptions": "sendToDelegateOnly",
                "dateFormat": "yyyy-MM-dd",
                "timeFormat": "HH:mm",
                "language": { "locale": "en-US", "displayName": "English (United States)" },
                "workingHours": working_hours(&account.spec.time_zone),
            })))
        }
        ["outlook", "supportedTimeZones"] => {
            let zone = |name: &&str| json!({ "alias": name, "displayName": name });
            let all: Vec<Value> = zones::windows_names().iter().map(zone).collect();
            Ok(Reply::ok(json!({ "value": all })))
        }
        ["translateExchangeIds"] => {
            call.needs(Scope::Read)?;
            translate(graph, call)
        }
        _ => Err(ApiError::resource_not_found()),
    }
}

/// The hours in which everybody here works.
pub(crate) fn working_hours(zone: &str) -> Value {
    json!({
        "daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"],
        "startTime": "08:00:00.0000000",
        "endTime": "17:00:00.0000000",
        "timeZone": { "name": zones::kept_name(zone) },
    })
}

fn translate(graph: &Graph, call: &Call<'_>) -> Result<Reply, ApiError> {
    let sent = call.document()?;
    let ids = sent.get("inputIds").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if ids.len() > MOST_IDS {
        return Err(ApiError::bad_request("Too many ids."));
    }
    let form = match fields::text(&sent, "targetIdType") {
        "restImmutableEntryId" => Form::Immutable,
        "restId" => Form::Default,
        _ => return Err(ApiError::bad_request("The target type of ids is not simulated.")),
    };
    let translated = |text: &str| {
        let found = graph.find(&call.who, text).ok()?;
        let stored = graph.stored(&found).ok()?;
        Some(Id { day: found.day, ..stored.id(None) }.write(form))
    };
    let all: Vec<Value> = ids
        .iter()
        .filter_map(Value::as_str)
        .map(|text| match translated(text) {
            Some(target) => json!({ "sourceId": text, "targetId": target }),
            None => {
                json!({ "sourceId": text, "errorDetails": { "code": "ErrorItemNotFound", "message": "" } })
            }
        })
        .collect();
    Ok(Reply::ok(json!({ "value": all })))
}
