//! The controls of the simulated Microsoft: accounts, other people's edits, tokens, habits.

use serde_json::Value;

use super::account::MicrosoftAccountSpec;
use super::call::{Call, Preferences};
use super::subscriptions::GraphLifecycle;
use super::{Graph, GraphHabits, event};
use crate::control::Control;
use crate::error::SandboxError;
use crate::faults::Twist;
use crate::oauth::jwt::SigningKey;
use crate::oauth::tokens::Grant;
use crate::shared::Shared;
use crate::world::World;

/// The client id of tokens that controls give out.
const CONTROL_CLIENT: &str = "sandbox-control";

/// Scopes for everything that is simulated.
const ALL_SCOPES: [&str; 3] = ["User.Read", "Calendars.ReadWrite", "MailboxSettings.Read"];

/// The strings of the simulated Microsoft; clones pull the same ones.
#[derive(Debug, Clone)]
pub struct MicrosoftControl {
    control: Control,
}

impl Control {
    /// The controls of the simulated Microsoft.
    pub fn microsoft(&self) -> MicrosoftControl {
        MicrosoftControl { control: self.clone() }
    }
}

fn unknown(calendar: &str) -> SandboxError {
    SandboxError::UnknownCalendar { account: String::new(), slug: calendar.to_owned() }
}

impl MicrosoftControl {
    fn shared(&self) -> &Shared {
        self.control.shared()
    }

    /// Works on the world, then tells subscribers.
    fn with<T>(&self, work: impl FnOnce(&mut World, i64) -> T) -> T {
        let now = self.control.clock().now();
        let mut world = self.shared().world();
        let result = work(&mut world, now);
        super::flush(&mut world, now);
        result
    }

    fn graph<T>(
        &self,
        work: impl FnOnce(&mut Graph, i64) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        self.with(|world, now| work(&mut world.graph, now))
    }

    /// Root of all its addresses, such as `http://127.0.0.1:40123/microsoft`.
    pub fn url(&self) -> String {
        format!("{}/microsoft", self.shared().url)
    }

    /// Root of Graph, with a slash at its end.
    pub fn api_url(&self) -> String {
        format!("{}/v1.0/", self.url())
    }

    /// Changes the habits from now on.
    pub fn set_habits(&self, habits: GraphHabits) {
        self.with(|world, _| world.graph.habits = habits);
    }

    /// The habits.
    pub fn habits(&self) -> GraphHabits {
        self.with(|world, _| world.graph.habits.clone())
    }

    /// Makes an account with its default calendar.
    ///
    /// # Errors
    /// [`SandboxError::Exists`].
    pub fn create_account(&self, spec: MicrosoftAccountSpec) -> Result<(), SandboxError> {
        self.graph(|graph, _| graph.create_account(spec))
    }

    /// Changes an account's primary address; the ids of its calendars stay.
    ///
    /// # Errors
    /// When there is no such account, or one of the new address.
    pub fn rename_account(&self, old: &str, new: &str) -> Result<(), SandboxError> {
        self.graph(|graph, now| graph.rename_account(old, new, now))
    }

