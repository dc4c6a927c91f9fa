//! Channels: who wants to be told when a collection changes.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Google;
use super::calendar::text;
use super::call::{Call, Reply};
use super::error::ApiError;
use super::fields::set;
use crate::clock;
use crate::courier::{Courier, Parcel};
use crate::mail::MailSink;

/// Longest id of a channel.
const MOST_ID: usize = 64;

/// What a channel watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Collection {
    /// The events of a calendar.
    Events(String),
    /// The caller's list of calendars.
    List,
}

#[derive(Debug)]
pub(crate) struct Channel {
    collection: Collection,
    who: String,
    address: String,
    token: Option<String>,
    resource: String,
    until: i64,
    number: u64,
    /// The message that opens the channel is still to be sent.
    is_new: bool,
}

impl Google {
    pub(crate) fn watch(&mut self, call: &Call<'_>, collection: Collection) -> Result<Reply, ApiError> {
        let sent = call.document()?;
        let id = text(&sent, "id").to_owned();
        if id.is_empty() || id.len() > MOST_ID {
            return Err(ApiError::required("Missing or too long channel id."));
        }
        if text(&sent, "type") != "web_hook" {
            return Err(ApiError::invalid("Unknown channel type."));
        }
        let address = text(&sent, "address").to_owned();
        if !(address.starts_with("https://") || (!self.habits.https_only && address.starts_with("http://"))) {
            return Err(ApiError::new(
                400,
                "global",
                "push.webhookUrlNotHttps",
                "WebHook callback must be HTTPS",
            ));
        }
        if self.channels.contains_key(&id) {
            return Err(ApiError::new(400, "global", "channelIdNotUnique", "Channel id not unique"));
        }
        let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
        let most = call.now + i64::from(self.habits.channel_s) * 1_000;
        let ttl = sent.get("params").and_then(|params| params.get("ttl")).and_then(number);
        let asked = [sent.get("expiration").and_then(number), ttl.map(|seconds| call.now + seconds * 1_000)];
        let until = asked.into_iter().flatten().fold(most, i64::min);
        let (name, uri) = match &collection {
            Collection::Events(calendar) => {
                (calendar.clone(), format!("calendars/{}/events", crate::caldav::encode(calendar)))
            }
            Collection::List => (format!("list {}", call.who), "users/me/calendarList".to_owned()),
        };
        let hash = Sha256::digest(format!("resource {} {name}", self.seed));
        let resource = hex::encode(hash.get(..12).unwrap_or_default());
        let token = sent.get("token").and_then(Value::as_str).map(str::to_owned);
        let mut answer = json!({
            "kind": "api#channel",
            "id": id,
            "resourceId": resource,
            "resourceUri": format!("{}/google/calendar/v3/{uri}?alt=json", call.url),
            "expiration": until.to_string(),
        });
        if let Some(token) = &token {
            set(&mut answer, "token", json!(token));
        }
        let channel = Channel {
            collection,
            who: call.who.clone(),
            address,
            token,
            resource,
            until,
            number: 0,
            is_new: true,
        };
        self.channels.insert(id, channel);
        Ok(Reply::Document(answer))
    }

    pub(crate) fn stop_channel(&mut self, call: &Call<'_>) -> Result<Reply, ApiError> {
        let sent = call.document()?;
        let id = text(&sent, "id");
        let missing = || ApiError::new(404, "global", "notFound", "Channel not found for project");
        let channel = self.channels.get(id).ok_or_else(missing)?;
        if channel.resource != text(&sent, "resourceId") || channel.who != call.who {
            return Err(missing());
        }
        self.channels.remove(id);
        Ok(Reply::Empty)
    }

    /// The channels of an account are its own under its new address; those of its primary calendar watch an id that is
    /// no more.
    pub(crate) fn rename_channels(&mut self, old: &str, new: &str) {
        for channel in self.channels.values_mut().filter(|channel| channel.who == old) {
            new.clone_into(&mut channel.who);
        }
    }

    /// Ids of the channels that are open at that time.
    pub(crate) fn open_channels(&self, now: i64) -> Vec<String> {
        self.channels.iter().filter(|(_, channel)| channel.until > now).map(|(id, _)| id.clone()).collect()
    }

    /// Closes a channel without a word; whether there was one.
    pub(crate) fn drop_channel(&mut self, id: &str) -> bool {
        self.channels.remove(id).is_some()
    }

    /// Tells watchers of what changed, and passes on the mail.
    pub(crate) fn flush(&mut self, mails: &mut MailSink, courier: &Courier, url: &str, now: i64) {
        for mail in std::mem::take(&mut self.mails) {
            mails.put(mail);
        }
        let changed = std::mem::take(&mut self.changed);
        let lists = std::mem::take(&mut self.changed_lists);
        self.channels.retain(|_, channel| channel.until > now);
        for (id, channel) in &mut self.channels {
            if channel.is_new {
                channel.is_new = false;
                courier.send(Parcel { is_handshake: true, ..channel.message(id, "sync", url) });
                continue;
            }
            let is_touched = match &channel.collection {
                Collection::Events(calendar) => changed.contains(calendar),
                Collection::List => lists.contains(&channel.who),
            };
            if is_touched {
                courier.send(channel.message(id, "exists", url));
            }
        }
    }
}

impl Channel {
    fn message(&mut self, id: &str, state: &str, url: &str) -> Parcel {
        // Numbers rise, but not by one.
        self.number += if self.number == 0 { 1 } else { 3 };
        let path = match &self.collection {
            Collection::Events(calendar) => format!("calendars/{}/events", crate::caldav::encode(calendar)),
            Collection::List => "users/me/calendarList".to_owned(),
        };
        let mut headers = vec![
            (
                "User-Agent",
                "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)".to_owned(),
            ),
            ("X-Goog-Channel-ID", id.to_owned()),
            ("X-Goog-Message-Number", self.number.to_string()),
            ("X-Goog-Resource-ID", self.resource.clone()),
            ("X-Goog-Resource-State", state.to_owned()),
            ("X-Goog-Resource-URI", format!("{url}/google/calendar/v3/{path}?alt=json")),
            ("X-Goog-Channel-Expiration", clock::http_date(self.until)),
        ];
        if let Some(token) = &self.token {
            headers.push(("X-Goog-Channel-Token", token.clone()));
        }
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Parcel { address: self.address.clone(), headers, ..Parcel::default() }
    }
}
