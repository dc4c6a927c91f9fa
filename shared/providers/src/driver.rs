//! What every provider can be asked, and how it fails.
//!
//! A driver is opened for one account. It builds a request, sends it through the guarded client, and parses and
//! normalises the answer; everything but the sending is pure. Callers see provider-neutral values only.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{
    Authentication, Event, InstanceRef, Listing, Member, Notify, ProviderId, ProviderKind, RecurrenceId,
    RemoteCalendar, RemoteChange, RemoteEvent, Revision, SyncToken,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use url::Url;
use uuid::Uuid;

pub use crate::errand::Errand;
use crate::limit::Scope;
pub use crate::limit::{Payer, Urgency};
use crate::marker::Marks;
pub use crate::problem::Problem;

/// Everything a driver needs to know of the account it works for.
#[derive(Debug, Clone)]
pub struct Account {
    /// Which provider.
    pub provider: ProviderKind,
    /// Where it starts: the context or feed URL; discovery may have moved it.
    pub url: Url,
    /// How it proves who it is.
    pub authentication: Authentication,
    /// User name for password authentication.
    pub username: Option<String>,
    /// Password or bearer token.
    pub secret: Option<SecretString>,
    /// What the last probe found; `None` before the first.
    pub capabilities: Option<Capabilities>,
    /// Out of whose budgets it is asked.
    pub payer: Payer,
    /// How what we make in it is marked.
    pub marks: Marks,
}

/// Which calendar, as the provider knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarRef {
    /// The provider's id; a CalDAV collection's href, `feed`.
    pub provider_id: ProviderId,
    /// IANA name of the zone in which floating times without any better hint are read.
    pub time_zone: Option<String>,
    /// What the driver said of it when it last looked ([`RemoteCalendar::setting`]); `None` when that is not known.
    pub setting: Option<String>,
}

impl From<&RemoteCalendar> for CalendarRef {
    fn from(remote: &RemoteCalendar) -> Self {
        let (provider_id, time_zone) = (remote.provider_id.clone(), remote.time_zone.clone());
        Self { provider_id, time_zone, setting: remote.setting.clone() }
    }
}

/// Where a listing starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// At the beginning: everything there is.
    Beginning,
    /// At the beginning as well, with the cursor of the last complete listing for a memory: some providers name
    /// their items by what they named before. Whoever has no use for it takes it for [`Since::Beginning`].
    Again(SyncToken),
    /// At the cursor of the last complete listing: what changed since.
    Token(SyncToken),
    /// In the middle of a listing, at the page token it gave ([`Next::Page`]).
    Page(String),
}

/// One page of a listing.
///
/// Providers that list contents put them into `changes`. CalDAV lists names and revisions first: those stream
/// through the channel given to [`Driver::list_changes`], and contents are fetched by [`Driver::read`].
#[derive(Debug)]
pub struct ChangePage {
    /// Whether this listing is of everything or of what changed; the same on all its pages.
    pub listing: Listing,
    /// Our clock, taken before the request was sent.
    pub requested_at: Timestamp,
    /// What the listing tells about; the same on all its pages.
    pub coverage: Coverage,
    /// Items with content, and deletions the provider named.
    pub changes: Vec<RemoteChange>,
    /// What the page says of the calendar itself ([`RemoteCalendar::setting`]); `None` when it says nothing.
    pub setting: Option<String>,
    /// How it goes on.
    pub next: Next,
}

/// How a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// There are more pages.
    Page(String),
    /// This was the last page; the next listing starts at this cursor.
    Token(SyncToken),
    /// This was the last page and the provider gave no cursor: the next listing is of everything.
    NoToken,
}

/// How changes are found at a server; the first that works is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListingMode {
    /// Deltas by a provider's own token (`sync-collection`, Google, Graph).
    SyncToken,
    /// A tag of the whole collection, then names and entity tags of everything.
    Ctag,
    /// Names and entity tags of everything, each time.
    EntityTags,
    /// One document by conditional GET.
    Document,
}

/// What a driver can do for an account: what is refused before the call. Stored with the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each says yes or no to one thing that can be asked")]
pub struct Capabilities {
    /// How changes are found.
    pub listing: ListingMode,
    /// Whether [`Driver::read`] works, singly and in batches.
    pub reads_singly: bool,
    /// Most ids in one [`Driver::read`]; at least 1.
    pub read_batch: usize,
    /// Whether events can be written at all.
    pub writes: bool,
    /// Most errands in one [`Driver::together`] that save requests; 1 where nothing travels together.
    #[serde(default = "singly")]
    pub write_batch: usize,
    /// Whether the server schedules by itself (mails invitations).
    pub schedules: bool,
    /// Whether [`Driver::watch`] works.
    #[serde(default)]
    pub watches: bool,
}

