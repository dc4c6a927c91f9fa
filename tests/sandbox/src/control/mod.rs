//! The sandbox's strings: everything a test, a demo or a person may do to the simulated providers.
//!
//! [`Control`] is for Rust; [`http`] offers the same under `/control/` for everybody else, and never adds to
//! the request log.

pub(crate) mod http;

use std::sync::Arc;

use serde::Serialize;

use crate::caldav::account::{AccountAccess, AccountSpec};
use crate::caldav::calendar::{Access, CalendarSpec, Reach};
use crate::caldav::encode;
use crate::caldav::profile::Profile;
use crate::clock::SandboxClock;
use crate::courier::{Delivery, NotificationHabits};
use crate::edit::{Edit, Mutation};
use crate::error::SandboxError;
use crate::faults::{Fault, FaultRule};
use crate::feed::{Feed, FeedSpec};
use crate::generator::{self, GeneratorPlan};
use crate::mail::Mail;
use crate::request_log::RequestLog;
use crate::shared::Shared;

/// A resource as the server holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredResource {
    /// Its name in the calendar, such as `a.ics`.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its text.
    pub body: Arc<str>,
}

/// Drives a sandbox; clones drive the same one.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) shared: Arc<Shared>,
}

impl Control {
    /// Scheme and authority, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The sandbox's clock; moving it moves every stamp the sandbox gives out.
    pub fn clock(&self) -> &SandboxClock {
        &self.shared.clock
    }

    /// Every request so far.
    pub fn log(&self) -> &RequestLog {
        &self.shared.log
    }

    /// Back to the beginning: no accounts, feeds, faults or requests.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Creates an account with its calendars.
    ///
    /// # Errors
    /// When the name is taken, or two of the calendars have one slug.
    pub fn create_account(&self, spec: AccountSpec) -> Result<AccountAccess, SandboxError> {
        let access = self.access(&spec.name, &spec.secret);
        self.shared.world().create_account(spec)?;
        Ok(access)
    }

    fn access(&self, name: &str, secret: &str) -> AccountAccess {
        AccountAccess {
            url: self.shared.url.clone(),
            home: format!("{}/dav/calendars/{}/", self.shared.url, encode(name)),
            username: name.to_owned(),
            secret: secret.to_owned(),
        }
    }

    /// Where and how to reach each account.
    pub fn accounts(&self) -> Vec<AccountAccess> {
        let world = self.shared.world();
        world.accounts.values().map(|account| self.access(&account.spec.name, &account.spec.secret)).collect()
    }

