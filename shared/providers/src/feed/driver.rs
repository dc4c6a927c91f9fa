//! A published calendar behind the trait.

use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use calfleet_domain::clock::Clock;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::ics::{self, Document, IcsError, Limits};
use calfleet_domain::model::{Access, Listing, Member, ProviderId, RemoteCalendar, RemoteChange, SyncToken};
use calfleet_domain::recurrence::zone;
use http::StatusCode;
use http::header::{CONTENT_TYPE, ETAG, LAST_MODIFIED};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use url::Url;

use super::cursor::FeedCursor;
use super::{normalise, request};
use crate::caldav::error::{self, Attempt};
use crate::driver::{
    Account, CalendarRef, Capabilities, ChangePage, Coverage, Driver, DriverError, Finding, ListingMode,
    Next, ProbeReport, Problem, Since, Verdict,
};
use crate::http::Allowance;
use crate::http::auth::Authenticator;
use crate::http::session::{Crossing, Delivery, Session};
use crate::surroundings::Surroundings;
use calfleet_domain::model::Authentication;

const FETCH: Attempt = Attempt { operation: "fetch the feed", action: "read this feed" };

/// One published calendar.
#[derive(Debug)]
pub struct FeedDriver {
    session: Session,
    has_credentials: bool,
    clock: Arc<dyn Clock>,
    /// As the account has it; may be `webcal`.
    id: Url,
    url: Url,
    interval: Mutex<Option<Duration>>,
}

/// What a fetch brought.
enum Fetched {
    /// Nothing new.
    Same,
    /// A document, and the cursor that stands for it so far.
    Document(Box<Document>, FeedCursor),
}

impl FeedDriver {
    /// Opens a feed. Nothing is sent yet. A user name and password inside the URL are taken out of it.
    pub fn open(account: Account, surroundings: &Surroundings) -> Self {
        let meter = surroundings.budgets.meter(&account);
        let id = account.url;
        let mut url = request::fetchable(&id);
        let (mut kind, mut username, mut secret) = (account.authentication, account.username, account.secret);
        if kind == Authentication::None && !url.username().is_empty() {
            kind = Authentication::Password;
            username = Some(url.username().to_owned());
            secret = url.password().map(SecretString::from);
        }
        // Both fail only for URLs without a host, which the guard refuses.
        let _cleaned = url.set_username("").and_then(|()| url.set_password(None));
        let authenticator = Authenticator::new(
            &url,
            kind,
            username.as_deref(),
            secret,
            &surroundings.schemes,
            surroundings.rng.clone(),
        );
        let session = Session::new(surroundings.client.clone(), &url, authenticator).metered(meter);
        Self {
            session,
            has_credentials: kind != Authentication::None,
            clock: surroundings.clock.clone(),
            id,
            url,
            interval: Mutex::new(None),
        }
    }

    /// Where the feed is for good, as the account has it from now on; `None` where its credentials may not go: then the old
    /// place is asked, which sends us there without them.
    fn place(&self, moved: Url) -> Option<Url> {
        if !self.has_credentials {
            return Some(moved);
        }
        self.session.trusts(&moved).then(|| request::signed_like(&self.id, moved)).flatten()
    }

    fn allowance(&self) -> Allowance {
        let settings = self.session.client().settings();
        Allowance {
            max_bytes: settings.max_feed_bytes,
            setting: "max_feed_bytes",
            patience: settings.read_timeout,
            deadline: settings.total_timeout,
        }
    }