fn singly() -> usize {
    1
}

/// What a complete listing tells about: absence means something only inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Everything in the calendar.
    Everything,
    /// What has not ended yet: publishers of feeds drop the past when their window rolls on.
    NotEnded,
    /// What touches `[from, until)`.
    Window {
        /// Its beginning.
        from: Timestamp,
        /// Its end, exclusive.
        until: Timestamp,
    },
}

/// A wish to be told of changes.
#[derive(Debug, Clone)]
pub struct WatchRequest {
    /// Our name for the watch, new for each.
    pub id: Uuid,
    /// Where notifications are to be sent.
    pub url: Url,
    /// What each notification must bring along.
    pub secret: SecretString,
    /// Until when it is wanted; providers may make it shorter.
    pub until: Timestamp,
}

/// A watch that a provider has agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The provider's name for it: the channel's id at Google, the subscription's at Microsoft.
    pub id: String,
    /// The second name that Google wants to hear when it is stopped.
    pub resource: Option<String>,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// What is to be true of one event at the provider.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// The object: one that we hold, or the name that [`crate::naming`] gave a new one.
    pub provider_id: &'a ProviderId,
    /// What is to be done.
    pub change: Change<'a>,
    /// Whom the provider may mail about it.
    pub notify: Notify,
    /// What is said to them, where something is called off and the provider can carry it.
    pub message: Option<&'a str>,
}

/// What is to be done to an event.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// It is made, under a name of ours. One that is there already under that name, because the answer to an earlier
    /// attempt was lost, is answered as it is and not made again.
    Create(&'a Event),
    /// It is changed in place, so that it says `after`. Only what differs from `held.event` is written.
    Update {
        /// What both sides last agreed on.
        held: Agreed<'a>,
        /// What it shall say.
        after: &'a Event,
    },
    /// It is deleted.
    Delete {
        /// What both sides last agreed on.
        held: Agreed<'a>,
    },
}

/// The state of an object that both sides last agreed on: what a write is made against.
#[derive(Debug, Clone, Copy)]
pub struct Agreed<'a> {
    /// What it says.
    pub event: &'a Event,
    /// Its revision: the write is refused when the provider has another one.
    pub revision: Option<&'a Revision>,
    /// The payload verbatim, to be patched.
    pub raw: Option<&'a str>,
    /// Objects of their own behind overrides.
    pub instances: &'a BTreeMap<RecurrenceId, InstanceRef>,
}

/// What came of a write, or a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The object as the provider holds it after the write, whole: what both sides agree on from now on.
    Held(Box<RemoteEvent>),
    /// There is no such object any more: it was deleted now, or had been since.
    Gone,
}

/// What a probe of an account found, for storage and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// What follows from it.
    pub capabilities: Capabilities,
    /// The URL to use from now on (permanent redirects and discovery applied).
    pub url: Url,
    /// The provider's stable id of the account: a principal URL, the hash of a feed's URL.
    pub account: String,
    /// One line per thing looked at, in the order of the looking.
    pub findings: Vec<Finding>,
}

/// One thing a probe looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at: "sync-collection", "entity tag after PUT".
    pub subject: String,
    /// Whether it works.
    pub verdict: Verdict,
    /// What was seen, and what follows for people.
    pub detail: String,
}

/// Whether something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It does.
    Yes,
    /// It does not; something else is used instead.
    No,
    /// Could not be found out.
    Unknown,
}

/// One account at one provider.
#[async_trait]
pub trait Driver: Send + Sync + fmt::Debug {
    /// What can be asked of this account; from the stored probe, else the most cautious assumption.
    fn capabilities(&self) -> Capabilities;

    /// How many requests this driver has sent since it was opened, repeats and redirects included.
    fn requests_sent(&self) -> u64 {
        0
    }

    /// How long the provider asks us to wait between polls, as far as the last listing said.
    fn poll_interval(&self) -> Option<Duration> {
        None
    }

    /// Finds out where the account lives and what its server can do. Writes nothing at the provider.
    ///
    /// # Errors
    /// Any class; the error's problem says in words what a person can do.
    async fn probe(&self) -> Result<ProbeReport, DriverError>;

    /// The account's calendars that can hold events, in the provider's order.
    ///
    /// # Errors
    /// Any class but [`FailureClass::Gone`] and [`FailureClass::Conflict`].
    async fn list_calendars(&self) -> Result<Vec<RemoteCalendar>, DriverError>;

