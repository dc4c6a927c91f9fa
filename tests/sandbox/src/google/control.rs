//! The controls of the simulated Google: accounts, other people's edits, tokens, habits.

use serde_json::{Map, Value, json};

use super::account::{GoogleAccountSpec, GoogleRole};
use super::calendar::text;
use super::call::Call;
use super::guests::SendUpdates;
use super::{GoogleHabits, ServiceAccount, conference, times};
use crate::control::Control;
use crate::error::SandboxError;
use crate::faults::Twist;
use crate::oauth::jwt::SigningKey;
use crate::oauth::tokens::Grant;
use crate::shared::Shared;
use crate::world::World;

/// The client id of tokens that controls give out.
const CONTROL_CLIENT: &str = "sandbox-control";

/// The scope of everything in Calendar.
const FULL_SCOPE: &str = "https://www.googleapis.com/auth/calendar";

/// The strings of the simulated Google; clones pull the same ones.
#[derive(Debug, Clone)]
pub struct GoogleControl {
    control: Control,
}

impl Control {
    /// The controls of the simulated Google.
    pub fn google(&self) -> GoogleControl {
        GoogleControl { control: self.clone() }
    }
}

fn unknown_calendar(who: &str, calendar: &str) -> SandboxError {
    SandboxError::UnknownCalendar { account: who.to_owned(), slug: calendar.to_owned() }
}

impl GoogleControl {
    fn shared(&self) -> &Shared {
        self.control.shared()
    }

    fn now(&self) -> i64 {
        self.control.clock().now()
    }

    /// Works on the world, then tells watchers.
    fn with<T>(&self, work: impl FnOnce(&mut World, i64) -> T) -> T {
        let now = self.now();
        let mut world = self.shared().world();
        let result = work(&mut world, now);
        let World { google, mail, courier, .. } = &mut *world;
        google.flush(mail, courier, &self.shared().url, now);
        result
    }

    /// Root of all its addresses, such as `http://127.0.0.1:40123/google`.
    pub fn url(&self) -> String {
        format!("{}/google", self.shared().url)
    }

    /// Changes the habits from now on.
    pub fn set_habits(&self, habits: GoogleHabits) {
        self.with(|world, _| world.google.habits = habits);
    }

    /// The habits.
    pub fn habits(&self) -> GoogleHabits {
        self.with(|world, _| world.google.habits.clone())
    }

    /// Makes an account with its primary calendar.
    ///
    /// # Errors
    /// [`SandboxError::Exists`].
    pub fn create_account(&self, spec: GoogleAccountSpec) -> Result<(), SandboxError> {
        self.with(|world, _| world.google.create_account(spec))
    }

    /// Changes an account's primary address, and with it the id of its primary calendar; the old id is not found.
    ///
    /// # Errors
    /// When there is no such account, or one of the new address.
    pub fn rename_account(&self, old: &str, new: &str) -> Result<(), SandboxError> {
        self.with(|world, now| world.google.rename_account(old, new, now))
    }

    /// Removes an account: nobody signs in or acts for it any more; whether there was one.
    pub fn remove_account(&self, email: &str) -> bool {
        self.with(|world, _| {
            world.google.tokens.revoke_account(email);
            world.google.accounts.remove(email).is_some()
        })
    }