    /// Removes an account with all it has.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn remove_account(&self, account: &str) -> Result<(), SandboxError> {
        let removed = self.shared.world().accounts.remove(account);
        removed.map(drop).ok_or_else(|| SandboxError::UnknownAccount(account.to_owned()))
    }

    /// Changes the password or bearer token of an account.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn set_secret(&self, account: &str, secret: &str) -> Result<(), SandboxError> {
        secret.clone_into(&mut self.shared.world().account_mut(account)?.spec.secret);
        Ok(())
    }

    /// Changes the habits of an account's server; texts that are stored already keep their form.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn set_profile(&self, account: &str, profile: Profile) -> Result<(), SandboxError> {
        self.shared.world().account_mut(account)?.spec.profile = Some(profile);
        Ok(())
    }

    /// Adds a calendar to an account.
    ///
    /// # Errors
    /// When there is no such account, or the slug is taken.
    pub fn create_calendar(&self, account: &str, spec: CalendarSpec) -> Result<(), SandboxError> {
        self.shared.world().create_calendar(account, spec)
    }

    /// Removes a calendar with all it holds.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn remove_calendar(&self, account: &str, calendar: &str) -> Result<(), SandboxError> {
        let mut world = self.shared.world();
        world.calendar(account, calendar)?;
        world.account_mut(account)?.calendars.remove(calendar);
        Ok(())
    }

    /// Slugs of an account's calendars.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn calendars(&self, account: &str) -> Result<Vec<String>, SandboxError> {
        Ok(self.shared.world().account(account)?.calendars.keys().cloned().collect())
    }

    /// Changes what the account's owner may do in a calendar.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn set_access(&self, account: &str, calendar: &str, access: Access) -> Result<(), SandboxError> {
        self.shared.world().calendar_mut(account, calendar)?.spec.access = access;
        Ok(())
    }

    /// Takes a calendar away, forbids it, or gives it back with what it held.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn set_reach(&self, account: &str, calendar: &str, reach: Reach) -> Result<(), SandboxError> {
        self.shared.world().calendar_mut(account, calendar)?.reach = reach;
        Ok(())
    }

    /// Changes a calendar's title and colour.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn rename_calendar(
        &self,
        account: &str,
        calendar: &str,
        title: &str,
        color: Option<&str>,
    ) -> Result<(), SandboxError> {
        let mut world = self.shared.world();
        let spec = &mut world.calendar_mut(account, calendar)?.spec;
        spec.title = Some(title.to_owned());
        spec.color = color.map(str::to_owned);
        Ok(())
    }

    /// Stores a VCALENDAR as another client; returns its ETag without quotes.
    ///
    /// # Errors
    /// When there is no such calendar, or the text is not one object of one UID.
    pub fn put(&self, account: &str, calendar: &str, name: &str, body: &str) -> Result<String, SandboxError> {
        self.shared.world().put((account, calendar, name), body, None, self.now())
    }

    /// Stores any text without looking at it, as of a server with damaged data.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn plant(
        &self,
        account: &str,
        calendar: &str,
        name: &str,
        body: &str,
    ) -> Result<String, SandboxError> {
        self.shared.world().plant((account, calendar, name), body, self.now())
    }

    /// Removes a resource as another client.
    ///
    /// # Errors
    /// When there is no such resource.
    pub fn delete(&self, account: &str, calendar: &str, name: &str) -> Result<(), SandboxError> {
        self.shared.world().delete(account, calendar, name, self.now())
    }

    /// Moves a resource to another calendar of the account as another client.
    ///
    /// # Errors
    /// When there is no such resource or calendar.
    pub fn move_to(&self, account: &str, calendar: &str, name: &str, to: &str) -> Result<(), SandboxError> {
        self.shared.world().move_resource((account, calendar, name), (to, name), self.now())
    }

    /// Makes one change as another client.
    ///
    /// # Errors
    /// As the change's own method.
    pub fn apply(&self, edit: &Edit) -> Result<(), SandboxError> {
        self.shared.world().apply(edit, self.now())
    }

    /// All that a calendar holds, by name.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn resources(&self, account: &str, calendar: &str) -> Result<Vec<StoredResource>, SandboxError> {
        let world = self.shared.world();
        let stored = world.calendar(account, calendar)?.resources().map(|(name, resource)| StoredResource {
            name: name.to_string(),
            uid: resource.facts.uid.clone(),
            etag: resource.etag.to_string(),
            body: Arc::clone(&resource.body),
        });
        Ok(stored.collect())
    }

    /// How many resources a calendar holds.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn resource_count(&self, account: &str, calendar: &str) -> Result<usize, SandboxError> {
        Ok(self.shared.world().calendar(account, calendar)?.len())
    }

    /// Fills a calendar with generated events; returns how many.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn generate(
        &self,
        account: &str,
        calendar: &str,
        plan: GeneratorPlan,
    ) -> Result<usize, SandboxError> {
        generator::fill(&mut self.shared.world(), (account, calendar), plan, self.now())
    }

    /// Makes random edits, creates, moves and deletes in a calendar.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn mutate(
        &self,
        account: &str,
        calendar: &str,
        changes: usize,
        seed: u64,
    ) -> Result<Vec<Mutation>, SandboxError> {
        generator::mutate(&mut self.shared.world(), account, calendar, changes, seed, self.now())
    }

    /// Makes every sync token that was given out for a calendar invalid.
    ///
    /// # Errors
    /// When there is no such calendar.
    pub fn expire_tokens(&self, account: &str, calendar: &str) -> Result<(), SandboxError> {
        self.shared.world().expire_tokens(account, calendar)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The mail that providers would have sent, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.world().mail.all().to_vec()
    }

    /// Forgets that mail.
    pub fn clear_mails(&self) {
        self.shared.world().mail.clear();
    }

    /// Changes what happens to notifications from now on.
    pub fn set_notification_habits(&self, habits: NotificationHabits) {
        self.shared.courier.set_habits(habits);
    }

    /// The notifications that were sent, and what their receivers said.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.courier.deliveries()
    }

    /// Lets requests go wrong.
    pub fn inject(&self, rule: FaultRule) {
        self.shared.faults.inject(rule);
    }

    /// Lets the next request go wrong, whatever it is.
    pub fn fail_next(&self, fault: Fault) {
        self.inject(FaultRule::next(fault));
    }

    /// The rules that have not struck as often as they may.
    pub fn faults(&self) -> Vec<FaultRule> {
        self.shared.faults.waiting()
    }

    /// Lets nothing go wrong any more.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Creates a feed, or changes the habits of one; returns its address.
    pub fn set_feed(&self, name: &str, spec: FeedSpec) -> String {
        let now = self.now();
        let mut world = self.shared.world();
        match world.feeds.get_mut(name) {
            Some(feed) => {
                feed.spec = spec;
                feed.touch(now);
            }
            None => drop(world.feeds.insert(name.to_owned(), Feed::new(spec, now))),
        }
        format!("{}/feeds/{}.ics", self.shared.url, encode(name))
    }

    /// Removes a feed.
    ///
    /// # Errors
    /// When there is no such feed.
    pub fn remove_feed(&self, name: &str) -> Result<(), SandboxError> {
        let removed = self.shared.world().feeds.remove(name);
        removed.map(drop).ok_or_else(|| SandboxError::UnknownFeed(name.to_owned()))
    }

    /// Puts the components of a VCALENDAR into a feed, under a name by which they can be replaced.
    ///
    /// # Errors
    /// When there is no such feed.
    pub fn put_in_feed(&self, feed: &str, name: &str, body: &str) -> Result<(), SandboxError> {
        let now = self.now();
        self.shared.world().feed_mut(feed)?.put(name, body, now);
        Ok(())
    }

    /// Takes components out of a feed.
    ///
    /// # Errors
    /// When there is no such feed or name.
    pub fn remove_from_feed(&self, feed: &str, name: &str) -> Result<(), SandboxError> {
        let now = self.now();
        let removed = self.shared.world().feed_mut(feed)?.remove(name, now);
        if removed { Ok(()) } else { Err(SandboxError::UnknownResource(name.to_owned())) }
    }

    fn now(&self) -> i64 {
        self.shared.clock.now()
    }
}
