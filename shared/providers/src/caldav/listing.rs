//! Lists what is in a calendar, or what has changed, while the answer is still arriving.
//!
//! Three ways, by what the server can do: `sync-collection`; the collection's tag, then names and entity tags of
//! everything; names and entity tags each time. Members go out in batches as they arrive. A server that answers a
//! dead token with a complete listing and does not say so cannot be recognised here: it takes a comparison with
//! what is stored.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{Listing, Member, ProviderId, RemoteChange, Revision};
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::cursor;
use super::error::{self, Attempt};
use super::exchange::{Exchange, Listed};
use super::href::{self, Collection};
use super::request::{self, Depth, Wanted};
use super::wire::{Part, Response};
use crate::driver::{ChangePage, Coverage, DriverError, Next, Problem};
use crate::http::session::Crossing;

const LIST: Attempt = Attempt { operation: "list changes", action: "list this calendar" };
/// Members are handed on in batches of this size.
const BATCH: usize = 500;

/// Lists one calendar.
pub(super) struct Lister<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) collection: &'a Collection,
    pub(super) members: &'a mpsc::Sender<Vec<Member>>,
}

impl Lister<'_> {
    /// By `sync-collection`; an empty token lists everything.
    pub(super) async fn by_token(&self, token: &str, listing: Listing) -> Result<ChangePage, DriverError> {
        let requested_at = self.exchange.clock.now();
        let request = request::sync_collection(LIST.operation, &self.collection.url, token)?;
        let sent =
            self.exchange.multistatus(LIST, request, self.exchange.listing(), Crossing::Refuse).await?;
        let listed = match sent {
            Ok(listed) => listed,
            Err(refusal) if token.is_empty() => return Err(refusal.error),
            Err(refusal) => {
                let is_dead = error::is_dead_token(&refusal)
                    || (error::may_be_dead_token(&refusal) && self.takes_current_token().await);
                return Err(if is_dead { gone(refusal.error) } else { refusal.error });
            }
        };
        let mut intake = Intake::new(self, listing);
        let ended = intake.all(listed).await?;
        let next = match ended.token {
            // The same page again and again would never end.
            Some(next) if ended.is_cut && next == token => {
                let reason = "it gives the same page again and again".to_owned();
                let problem = Problem::UnreadableAnswer { reason };
                return Err(DriverError::new(LIST.operation, FailureClass::Transient, problem));
            }
            Some(next) if ended.is_cut => Next::Page(cursor::of_page(listing, &next)),
            Some(next) => Next::Token(cursor::of_token(&next)),
            None if ended.is_cut => {
                return Err(DriverError::new(LIST.operation, FailureClass::Transient, Problem::Truncated));
            }
            None => Next::NoToken,
        };
        Ok(ChangePage {
            listing,
            requested_at,
            coverage: Coverage::Everything,
            changes: intake.into_removals(),
            setting: None,
            next,
        })
    }

    /// Whether the same question with the newest token works: then it was the old token that did not. Some
    /// servers answer a foreign token with nothing but a status.
    async fn takes_current_token(&self) -> bool {
        let Ok(Some(current)) = self.tags().await.map(|tags| tags.token) else { return false };
        let Ok(request) = request::sync_collection(LIST.operation, &self.collection.url, &current) else {
            return false;
        };
        let sent = self.exchange.multistatus(LIST, request, self.exchange.brief(), Crossing::Refuse).await;
        matches!(sent, Ok(Ok(_)))
    }

    /// By the collection's tag: nothing to do while it is `known`, else everything.
    pub(super) async fn by_tag(&self, known: Option<&str>) -> Result<ChangePage, DriverError> {
        let requested_at = self.exchange.clock.now();
        // The tag is read before the listing: what changes in between is then listed again, never missed.
        let tag = self.tags().await?.any();
        if let (Some(known), Some(tag)) = (known, &tag)
            && known == tag
        {
            let next = Next::Token(cursor::of_tag(tag));
            return Ok(ChangePage {
                listing: Listing::Delta,
                requested_at,
                coverage: Coverage::Everything,
                changes: Vec::new(),
                setting: None,
                next,
            });
        }
        let next = tag.map_or(Next::NoToken, |tag| Next::Token(cursor::of_tag(&tag)));
        self.everything(requested_at, next).await
    }

    /// Names and entity tags of everything.
    pub(super) async fn by_entity_tags(&self) -> Result<ChangePage, DriverError> {
        self.everything(self.exchange.clock.now(), Next::NoToken).await
    }

    async fn everything(&self, requested_at: Timestamp, next: Next) -> Result<ChangePage, DriverError> {
        let request = request::propfind(LIST.operation, &self.collection.url, Depth::One, Wanted::Members)?;
        let sent =
            self.exchange.multistatus(LIST, request, self.exchange.listing(), Crossing::Refuse).await?;
        let mut intake = Intake::new(self, Listing::Full);
        if intake.all(sent.map_err(|refusal| refusal.error)?).await?.is_cut {
            return Err(DriverError::new(LIST.operation, FailureClass::Transient, Problem::Truncated));
        }
        Ok(ChangePage {
            listing: Listing::Full,
            requested_at,
            coverage: Coverage::Everything,
            changes: Vec::new(),
            setting: None,
            next,
        })
    }

    /// Names of at most `most` events that touch a stretch of time, as far as the server finds them.
    pub(super) async fn within(
        &self,
        stretch: (DateTime<Utc>, DateTime<Utc>),
        most: usize,
    ) -> Result<Vec<ProviderId>, DriverError> {
        let request = request::events_within(LIST.operation, &self.collection.url, stretch)?;
        let sent =
            self.exchange.multistatus(LIST, request, self.exchange.listing(), Crossing::Refuse).await?;
        let mut listed = sent.map_err(|refusal| refusal.error)?;
        let mut names = Vec::new();
        while let Some(part) = listed.next().await? {
            if let Part::Response(response) = part
                && names.len() < most
                && !matches!(response.status, Some(300..))
            {
                names.extend(self.collection.member(&response.href));
            }
        }
        Ok(names)
    }

    async fn tags(&self) -> Result<Tags, DriverError> {
        let found = self
            .exchange
            .propfind(LIST, &self.collection.url, Depth::Zero, Wanted::Tags, Crossing::Refuse)
            .await?;
        let props = found.entries.into_iter().map(|response| response.props);
        Ok(props.fold(Tags::default(), |tags, props| Tags {
            ctag: tags.ctag.or(props.ctag),
            token: tags.token.or(props.sync_token),
        }))
    }
}