    /// One page of what is in the calendar or changed in it; the order means nothing.
    ///
    /// Members without content are sent through `members` in batches while the answer is still arriving; a
    /// receiver that is gone ends the listing. A listing that fails in the middle has listed nothing: its
    /// members must not be taken for complete.
    ///
    /// # Errors
    /// [`FailureClass::Gone`] when the provider no longer knows the cursor.
    async fn list_changes(
        &self,
        calendar: &CalendarRef,
        since: &Since,
        members: &mpsc::Sender<Vec<Member>>,
    ) -> Result<ChangePage, DriverError>;

    /// Ids of at most `most` objects that touch `[from, until)`, so that what people look at first can be read
    /// first. It may name too few, and says nothing of what it does not name. Empty where the provider cannot
    /// list by time.
    ///
    /// # Errors
    /// Any class.
    async fn list_within(
        &self,
        calendar: &CalendarRef,
        from: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<ProviderId>, DriverError> {
        let _ = (calendar, from, until, most);
        Ok(Vec::new())
    }

    /// The objects of these ids as they are now, at most [`Capabilities::read_batch`] of them. Each id is
    /// answered once: what is absent at the provider is [`RemoteChange::Removed`], what cannot be read is
    /// [`RemoteChange::Unreadable`]. An object that is asked for by the name that [`crate::naming`] gave it, and has
    /// another one at its provider by now, is answered under that.
    ///
    /// # Errors
    /// Any class but [`FailureClass::Gone`].
    async fn read(
        &self,
        calendar: &CalendarRef,
        ids: &[ProviderId],
    ) -> Result<Vec<RemoteChange>, DriverError>;

    /// Makes one thing true of one event, with a precondition: nothing that has changed at the provider since is
    /// overwritten. A series with instances of their own may take several requests; a write that failed in the middle
    /// is finished by repeating it against what is there by then.
    ///
    /// # Errors
    /// [`FailureClass::Conflict`] when the provider holds another revision, or nothing, where the write expected the
    /// one it was made against: read, reconcile, write again. [`FailureClass::Permanent`] for what the provider will
    /// never take. After [`FailureClass::Transient`] it may have been applied or not.
    async fn write(&self, calendar: &CalendarRef, write: &Write<'_>) -> Result<Written, DriverError> {
        let _ = (calendar, write);
        let action = "write events".to_owned();
        Err(DriverError::new("write an event", FailureClass::Permanent, Problem::Unsupported { action }))
    }

    /// Runs several errands, each as it would be run by itself; what came of each, in their order. Where the provider
    /// takes batches, they travel together: what one is refused says nothing about the others, and the loss of an
    /// answer leaves all of them in doubt.
    async fn together(&self, errands: &[Errand<'_>]) -> Vec<Result<Written, DriverError>> {
        let mut answers = Vec::with_capacity(errands.len());
        for errand in errands {
            answers.push(errand.run(self).await);
        }
        answers
    }

    /// Asks to be told when the calendar changes. With `renew`, that watch is prolonged where the provider can do
    /// so (the answer then has its id), else a second one is begun and the first one stays for the caller to stop:
    /// the two overlap.
    ///
    /// # Errors
    /// [`FailureClass::Permanent`] where the provider cannot tell (of this calendar), any other class.
    async fn watch(
        &self,
        calendar: &CalendarRef,
        request: &WatchRequest,
        renew: Option<&Watch>,
    ) -> Result<Watch, DriverError> {
        let _ = (calendar, request, renew);
        let action = "tell when a calendar changes".to_owned();
        Err(DriverError::new("watch a calendar", FailureClass::Permanent, Problem::Unsupported { action }))
    }

    /// Ends a watch; one that is gone already is ended.
    ///
    /// # Errors
    /// Any class.
    async fn unwatch(&self, watch: &Watch) -> Result<(), DriverError> {
        let _ = watch;
        Ok(())
    }
}

/// Why a provider could not be asked, in a class for programs and a sentence for people.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {problem}")]
pub struct DriverError {
    /// What was attempted: "list changes", "read events".
    pub operation: &'static str,
    /// What happens next.
    pub class: FailureClass,
    /// What went wrong, for people.
    pub problem: Problem,
    /// Whose budget it is about, where it is [`FailureClass::Throttled`].
    pub scope: Scope,
    /// What the layer below said; for logs only.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl DriverError {
    /// A failure without a cause below it.
    pub fn new(operation: &'static str, class: FailureClass, problem: Problem) -> Self {
        Self { operation, class, problem, scope: Scope::Account, source: None }
    }

    /// The same about the budget of all our accounts at the provider.
    #[must_use]
    pub fn of_project(mut self) -> Self {
        self.scope = Scope::Project;
        self
    }

    /// The same for somebody else whom it meets as well. What the layer below said is told once.
    #[must_use]
    pub(crate) fn again(&self) -> Self {
        Self { scope: self.scope, ..Self::new(self.operation, self.class, self.problem.clone()) }
    }

    /// The same with what the layer below said.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