    async fn fetch(&self, last: Option<&FeedCursor>) -> Result<(Fetched, Option<Url>), DriverError> {
        let request = request::get(FETCH.operation, &self.url, last)?;
        let sent = self.session.send(FETCH.operation, request, self.allowance(), Crossing::Anonymous).await?;
        let Delivery { answer, moved } = sent;
        if let Some(last) = last
            && answer.status == StatusCode::NOT_MODIFIED
        {
            self.keep_interval(last);
            return Ok((Fetched::Same, moved));
        }
        if !answer.status.is_success() {
            let refused = error::of_status(FETCH, answer.status, &answer.headers, self.clock.now());
            self.session.heed(&refused).await;
            return Err(refused);
        }
        let mut cursor = FeedCursor {
            etag: answer.header(ETAG).map(str::to_owned),
            modified: answer.header(LAST_MODIFIED).map(str::to_owned),
            ..FeedCursor::default()
        };
        let is_html = answer.header(CONTENT_TYPE).is_some_and(|kind| {
            kind.trim_start().get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
        });
        let body = answer.body.all().await?;
        if is_html && !contains_calendar(&body) {
            return Err(transient(Problem::HtmlAnswer));
        }
        cursor.body = hex::encode(Sha256::digest(&body));
        if let Some(last) = last
            && last.body == cursor.body
            && last.etag == cursor.etag
            && last.modified == cursor.modified
        {
            self.keep_interval(last);
            return Ok((Fetched::Same, moved));
        }
        let limit = usize::try_from(self.allowance().max_bytes).unwrap_or(usize::MAX);
        let limits = Limits { bytes: limit, ..Limits::default() };
        let document =
            ics::read(&ics::decode(&body), None, &limits).map_err(|error| unreadable(error, &body))?;
        if document.is_truncated {
            return Err(transient(Problem::Truncated));
        }
        cursor.refresh_seconds = document.refresh_interval.map(|interval| interval.as_secs());
        self.keep_interval(&cursor);
        Ok((Fetched::Document(Box::new(document), cursor), moved))
    }

    /// The interval that the publisher asked for, as the document said that the cursor stands for.
    fn keep_interval(&self, cursor: &FeedCursor) {
        let interval = cursor.refresh_seconds.map(Duration::from_secs);
        *self.interval.lock().unwrap_or_else(PoisonError::into_inner) = interval;
    }

    fn calendar(&self, document: &Document) -> RemoteCalendar {
        let name = document.name.clone().or_else(|| {
            let last = self.url.path_segments()?.next_back()?.trim_end_matches(".ics");
            (!last.is_empty()).then(|| last.to_owned())
        });
        RemoteCalendar {
            // a feed is one calendar, and its URL is a secret that must not stand in other tables
            provider_id: ProviderId::from("feed"),
            name: name.unwrap_or_else(|| "Feed".to_owned()),
            description: None,
            color: None,
            time_zone: document.time_zone.as_deref().and_then(zone::iana).map(|zone| zone.name().to_owned()),
            access: Access::Read,
            is_primary: false,
            setting: None,
        }
    }

    async fn document(&self) -> Result<(Box<Document>, FeedCursor, Option<Url>), DriverError> {
        match self.fetch(None).await? {
            (Fetched::Document(document, cursor), moved) => Ok((document, cursor, moved)),
            (Fetched::Same, _) => Err(transient(Problem::UnreadableAnswer {
                reason: "it says that nothing has changed, though nothing was asked".to_owned(),
            })),
        }
    }
}