#[derive(Default)]
struct Tags {
    ctag: Option<String>,
    token: Option<String>,
}

impl Tags {
    /// A sync token changes with the collection as well as a tag does.
    fn any(self) -> Option<String> {
        self.ctag.or(self.token)
    }
}

fn gone(cause: DriverError) -> DriverError {
    DriverError::new(LIST.operation, FailureClass::Gone, Problem::CursorExpired).caused_by(cause)
}

/// How a listing ended.
struct Ended {
    token: Option<String>,
    /// 507 for the collection: there is more (RFC 6578 §3.6).
    is_cut: bool,
}

/// Sorts what arrives into members and removals.
struct Intake<'a> {
    lister: &'a Lister<'a>,
    listing: Listing,
    batch: Vec<Member>,
    removals: Vec<ProviderId>,
    /// Whether anything was named that lies in the collection.
    has_members: bool,
    /// Whether anything was named that lies elsewhere.
    has_strays: bool,
    /// Hashes of canonical paths that were handed on: a listing may name a member twice.
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl<'a> Intake<'a> {
    fn new(lister: &'a Lister<'a>, listing: Listing) -> Self {
        Self {
            lister,
            listing,
            batch: Vec::new(),
            removals: Vec::new(),
            has_members: false,
            has_strays: false,
            seen: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    async fn all(&mut self, mut listed: Listed) -> Result<Ended, DriverError> {
        let mut ended = Ended { token: None, is_cut: false };
        while let Some(part) = listed.next().await? {
            match part {
                Part::SyncToken(token) => ended.token = Some(token).filter(|token| !token.is_empty()),
                Part::Response(response) if self.lister.collection.is(&response.href) => {
                    ended.is_cut |= response.status == Some(507);
                    check_collection(&response)?;
                }
                Part::Response(response) => self.member(*response),
            }
            if self.batch.len() >= BATCH {
                self.hand_on().await?;
            }
        }
        self.hand_on().await?;
        self.check_place()?;
        Ok(ended)
    }

    /// A server that has moved answers from its new place, and a proxy may hand on the names that are used behind it.
    /// Taken for itself, such a listing is complete and empty.
    fn check_place(&self) -> Result<(), DriverError> {
        if self.has_members || !self.has_strays {
            return Ok(());
        }
        let reason = "all that it lists lies at another address than this calendar".to_owned();
        let problem = Problem::UnreadableAnswer { reason };
        Err(DriverError::new(LIST.operation, FailureClass::Transient, problem))
    }

    fn member(&mut self, response: Response) {
        let collection = self.lister.collection;
        let Some(id) = collection.member(&response.href) else {
            let is_collection = response.props.resource_type.is_some_and(|kind| kind.is_collection);
            self.has_strays |= !is_collection && collection.is_elsewhere(&response.href);
            return;
        };
        self.has_members = true;
        if matches!(response.status, Some(404 | 410)) {
            // In a full listing a tombstone says no more than absence does.
            if self.listing == Listing::Delta {
                self.removals.push(id);
            }
            return;
        }
        let props = response.props;
        if props.resource_type.is_some_and(|kind| kind.is_collection)
            || is_no_event(props.content_type.as_deref())
        {
            return;
        }
        if self.seen.insert(self.hasher.hash_one(href::canonical(id.as_str()))) {
            // Whatever else is said of it, it is there: without an entity tag it is read.
            self.batch.push(Member { provider_id: id, revision: props.etag.map(Revision) });
        }
    }

    async fn hand_on(&mut self) -> Result<(), DriverError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.lister.members.send(batch).await.map_err(|_| {
            let problem = Problem::Unsupported { action: "list to a receiver that is gone".to_owned() };
            DriverError::new(LIST.operation, FailureClass::Transient, problem)
        })
    }

    /// What was named as removed and nothing else. Named as both, it is read, which settles the question.
    fn into_removals(self) -> Vec<RemoteChange> {
        let mut named = HashSet::new();
        self.removals
            .into_iter()
            .filter(|id| {
                let hash = self.hasher.hash_one(href::canonical(id.as_str()));
                !self.seen.contains(&hash) && named.insert(hash)
            })
            .map(|provider_id| RemoteChange::Removed { provider_id })
            .collect()
    }
}

/// The collection is listed among its members; a failure of it is one of the listing.
fn check_collection(response: &Response) -> Result<(), DriverError> {
    let error = |class, problem| Err(DriverError::new(LIST.operation, class, problem));
    match response.status {
        Some(404 | 410) => error(FailureClass::Permanent, Problem::NotFound),
        Some(401) => error(FailureClass::Auth, Problem::WrongCredentials),
        Some(403) => error(FailureClass::Permanent, Problem::Forbidden { action: LIST.action.to_owned() }),
        Some(status) if status >= 500 && status != 507 => {
            error(FailureClass::Transient, Problem::ServerError { status })
        }
        _ => Ok(()),
    }
}

/// Some servers say in the content type that a member is a task or a journal entry.
fn is_no_event(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return false };
    content_type.split(';').skip(1).any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        name.trim().eq_ignore_ascii_case("component")
            && ["VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY"]
                .iter()
                .any(|kind| value.trim().trim_matches('"').eq_ignore_ascii_case(kind))
    })
}