    /// The id of an account's default calendar.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn default_calendar(&self, email: &str) -> Result<String, SandboxError> {
        self.graph(|graph, _| {
            let account = graph.accounts.get(email);
            let account = account.ok_or_else(|| SandboxError::UnknownAccount(email.to_owned()))?;
            Ok(account.default_calendar.clone())
        })
    }

    /// Makes a further calendar of an account; returns its id.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn create_calendar(&self, owner: &str, name: &str) -> Result<String, SandboxError> {
        self.graph(|graph, _| {
            if !graph.accounts.contains_key(owner) {
                return Err(SandboxError::UnknownAccount(owner.to_owned()));
            }
            Ok(graph.create_calendar(owner, name))
        })
    }

    /// Removes a calendar with all it holds.
    pub fn remove_calendar(&self, calendar: &str) {
        self.with(|world, _| world.graph.remove_calendar(calendar));
    }

    /// Lets somebody see a calendar, and edit it or not; `None` takes it off the list.
    ///
    /// # Errors
    /// When there is no such calendar or account.
    pub fn share(&self, calendar: &str, with: &str, can_edit: Option<bool>) -> Result<(), SandboxError> {
        self.graph(|graph, _| {
            let known = graph.calendars.get_mut(calendar).ok_or_else(|| unknown(calendar))?;
            match can_edit {
                Some(can_edit) => drop(known.roles.insert(with.to_owned(), can_edit)),
                None => drop(known.roles.remove(with)),
            }
            let account = graph.accounts.get_mut(with);
            let account = account.ok_or_else(|| SandboxError::UnknownAccount(with.to_owned()))?;
            account.calendars.retain(|id| id != calendar);
            if can_edit.is_some() {
                account.calendars.push(calendar.to_owned());
            }
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
        self.graph(|graph, now| {
            if !graph.accounts.contains_key(email) {
                return Err(SandboxError::UnknownAccount(email.to_owned()));
            }
            let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            let grant = Grant { client: client.to_owned(), account: email.to_owned(), scopes };
            let life_ms = i64::from(graph.habits.access_token_s) * 1_000;
            let access = graph.tokens.give_access("EwB", grant.clone(), now + life_ms);
            Ok((access, graph.tokens.give_refresh("0.AR", grant, None, usize::MAX)))
        })
    }

    /// Signs with another key from now on.
    pub fn roll_key(&self) {
        let key = SigningKey::generate().map(std::sync::Arc::new);
        self.with(|world, _| world.graph.key = key);
    }

    /// Ends the time of an account's access tokens.
    pub fn expire_access_tokens(&self, email: &str) {
        self.with(|world, now| world.graph.tokens.expire_access(email, now));
    }

    /// Ends the time of an account's refresh tokens.
    pub fn expire_refresh_tokens(&self, email: &str) {
        self.with(|world, now| world.graph.tokens.expire_refresh(email, now));
    }

    /// Ends all grants of an account, as an administrator does who revokes its sessions.
    pub fn revoke(&self, email: &str) {
        self.with(|world, _| world.graph.tokens.revoke_account(email));
    }

    /// Refuses refreshes of an account with an AADSTS number, such as 50076 (multi-factor authentication) or
    /// 65001 (consent); `None` refuses no more.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn refuse_refresh(&self, email: &str, number: Option<u32>) -> Result<(), SandboxError> {
        self.graph(|graph, _| {
            let account = graph.accounts.get_mut(email);
            account.ok_or_else(|| SandboxError::UnknownAccount(email.to_owned()))?.refusal = number;
            Ok(())
        })
    }

    /// Makes the delta links of a calendar's events invalid.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn expire_deltas(&self, calendar: &str) -> Result<(), SandboxError> {
        self.graph(|graph, _| {
            let revision = graph.next_revision();
            graph.calendars.get_mut(calendar).ok_or_else(|| unknown(calendar))?.era = revision;
            Ok(())
        })
    }

    /// Any call of Graph as that person, past tokens, scopes, limits, faults and the log: method, path below
    /// `v1.0/` with its query, body. Ids are immutable ones. Answers the status and the document.
    pub fn call(&self, who: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let twist = Twist::default();
        self.with(|world, now| {
            let headers = http::HeaderMap::new();
            let url = &self.shared().url;
            let mut call = Call::new(
                (method, path.trim_start_matches('/')),
                &headers,
                sent.as_bytes(),
                (&twist, url),
                now,
            );
            call.prefer = Preferences::immutable();
            let scopes = ALL_SCOPES.map(str::to_owned).to_vec();
            let grant = Grant { client: CONTROL_CLIENT.to_owned(), account: who.to_owned(), scopes };
            call.token = Some(world.graph.tokens.give_access("EwB", grant, now + 1));
            let limit = world.graph.habits.requests_per_ten_minutes.take();
            let answer = super::one(&mut world.graph, call);
            world.graph.habits.requests_per_ten_minutes = limit;
            let document = serde_json::from_slice(&answer.body.into_bytes()).unwrap_or_default();
            (answer.status.as_u16(), document)
        })
    }

    /// Moves an event to another calendar of the mailbox, as a person does in Outlook: its default id changes.
    ///
    /// # Errors
    /// When there is no such event or calendar.
    pub fn move_event(&self, who: &str, event: &str, to: &str) -> Result<(), SandboxError> {
        self.graph(|graph, now| {
            let missing = |_| SandboxError::UnknownResource(event.to_owned());
            graph.open(who, to).map_err(|_| unknown(to))?;
            let found = graph.find(who, event).map_err(missing)?;
            let Some(mut moved) = graph.take(&found.calendar, found.serial) else { return Ok(()) };
            moved.moves += 1;
            graph.put(to, moved, now);
            Ok(())
        })
    }

    /// An event or occurrence of somebody's, with times in UTC and immutable ids.
    pub fn event(&self, who: &str, id: &str) -> Option<Value> {
        self.with(|world, _| {
            let found = world.graph.find(who, id).ok()?;
            let stored = world.graph.stored(&found).ok()?;
            Some(Value::Object(event::show(stored, found.day, &Preferences::immutable())))
        })
    }

    /// All single events and series of a calendar, in the order of their changes.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn events(&self, calendar: &str) -> Result<Vec<Value>, SandboxError> {
        self.graph(|graph, _| {
            let known = graph.calendars.get(calendar).ok_or_else(|| unknown(calendar))?;
            let show = |stored| Value::Object(event::show(stored, None, &Preferences::immutable()));
            Ok(known.all().map(show).collect())
        })
    }

    /// Ids of the living subscriptions.
    pub fn subscriptions(&self) -> Vec<String> {
        self.with(|world, now| world.graph.living_subscriptions(now))
    }

    /// Ends a subscription silently; whether there was one.
    pub fn drop_subscription(&self, id: &str) -> bool {
        self.with(|world, _| world.graph.subscriptions.remove(id).is_some())
    }

    /// Tells a subscription's lifecycle address of an event, which takes effect; whether there was one.
    pub fn tell_lifecycle(&self, id: &str, event: GraphLifecycle) -> bool {
        self.with(|world, _| world.graph.tell_lifecycle(&world.courier, id, event))
    }

    /// How many events and series a calendar holds.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn event_count(&self, calendar: &str) -> Result<usize, SandboxError> {
        self.graph(|graph, _| Ok(graph.calendars.get(calendar).ok_or_else(|| unknown(calendar))?.len()))
    }
}
