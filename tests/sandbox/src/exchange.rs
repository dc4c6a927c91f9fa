//! One request from the wire to its answer: faults, the handler, the log.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::StatusCode;
use http::header::{DATE, HeaderValue, LOCATION, RETRY_AFTER};
use http::request::Parts;

use crate::answer::{Answer, AnswerBody};
use crate::caldav::{self, xml};
use crate::clock;
use crate::faults::{Fault, RetryAfter, Twist};
use crate::request_log::{InFlight, RequestEntry};
use crate::server::Line;
use crate::shared::Shared;
use crate::{feed, google, graph, spoil};

/// Largest request body taken; a whole calendar in one multiget request stays below it.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// Time for what was written to reach the wire before the connection is cut after it.
const BEFORE_CUT_MS: u64 = 20;

/// What becomes of a request.
enum Outcome {
    Answer(Answer),
    /// The head and these bytes, then nothing more.
    Part(Answer, Bytes),
    /// The connection closes without an answer.
    Cut,
}

/// Answers whatever is not control.
pub(crate) async fn exchange(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return wire(&shared, Answer::status(StatusCode::PAYLOAD_TOO_LARGE), None);
    };
    let account = if head.uri.path().starts_with(google::ROOT) {
        google::account_of(&shared.world(), &head, shared.clock.now())
    } else if head.uri.path().starts_with(graph::ROOT) {
        graph::account_of(&shared.world(), &head, shared.clock.now())
    } else {
        caldav::account_of(&shared.world(), &head)
    };
    let in_flight = account.as_deref().map(|account| shared.log.enter(account));
    let is_crowded = account
        .as_deref()
        .is_some_and(|account| graph::is_crowded(&shared.world(), &head, shared.log.in_flight(account)));
    let faults = shared.faults.strike(head.method.as_str(), head.uri.path(), &body);
    for fault in &faults {
        if let Fault::Latency(milliseconds) = fault
            && !is_crowded
        {
            clock::pause(*milliseconds).await;
        }
    }
    let validated = match &account {
        Some(_) if !is_crowded => shake_hands(&shared, &head, &body).await,
        _ => Vec::new(),
    };
    let outcome = if is_crowded {
        Outcome::Answer(graph::error::ApiError::crowded().answer())
    } else {
        decide(&shared, &line, (&head, &body, &validated), account.as_deref(), &faults)
    };
    let status = match &outcome {
        Outcome::Answer(answer) | Outcome::Part(answer, _) => answer.status.as_u16(),
        Outcome::Cut => 0,
    };
    let mut entry = entry(&shared, &head, &body, account, status);
    entry.took_us = u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
    let sent = shared.log.write(entry);
    let counted = Some((sent, in_flight));
    match outcome {
        Outcome::Answer(answer) => wire(&shared, answer, counted),
        Outcome::Part(answer, part) => wire_part(&shared, answer, part),
        Outcome::Cut => {
            line.cut();
            Response::new(Body::empty())
        }
    }
}

/// Asks the addresses that a request wants notifications at; returns those that gave the right answer.
async fn shake_hands(shared: &Shared, head: &Parts, body: &[u8]) -> Vec<String> {
    let mut validated = Vec::new();
    for address in graph::subscriptions::addresses(head, body) {
        if shared.courier.shake_hands(&address).await {
            validated.push(address);
        }
    }
    validated
}

fn entry(shared: &Shared, head: &Parts, body: &[u8], account: Option<String>, status: u16) -> RequestEntry {
    let root = if body.first() == Some(&b'<') { xml::parse(body).ok() } else { None };
    let is_href = |child: &&xml::Element| child.name.is(xml::DAV, "href");
    RequestEntry {
        number: 0,
        at: shared.clock.now(),
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        depth: caldav::header(&head.headers, "depth").map(str::to_owned),
        hrefs: root.as_ref().map_or(0, |root| root.children.iter().filter(is_href).count()),
        report: root.map(|root| root.name.local),
        account,
        body_bytes: body.len(),
        status,
        sent_bytes: 0,
        took_us: 0,
    }
}

fn decide(
    shared: &Shared,
    line: &Line,
    (head, body, validated): (&Parts, &[u8], &[String]),
    account: Option<&str>,
    faults: &[Fault],
) -> Outcome {
    let requests = line.count_request();
    let limit = {
        let world = shared.world();
        account.map_or(&world.profile, |account| world.profile_of(account)).requests_per_connection
    };
    if limit.is_some_and(|limit| requests > limit) {
        return Outcome::Cut;
    }
    if let Some(outcome) = faults.iter().find_map(|fault| instead(shared, head, fault)) {
        return outcome;
    }
    let twist = Twist::of(faults);
    let is_lost = Cell::new(false);
    let now = shared.clock.now();
    let answer = {
        let mut world = shared.world();
        let (url, rules) = (shared.url.as_str(), &shared.faults);
        if head.uri.path().starts_with(google::ROOT) {
            let around = google::Surroundings { twist: &twist, url, faults: rules, is_lost: &is_lost };
            google::answer(&mut world, head, body, &around, now)
        } else if head.uri.path().starts_with(graph::ROOT) {
            let around =
                graph::Surroundings { twist: &twist, url, faults: rules, is_lost: &is_lost, validated };
            graph::answer(&mut world, head, body, &around, now)
        } else if head.uri.path().starts_with("/feeds/") {
            feed::answer(&mut world, head, now)
        } else {
            caldav::answer(&mut world, head, body, &twist, now)
        }
    };
    if is_lost.get() {
        return Outcome::Cut;
    }
    afterwards(shared, answer, faults)
}

