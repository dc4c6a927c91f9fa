//! Everything the sandbox holds: accounts, calendars, feeds. Always used under one lock.

use std::collections::BTreeMap;

use crate::auth::Nonces;
use crate::caldav::account::{Account, AccountSpec};
use crate::caldav::calendar::{Calendar, CalendarSpec, Incoming};
use crate::caldav::profile::Profile;
use crate::courier::Courier;
use crate::edit::Edit;
use crate::error::SandboxError;
use crate::feed::Feed;
use crate::generator::{self, Sample};
use crate::google::Google;
use crate::graph::Graph;
use crate::ical::{self, Facts};
use crate::mail::MailSink;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) feeds: BTreeMap<String, Feed>,
    pub(crate) nonces: Nonces,
    /// Habits of accounts that have none of their own, and towards strangers.
    pub(crate) profile: Profile,
    /// The way out of notifications.
    pub(crate) courier: Courier,
    pub(crate) mail: MailSink,
    pub(crate) google: Google,
    pub(crate) graph: Graph,
    eras: u64,
}

impl World {
    pub(crate) fn new(seed: u64, profile: Profile, courier: Courier) -> Self {
        Self {
            accounts: BTreeMap::new(),
            feeds: BTreeMap::new(),
            nonces: Nonces::new(seed),
            profile,
            courier,
            mail: MailSink::default(),
            google: Google::new(seed),
            graph: Graph::new(seed),
            eras: 0,
        }
    }

    pub(crate) fn profile_of(&self, account: &str) -> &Profile {
        self.accounts.get(account).and_then(|account| account.spec.profile.as_ref()).unwrap_or(&self.profile)
    }

    pub(crate) fn account(&self, name: &str) -> Result<&Account, SandboxError> {
        self.accounts.get(name).ok_or_else(|| SandboxError::UnknownAccount(name.to_owned()))
    }

    pub(crate) fn account_mut(&mut self, name: &str) -> Result<&mut Account, SandboxError> {
        self.accounts.get_mut(name).ok_or_else(|| SandboxError::UnknownAccount(name.to_owned()))
    }

    pub(crate) fn calendar(&self, account: &str, slug: &str) -> Result<&Calendar, SandboxError> {
        self.account(account)?.calendars.get(slug).ok_or_else(|| unknown_calendar(account, slug))
    }

    pub(crate) fn calendar_mut(&mut self, account: &str, slug: &str) -> Result<&mut Calendar, SandboxError> {
        self.account_mut(account)?.calendars.get_mut(slug).ok_or_else(|| unknown_calendar(account, slug))
    }

    pub(crate) fn feed_mut(&mut self, name: &str) -> Result<&mut Feed, SandboxError> {
        self.feeds.get_mut(name).ok_or_else(|| SandboxError::UnknownFeed(name.to_owned()))
    }

    pub(crate) fn create_account(&mut self, mut spec: AccountSpec) -> Result<(), SandboxError> {
        if self.accounts.contains_key(&spec.name) {
            return Err(SandboxError::Exists(spec.name));
        }
        let name = spec.name.clone();
        let calendars = std::mem::take(&mut spec.calendars);
        self.accounts.insert(name.clone(), Account::new(spec));
        for calendar in calendars {
            self.create_calendar(&name, calendar)?;
        }
        Ok(())
    }

    pub(crate) fn create_calendar(&mut self, account: &str, spec: CalendarSpec) -> Result<(), SandboxError> {
        self.eras += 1;
        let era = self.eras;
        let account = self.account_mut(account)?;
        if account.calendars.contains_key(&spec.slug) {
            return Err(SandboxError::Exists(spec.slug));
        }
        account.calendars.insert(spec.slug.clone(), Calendar::new(spec, era));
        Ok(())
    }

    /// Makes every sync token that was given out for the calendar invalid.
    pub(crate) fn expire_tokens(&mut self, account: &str, slug: &str) -> Result<(), SandboxError> {
        self.eras += 1;
        let era = self.eras;
        self.calendar_mut(account, slug)?.era = era;
        Ok(())
    }

    /// Stores a text as another client would; returns the ETag without quotes.
    pub(crate) fn put(
        &mut self,
        (account, slug, name): (&str, &str, &str),
        body: &str,
        sample: Option<Box<Sample>>,
        now: i64,
    ) -> Result<String, SandboxError> {
        let facts = ical::inspect(body).map_err(|_| SandboxError::NotACalendarObject(name.to_owned()))?;
        self.store((account, slug), Incoming { name, body, facts, sample }, now)
    }

    /// Stores a text unread, as of a server with damaged data.
    pub(crate) fn plant(
        &mut self,
        (account, slug, name): (&str, &str, &str),
        body: &str,
        now: i64,
    ) -> Result<String, SandboxError> {
        let facts =
            Facts { uid: name.to_owned(), kind: "VEVENT".to_owned(), components: 1, span: (i64::MIN, None) };
        self.store((account, slug), Incoming { name, body, facts, sample: None }, now)
    }

    fn store(
        &mut self,
        (account, slug): (&str, &str),
        incoming: Incoming<'_>,
        now: i64,
    ) -> Result<String, SandboxError> {
        let profile = self.profile_of(account).clone();
        Ok(self.calendar_mut(account, slug)?.store(incoming, now, &profile).to_string())
    }

    pub(crate) fn delete(
        &mut self,
        account: &str,
        slug: &str,
        name: &str,
        now: i64,
    ) -> Result<(), SandboxError> {
        match self.calendar_mut(account, slug)?.remove(name, now) {
            Some(_) => Ok(()),
            None => Err(SandboxError::UnknownResource(name.to_owned())),
        }
    }

    /// Moves a resource to a calendar and name of the same account, over whatever is there.
    pub(crate) fn move_resource(
        &mut self,
        (account, slug, name): (&str, &str, &str),
        (to_slug, to_name): (&str, &str),
        now: i64,
    ) -> Result<(), SandboxError> {
        self.calendar(account, to_slug)?;
        let unknown = || SandboxError::UnknownResource(name.to_owned());
        let moved = self.calendar_mut(account, slug)?.remove(name, now).ok_or_else(unknown)?;
        let facts = moved.facts.clone();
        let sample = moved.sample.clone();
        let incoming = Incoming { name: to_name, body: &moved.body, facts, sample };
        self.store((account, to_slug), incoming, now)?;
        Ok(())
    }

    /// Makes one change as another client.
    pub(crate) fn apply(&mut self, edit: &Edit, now: i64) -> Result<(), SandboxError> {
        match edit {
            Edit::Put { account, calendar, name, body } => {
                self.put((account, calendar, name), body, None, now).map(drop)
            }
            Edit::Delete { account, calendar, name } => self.delete(account, calendar, name, now),
            Edit::Move { account, calendar, name, to } => {
                self.move_resource((account, calendar, name), (to, name), now)
            }
            Edit::Mutate { account, calendar, changes, seed } => {
                generator::mutate(self, account, calendar, *changes, *seed, now).map(drop)
            }
        }
    }
}

fn unknown_calendar(account: &str, slug: &str) -> SandboxError {
    SandboxError::UnknownCalendar { account: account.to_owned(), slug: slug.to_owned() }
}