#[async_trait]
impl Driver for FeedDriver {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            listing: ListingMode::Document,
            reads_singly: false,
            read_batch: 1,
            writes: false,
            write_batch: 1,
            schedules: false,
            watches: false,
        }
    }

    fn requests_sent(&self) -> u64 {
        self.session.requests_sent()
    }

    fn poll_interval(&self) -> Option<Duration> {
        *self.interval.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn probe(&self) -> Result<ProbeReport, DriverError> {
        let (document, cursor, moved) = self.document().await?;
        let url = moved.and_then(|moved| self.place(moved)).unwrap_or_else(|| self.id.clone());
        let has_validator = cursor.etag.is_some() || cursor.modified.is_some();
        let (verdict, conditional) = if has_validator {
            (Verdict::Yes, "An unchanged feed is not sent again.")
        } else {
            (Verdict::No, "The whole feed is sent every time; it is compared here.")
        };
        let count = document.items.len();
        let unreadable =
            document.items.iter().filter(|item| matches!(item, ics::Item::Unreadable { .. })).count();
        let finding =
            |subject: &str, verdict, detail: String| Finding { subject: subject.to_owned(), verdict, detail };
        let mut findings = vec![
            finding("events", Verdict::Yes, format!("{count} found, {unreadable} of them cannot be read.")),
            finding("conditional requests", verdict, conditional.to_owned()),
        ];
        if let Some(interval) = document.refresh_interval {
            let detail = format!("The publisher asks for {} minutes between polls.", interval.as_secs() / 60);
            findings.push(finding("refresh interval", Verdict::Yes, detail));
        }
        let account = hex::encode(Sha256::digest(url.as_str()));
        Ok(ProbeReport { capabilities: self.capabilities(), account, url, findings })
    }

    async fn list_calendars(&self) -> Result<Vec<RemoteCalendar>, DriverError> {
        let (document, ..) = self.document().await?;
        Ok(vec![self.calendar(&document)])
    }

    async fn list_changes(
        &self,
        _calendar: &CalendarRef,
        since: &Since,
        _members: &mpsc::Sender<Vec<Member>>,
    ) -> Result<ChangePage, DriverError> {
        let requested_at = self.clock.now();
        let gone = || DriverError::new(FETCH.operation, FailureClass::Gone, Problem::CursorExpired);
        // How items were named before counts for every listing; that nothing has changed only for those since then.
        let (last, memory) = match since {
            Since::Beginning => (None, None),
            Since::Again(token) => (None, FeedCursor::of(token)),
            Since::Token(token) => (Some((token, FeedCursor::of(token).ok_or_else(gone)?)), None),
            Since::Page(_) => return Err(gone()),
        };
        let unchanged = |token: SyncToken| ChangePage {
            listing: Listing::Delta,
            requested_at,
            coverage: Coverage::NotEnded,
            changes: Vec::new(),
            setting: None,
            next: Next::Token(token),
        };
        match (self.fetch(last.as_ref().map(|(_, cursor)| cursor)).await?.0, last) {
            (Fetched::Same, Some((token, _))) => Ok(unchanged(token.clone())),
            (Fetched::Same, None) => Err(gone()),
            (Fetched::Document(document, mut cursor), last) => {
                let last = last.map(|(_, cursor)| cursor);
                let time_zone = document.time_zone.clone();
                let changes = normalise::changes(*document, last.as_ref().or(memory.as_ref()), &mut cursor);
                cursor.content = normalise::content_of(&changes, time_zone.as_deref());
                let next = cursor.to_token();
                // Only stamps were renewed.
                if last.is_some_and(|last| last.content == cursor.content && last.naming == cursor.naming) {
                    return Ok(unchanged(next));
                }
                Ok(ChangePage {
                    listing: Listing::Full,
                    requested_at,
                    coverage: Coverage::NotEnded,
                    changes,
                    setting: None,
                    next: Next::Token(next),
                })
            }
        }
    }

    async fn read(&self, _: &CalendarRef, _: &[ProviderId]) -> Result<Vec<RemoteChange>, DriverError> {
        let problem = Problem::Unsupported { action: "read single events of a feed".to_owned() };
        Err(DriverError::new("read events", FailureClass::Permanent, problem))
    }
}

fn transient(problem: Problem) -> DriverError {
    DriverError::new(FETCH.operation, FailureClass::Transient, problem)
}

fn unreadable(error: IcsError, body: &[u8]) -> DriverError {
    let begins_with = |text: &str| {
        let body = body.trim_ascii_start();
        body.get(..text.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(text.as_bytes()))
    };
    let problem = match &error {
        _ if begins_with("<!doctype html") || begins_with("<html") => Problem::HtmlAnswer,
        _ if body.trim_ascii().is_empty() => Problem::Truncated,
        IcsError::NotCalendar(_) => Problem::NotACalendar,
        other => Problem::UnreadableAnswer { reason: other.to_string() },
    };
    transient(problem).caused_by(error)
}

fn contains_calendar(body: &[u8]) -> bool {
    let wanted = b"BEGIN:VCALENDAR";
    body.windows(wanted.len()).take(4096).any(|window| window.eq_ignore_ascii_case(wanted))
}