/// What is answered in place of the handler.
fn instead(shared: &Shared, head: &Parts, fault: &Fault) -> Option<Outcome> {
    let answer = match fault {
        Fault::CutBefore => return Some(Outcome::Cut),
        Fault::Status { code, retry_after } => {
            let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let answer = if head.uri.path().starts_with(google::ROOT) {
                google::error::ApiError::made(*code, None).answer()
            } else if head.uri.path().starts_with(graph::ROOT) {
                graph::error::ApiError::made(*code, None).answer()
            } else {
                Answer::plain(status, "made to fail")
            };
            match retry_after {
                None => answer,
                Some(RetryAfter::Seconds(seconds)) => answer.header(RETRY_AFTER, &seconds.to_string()),
                Some(RetryAfter::DateIn(seconds)) => {
                    let at = shared.clock.now() + i64::from(*seconds) * 1_000;
                    answer.header(RETRY_AFTER, &clock::http_date(at))
                }
            }
        }
        // a token endpoint has a shape of its own (RFC 6749 §5.2)
        Fault::Refused { code, reason } if head.uri.path().ends_with("/token") => {
            let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::BAD_REQUEST);
            let body = serde_json::json!({ "error": reason }).to_string();
            Answer::status(status).with_body("application/json", body)
        }
        Fault::Refused { code, reason } if head.uri.path().starts_with(graph::ROOT) => {
            graph::error::ApiError::made(*code, Some(reason)).answer()
        }
        Fault::Refused { code, reason } => google::error::ApiError::made(*code, Some(reason)).answer(),
        Fault::Unauthorized if head.uri.path().starts_with(google::ROOT) => {
            google::error::ApiError::unauthorized().answer()
        }
        Fault::Unauthorized if head.uri.path().starts_with(graph::ROOT) => {
            graph::error::ApiError::unauthorized().answer()
        }
        Fault::Unauthorized => caldav::challenge(&mut shared.world(), head),
        Fault::Redirect { code, location } => {
            let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::FOUND);
            Answer::status(status).header(LOCATION, location)
        }
        Fault::Html => spoil::html_page(),
        Fault::Endless => spoil::endless(),
        Fault::GzipBomb(mebibytes) => spoil::gzip_bomb(*mebibytes),
        Fault::EntityBomb => spoil::entity_bomb(),
        Fault::ExternalEntity => spoil::external_entity(),
        Fault::Latency(_)
        | Fault::AnswerLost
        | Fault::CutBody(_)
        | Fault::TruncatedBody
        | Fault::EmptyListing
        | Fault::Duplicates
        | Fault::Shuffled(_)
        | Fault::Unreadable(_)
        | Fault::ExpiredToken
        | Fault::ThenEdit(_) => return None,
    };
    Some(Outcome::Answer(answer))
}

/// What happens to the handler's answer, and to the world after it.
fn afterwards(shared: &Shared, mut answer: Answer, faults: &[Fault]) -> Outcome {
    let mut part = None;
    let mut lost = false;
    for fault in faults {
        match fault {
            Fault::ThenEdit(edits) => {
                let now = shared.clock.now();
                for edit in edits {
                    if let Err(error) = shared.world().apply(edit, now) {
                        tracing::warn!(%error, ?edit, "an edit after an answer could not be made");
                    }
                }
            }
            Fault::AnswerLost => lost = true,
            Fault::TruncatedBody => answer = spoil::truncated(answer),
            Fault::CutBody(kept) => part = Some(*kept),
            _ => {}
        }
    }
    match (lost, part) {
        (true, _) => Outcome::Cut,
        (false, Some(kept)) => {
            let (answer, part) = spoil::cut(answer, kept);
            Outcome::Part(answer, part)
        }
        (false, None) => Outcome::Answer(answer),
    }
}

type Counted = (Arc<std::sync::atomic::AtomicU64>, Option<InFlight>);

fn wire(shared: &Shared, answer: Answer, counted: Option<Counted>) -> Response {
    let Answer { status, headers, body } = answer;
    let body = match body {
        AnswerBody::Whole(bytes) => {
            if let Some((sent, _)) = &counted {
                sent.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::SeqCst);
            }
            Body::from(bytes)
        }
        AnswerBody::Pieces(pieces) => {
            let stopping = shared.stopping.clone().cancelled_owned();
            let chunks: BoxStream<'static, Bytes> = stream::iter(pieces).take_until(stopping).boxed();
            Body::from_stream(chunks.map(move |chunk| {
                if let Some((sent, _)) = &counted {
                    sent.fetch_add(chunk.len() as u64, std::sync::atomic::Ordering::SeqCst);
                }
                Ok::<_, std::convert::Infallible>(chunk)
            }))
        }
    };
    respond(shared, status, headers, body)
}

fn wire_part(shared: &Shared, answer: Answer, part: Bytes) -> Response {
    let broken = || std::io::Error::other("cut by the sandbox");
    let cut = stream::once(async move {
        clock::pause(BEFORE_CUT_MS).await;
        Err(broken())
    });
    let body = Body::from_stream(stream::once(async move { Ok(part) }).chain(cut));
    respond(shared, answer.status, answer.headers, body)
}

fn respond(shared: &Shared, status: StatusCode, headers: http::HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if let Ok(date) = HeaderValue::from_str(&clock::http_date(shared.clock.now())) {
        response.headers_mut().insert(DATE, date);
    }
    response
}
