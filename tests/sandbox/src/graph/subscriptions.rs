//! Subscriptions: who wants to be told when events change, and what they are told.
//!
//! An address has to answer a handshake before a subscription is made. That takes a request of our own, so
//! [`addresses`] says beforehand which ones a request names, and the exchange asks them before the call runs.

use std::collections::BTreeMap;

use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::call::{Call, Reply, Scope};
use super::error::ApiError;
use super::fields::text;
use super::id::{Form, guid};
use super::{Graph, Touch, batch, event, times};
use crate::courier::{Courier, Parcel};

/// Shortest life in minutes; shorter ones are raised to it.
const SHORTEST_MIN: i64 = 45;

/// Longest `clientState`.
const MOST_STATE: usize = 128;

/// What Graph tells about a subscription itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GraphLifecycle {
    /// Nothing is told any more until the subscription is renewed or reauthorized.
    ReauthorizationRequired,
    /// It is gone.
    SubscriptionRemoved,
    /// Some notifications were lost.
    Missed,
}

impl GraphLifecycle {
    fn word(self) -> &'static str {
        match self {
            Self::ReauthorizationRequired => "reauthorizationRequired",
            Self::SubscriptionRemoved => "subscriptionRemoved",
            Self::Missed => "missed",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Subscription {
    who: String,
    client: String,
    resource: String,
    /// One calendar; `None` for the whole mailbox.
    calendar: Option<String>,
    change_types: String,
    address: String,
    lifecycle_address: Option<String>,
    client_state: Option<String>,
    until: i64,
    form: Form,
    is_held: bool,
}

impl Subscription {
    fn show(&self, id: &str, call: &Call<'_>) -> Value {
        json!({
            "@odata.context": format!("{}/$metadata#subscriptions/$entity", call.root),
            "id": id,
            "resource": self.resource,
            "applicationId": self.client,
            "changeType": self.change_types,
            "clientState": self.client_state,
            "notificationUrl": self.address,
            "lifecycleNotificationUrl": self.lifecycle_address,
            "expirationDateTime": times::stamp(self.until),
            "creatorId": self.who,
            "includeResourceData": null,
            "latestSupportedTlsVersion": "v1_2",
        })
    }

    fn wants(&self, touch: &Touch) -> bool {
        self.change_types.split(',').any(|kind| kind.trim() == touch.kind)
            && self.calendar.as_ref().is_none_or(|calendar| *calendar == touch.calendar)
    }
}

/// Addresses that a request wants to be notified at.
pub(crate) fn addresses(head: &Parts, body: &[u8]) -> Vec<String> {
    let path = head.uri.path().strip_prefix(super::ROOT).and_then(|path| path.strip_prefix(super::API));
    let named = |body: &Map<String, Value>| {
        let all = ["notificationUrl", "lifecycleNotificationUrl"].map(|name| text(body, name).to_owned());
        all.into_iter().filter(|address| !address.is_empty()).collect::<Vec<_>>()
    };
    match path {
        Some("$batch") => {
            let parts = batch::parts(body).unwrap_or_default();
            let wanted = parts.iter().filter(|part| text(part, "url").contains("subscriptions"));
            wanted.filter_map(|part| part.get("body")?.as_object()).flat_map(named).collect()
        }
        Some(path) if path.starts_with("subscriptions") => {
            serde_json::from_slice(body).map(|body| named(&body)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// The methods of `/subscriptions`.
pub(crate) fn answer(graph: &mut Graph, call: &Call<'_>, rest: &[&str]) -> Result<Reply, ApiError> {
    call.needs(Scope::Read)?;
    match (call.method, rest) {
        ("POST", []) => graph.subscribe(call),
        ("GET", []) => {
            let own = graph
                .subscriptions
                .iter()
                .filter(|(_, known)| known.who == call.who && known.until > call.now);
            let all: Vec<Value> = own.map(|(id, known)| known.show(id, call)).collect();
            Ok(Reply::ok(json!({ "value": all })))
        }
        (_, [id, rest @ ..]) => graph.one_subscription(call, id, rest),
        _ => Err(ApiError::resource_not_found()),
    }
}

fn refused(message: &str) -> ApiError {
    ApiError::new(400, "ValidationError", message)
}

impl Graph {
    /// The subscriptions of an account are its own under its new address.
    pub(crate) fn rename_subscribers(&mut self, old: &str, new: &str) {
        for known in self.subscriptions.values_mut().filter(|known| known.who == old) {
            new.clone_into(&mut known.who);
        }
    }

    /// The calendar of a resource; `None` for all of the mailbox.
    fn watched(&self, who: &str, resource: &str) -> Result<Option<String>, ApiError> {
        let path: Vec<&str> = resource.trim_matches('/').split('/').collect();
        let account = self.accounts.get(who).ok_or_else(ApiError::unauthorized)?;
        let is_own = |name: &str| name.eq_ignore_ascii_case(who) || name == account.object_id;
        let rest = match path.as_slice() {
            ["me", rest @ ..] => rest,
            ["users", name, rest @ ..] if is_own(name) => rest,
            ["users", ..] => return Err(ApiError::access_denied()),
            _ => return Err(refused("The resource is not supported.")),
        };
        match rest {
            ["events"] => Ok(None),
            ["calendars", id, "events"] => Ok(Some(self.open(who, id)?.id.clone())),
            ["calendar", "events"] => Ok(Some(account.default_calendar.clone())),
            _ => Err(refused("The resource is not supported.")),
        }
    }

    /// The end of a life that was asked for.
    fn life(&self, sent: &Map<String, Value>, now: i64) -> Result<i64, ApiError> {
        let asked = times::instant(text(sent, "expirationDateTime"));
        let asked = asked.ok_or_else(|| refused("The expirationDateTime is not valid."))?;
        if asked <= now {
            return Err(refused("Subscription expiration must be in the future."));
        }
        let most = i64::from(self.habits.subscription_min);
        if asked > now + most * 60_000 {
            let message = format!("Subscription expiration can only be {most} minutes in the future.");
            return Err(refused(&message));
        }
        Ok(asked.max(now + SHORTEST_MIN * 60_000))
    }

    fn check_address(&self, call: &Call<'_>, address: &str) -> Result<(), ApiError> {
        let is_safe =
            address.starts_with("https://") || (!self.habits.https_only && address.starts_with("http://"));
        if !is_safe {
            return Err(refused("The notification address must be an https address."));
        }
        if call.validated.iter().any(|known| known == address) {
            return Ok(());
        }
        Err(refused(
            "Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request.",
        ))
    }

    fn subscribe(&mut self, call: &Call<'_>) -> Result<Reply, ApiError> {
        let sent = call.document()?;
        let calendar = self.watched(&call.who, text(&sent, "resource"))?;
        let until = self.life(&sent, call.now)?;
        let change_types = text(&sent, "changeType").to_owned();
        if !change_types.split(',').all(|kind| matches!(kind.trim(), "created" | "updated" | "deleted")) {
            return Err(refused("The changeType is not supported."));
        }
        let client_state = sent.get("clientState").and_then(Value::as_str).map(str::to_owned);
        if client_state.as_ref().is_some_and(|state| state.len() > MOST_STATE) {
            return Err(refused("The clientState is too long."));
        }
        if sent.get("includeResourceData") == Some(&json!(true)) {
            return Err(refused("Resource data are not simulated."));
        }
        let address = text(&sent, "notificationUrl").to_owned();
        self.check_address(call, &address)?;
        let lifecycle_address =
            sent.get("lifecycleNotificationUrl").and_then(Value::as_str).map(str::to_owned);
        if let Some(address) = &lifecycle_address {
            self.check_address(call, address)?;
        }
        self.given += 1;
        let id = guid(&format!("subscription {} {}", self.seed, self.given));
        let subscription = Subscription {
            who: call.who.clone(),
            client: call.client.clone(),
            resource: text(&sent, "resource").to_owned(),
            calendar,
            change_types,
            address,
            lifecycle_address,
            client_state,
            until,
            form: call.prefer.form,
            is_held: false,
        };
        let shown = subscription.show(&id, call);
        self.subscriptions.insert(id, subscription);
        Ok(Reply::Document(201, shown))
    }

    fn one_subscription(&mut self, call: &Call<'_>, id: &str, rest: &[&str]) -> Result<Reply, ApiError> {
        let is_there =
            self.subscriptions.get(id).is_some_and(|known| known.who == call.who && known.until > call.now);
        if !is_there {
            return Err(ApiError::new(404, "ResourceNotFound", "The object was not found."));
        }
        let sent = call.document()?;
        let until = match (call.method, rest) {
            ("PATCH", []) => Some(self.life(&sent, call.now)?),
            _ => None,
        };
        let address = text(&sent, "notificationUrl").to_owned();
        if !address.is_empty() && call.method == "PATCH" {
            self.check_address(call, &address)?;
        }
        if let ("DELETE", []) = (call.method, rest) {
            self.subscriptions.remove(id);
            return Ok(Reply::Empty(204));
        }
        let Some(known) = self.subscriptions.get_mut(id) else { return Err(ApiError::item_not_found()) };
        match (call.method, rest) {
            ("GET", []) => {}
            ("PATCH", []) => {
                known.until = until.unwrap_or(known.until);
                known.is_held = false;
                if !address.is_empty() {
                    known.address = address;
                }
            }
            ("POST", ["reauthorize"]) => {
                known.is_held = false;
                return Ok(Reply::Empty(204));
            }
            _ => return Err(ApiError::resource_not_found()),
        }
        Ok(Reply::ok(known.show(id, call)))
    }

    /// Ids of the subscriptions that live at that time.
    pub(crate) fn living_subscriptions(&self, now: i64) -> Vec<String> {
        self.subscriptions.iter().filter(|(_, known)| known.until > now).map(|(id, _)| id.clone()).collect()
    }

    /// Tells a subscription's lifecycle address about it; whether there was one.
    pub(crate) fn tell_lifecycle(&mut self, courier: &Courier, id: &str, event: GraphLifecycle) -> bool {
        let Some(known) = self.subscriptions.get_mut(id) else { return false };
        let account = self.accounts.get(&known.who);
        let notice = json!({
            "subscriptionId": id,
            "subscriptionExpirationDateTime": times::stamp(known.until),
            "tenantId": account.map(|account| account.tenant.as_str()),
            "clientState": known.client_state,
            "lifecycleEvent": event.word(),
            "resource": known.resource,
            "resourceData": null,
        });
        known.is_held |= event == GraphLifecycle::ReauthorizationRequired;
        if let Some(address) = &known.lifecycle_address {
            courier.send(parcel(address, &[notice]));
        }
        if event == GraphLifecycle::SubscriptionRemoved {
            self.subscriptions.remove(id);
        }
        true
    }

    /// Tells subscribers of what was touched: one request an address.
    pub(crate) fn notify(&mut self, courier: &Courier, now: i64) {
        let touched = std::mem::take(&mut self.touched);
        self.subscriptions.retain(|_, known| known.until > now);
        let mut notices: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (id, known) in self.subscriptions.iter().filter(|(_, known)| !known.is_held) {
            let Some(account) = self.accounts.get(&known.who) else { continue };
            for touch in touched.iter().filter(|touch| known.wants(touch)) {
                if !account.calendars.contains(&touch.calendar) {
                    continue;
                }
                let event = touch.id.write(known.form);
                let resource = format!("Users/{}/Events/{event}", account.object_id);
                notices.entry(&known.address).or_default().push(json!({
                    "subscriptionId": id,
                    "subscriptionExpirationDateTime": times::stamp(known.until),
                    "changeType": touch.kind,
                    "resource": resource,
                    "resourceData": {
                        "@odata.type": "#Microsoft.Graph.Event",
                        "@odata.id": resource,
                        "@odata.etag": event::etag(touch.revision),
                        "id": event,
                    },
                    "clientState": known.client_state,
                    "tenantId": account.tenant,
                }));
            }
        }
        for (address, notices) in notices {
            courier.send(parcel(address, &notices));
        }
    }
}

fn parcel(address: &str, notices: &[Value]) -> Parcel {
    Parcel {
        address: address.to_owned(),
        headers: vec![("Content-Type".to_owned(), "application/json; charset=utf-8".to_owned())],
        body: json!({ "value": notices }).to_string(),
        ..Parcel::default()
    }
}