    /// Makes a secondary calendar of an account; returns its id.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn create_calendar(&self, owner: &str, summary: &str) -> Result<String, SandboxError> {
        self.with(|world, _| {
            let account = world.google.accounts.get(owner);
            let zone =
                account.ok_or_else(|| SandboxError::UnknownAccount(owner.to_owned()))?.spec.time_zone.clone();
            Ok(world.google.create_calendar(owner, summary, &zone))
        })
    }

    /// Removes a calendar.
    pub fn remove_calendar(&self, calendar: &str) {
        self.with(|world, _| world.google.remove_calendar(calendar));
    }

    /// Gives somebody a role in a calendar and puts it on the list, or takes the role away; the sync tokens
    /// of its events die, as they do when rights change.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn share(&self, calendar: &str, with: &str, role: Option<GoogleRole>) -> Result<(), SandboxError> {
        self.with(|world, _| {
            let google = &mut world.google;
            let revision = google.next_revision();
            let known = google.calendars.get_mut(calendar).ok_or_else(|| unknown_calendar(with, calendar))?;
            known.era = revision;
            match role {
                Some(role) => drop(known.roles.insert(with.to_owned(), role)),
                None => drop(known.roles.remove(with)),
            }
            google.change_entry(with, calendar, |entry| entry.is_deleted = role.is_none());
            Ok(())
        })
    }

    /// An access token and a refresh token for an account, without the consent page.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn tokens(
        &self,
        email: &str,
        client: &str,
        scopes: &[&str],
    ) -> Result<(String, String), SandboxError> {
        self.with(|world, now| {
            if !world.google.accounts.contains_key(email) {
                return Err(SandboxError::UnknownAccount(email.to_owned()));
            }
            let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            let grant = Grant { client: client.to_owned(), account: email.to_owned(), scopes };
            let life_ms = i64::from(world.google.habits.access_token_s) * 1_000;
            let tokens = &mut world.google.tokens;
            let access = tokens.give_access("ya29.", grant.clone(), now + life_ms);
            Ok((access, tokens.give_refresh("1//0", grant, None, usize::MAX)))
        })
    }

    /// Makes a service account whose administrator allows these scopes; returns its key file as JSON.
    pub fn create_service_account(&self, email: &str, scopes: &[&str]) -> Option<Value> {
        let key = SigningKey::generate()?;
        let file = json!({
            "type": "service_account",
            "project_id": "sandbox",
            "private_key_id": key.kid(),
            "private_key": key.private_pem()?,
            "client_email": email,
            "client_id": "100000000000000000000",
            "auth_uri": format!("{}/o/oauth2/v2/auth", self.url()),
            "token_uri": format!("{}/token", self.url()),
        });
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.with(|world, _| {
            world.google.service_accounts.insert(email.to_owned(), ServiceAccount { key, scopes })
        });
        Some(file)
    }

    /// Signs with another key from now on.
    pub fn roll_key(&self) {
        let key = SigningKey::generate().map(std::sync::Arc::new);
        self.with(|world, _| world.google.key = key);
    }

    /// Ends the time of an account's access tokens.
    pub fn expire_access_tokens(&self, email: &str) {
        self.with(|world, now| world.google.tokens.expire_access(email, now));
    }

    /// Ends the time of an account's refresh tokens.
    pub fn expire_refresh_tokens(&self, email: &str) {
        self.with(|world, now| world.google.tokens.expire_refresh(email, now));
    }

    /// Ends all grants of an account, as the person does on Google's own pages.
    pub fn revoke(&self, email: &str) {
        self.with(|world, _| world.google.tokens.revoke_account(email));
    }

    /// Makes the sync tokens of a calendar's events invalid.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn expire_sync_tokens(&self, calendar: &str) -> Result<(), SandboxError> {
        self.with(|world, _| {
            let revision = world.google.next_revision();
            let known = world.google.calendars.get_mut(calendar);
            known.ok_or_else(|| unknown_calendar("", calendar))?.era = revision;
            Ok(())
        })
    }

    /// Makes the sync tokens of an account's list of calendars invalid.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn expire_list_tokens(&self, email: &str) -> Result<(), SandboxError> {
        self.with(|world, _| {
            let revision = world.google.next_revision();
            let known = world.google.accounts.get_mut(email);
            known.ok_or_else(|| SandboxError::UnknownAccount(email.to_owned()))?.era = revision;
            Ok(())
        })
    }

    /// Any call of the API as that person, past tokens, scopes, faults and the log: method, path below
    /// `calendar/v3/` with its query, body. Answers the status and the document.
    pub fn call(&self, who: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let now = self.now();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let twist = Twist::default();
        self.with(|world, _| {
            let headers = http::HeaderMap::new();
            let mut call = Call::new(
                (method, path, query),
                &headers,
                sent.as_bytes(),
                (&twist, &self.shared().url),
                now,
            );
            let scopes = vec![FULL_SCOPE.to_owned()];
            let grant = Grant { client: CONTROL_CLIENT.to_owned(), account: who.to_owned(), scopes };
            call.token = Some(world.google.tokens.give_access("ya29.", grant, now + 1));
            let limit = world.google.habits.requests_per_minute.take();
            let answer = super::one(&mut world.google, call);
            world.google.habits.requests_per_minute = limit;
            let document = serde_json::from_slice(&answer.body.into_bytes()).unwrap_or_default();
            (answer.status.as_u16(), document)
        })
    }

    /// An event as it is stored, or an instance as it would be.
    pub fn event(&self, calendar: &str, id: &str) -> Option<Value> {
        self.with(|world, now| world.google.find(calendar, id, now)).map(Value::Object)
    }

    /// All events of a calendar that are not cancelled, in the order of their changes.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn events(&self, calendar: &str) -> Result<Vec<Value>, SandboxError> {
        self.with(|world, _| {
            let known = world.google.calendars.get(calendar).ok_or_else(|| unknown_calendar("", calendar))?;
            let living = known.all().filter(|(_, stored)| !stored.is_cancelled);
            Ok(living.map(|(_, stored)| Value::Object(stored.map())).collect())
        })
    }

    /// How many events of a calendar are not cancelled.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn event_count(&self, calendar: &str) -> Result<usize, SandboxError> {
        self.with(|world, _| {
            let known = world.google.calendars.get(calendar).ok_or_else(|| unknown_calendar("", calendar))?;
            Ok(known.len())
        })
    }

    /// Stores an event past all checks, such as one of Gmail's; fields that Google makes are made.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn plant(&self, calendar: &str, event: &Value) -> Result<String, SandboxError> {
        self.with(|world, now| {
            let google = &mut world.google;
            if !google.calendars.contains_key(calendar) {
                return Err(unknown_calendar("", calendar));
            }
            let mut event: Map<String, Value> = event.as_object().cloned().unwrap_or_default();
            if text(&event, "id").is_empty() {
                event.insert("id".to_owned(), google.new_id().into());
            }
            let id = text(&event, "id").to_owned();
            for (name, value) in [
                ("kind", json!("calendar#event")),
                ("status", json!("confirmed")),
                ("created", json!(times::stamp(now))),
                ("iCalUID", json!(format!("{id}@google.com"))),
                ("organizer", json!({ "email": calendar, "self": true })),
                ("creator", json!({ "email": calendar, "self": true })),
                ("sequence", json!(0)),
                ("eventType", json!("default")),
                ("reminders", json!({ "useDefault": true })),
            ] {
                event.entry(name).or_insert(value);
            }
            google.put(calendar, event, now);
            Ok(id)
        })
    }

    /// Settles a pending conference by the habit of the moment.
    ///
    /// # Errors
    /// When there is no such event.
    pub fn settle_conference(&self, calendar: &str, id: &str) -> Result<(), SandboxError> {
        self.with(|world, now| {
            let google = &mut world.google;
            let unknown = || SandboxError::UnknownResource(id.to_owned());
            let before = google.find(calendar, id, now).ok_or_else(unknown)?;
            let mut after = before.clone();
            conference::settle(&mut after, google.habits.conference);
            let after = google.put(calendar, after, now);
            google.spread(calendar, Some(&before), &after, (SendUpdates::Nobody, now));
            Ok(())
        })
    }

    /// Ids of the open channels.
    pub fn channels(&self) -> Vec<String> {
        self.with(|world, now| world.google.open_channels(now))
    }

    /// Closes a channel silently; whether there was one.
    pub fn drop_channel(&self, id: &str) -> bool {
        self.with(|world, _| world.google.drop_channel(id))
    }
}
