//! Finds out what a server can do by trying, and says so in words. Nothing is written at the server.

use calfleet_domain::model::Access;
use url::Url;

use super::discover::{Discovery, Site};
use super::error::Attempt;
use super::exchange::Exchange;
use super::normalise::Found;
use super::request;
use super::wire::Part;
use crate::driver::{Capabilities, DriverError, Finding, ListingMode, ProbeReport, Verdict};
use crate::http::session::Crossing;

const PROBE: Attempt = Attempt { operation: "probe the server", action: "look at this calendar" };
/// Ids in one multiget. Servers refuse more than some thousands of events in one answer, and overrides count.
pub(super) const READ_BATCH: usize = 250;
/// A token that no server has given out.
const FOREIGN_TOKEN: &str = "http://example.com/ns/sync/never-given-out";

/// Looks at one account.
pub(super) async fn run(
    discovery: &Discovery<'_>,
    username: Option<&str>,
) -> Result<ProbeReport, DriverError> {
    let mut findings = Vec::new();
    let site = discovery.site().await?;
    findings.push(finding("address", Verdict::Yes, format!("The account is at {}.", site.url)));
    findings.push(match &site.principal {
        Some(_) => finding("principal", Verdict::Yes, "The server says who we are.".to_owned()),
        None => finding(
            "principal",
            Verdict::No,
            "The server does not say who we are; the address itself is used.".to_owned(),
        ),
    });
    let calendars = discovery.calendars(&site).await?;
    findings.push(calendar_finding(&calendars));

    let schedules = schedules(discovery.exchange, &site, &mut findings).await;
    let listing = listing_mode(discovery.exchange, &calendars, &mut findings).await;
    let has_multiget =
        calendars.first().and_then(|found| found.props.reports).map(|reports| reports.has_multiget);
    findings.push(match has_multiget {
        Some(false) => {
            finding("multiget", Verdict::Unknown, "Not announced; it is tried all the same.".to_owned())
        }
        _ => finding("multiget", Verdict::Yes, format!("Objects are read {READ_BATCH} at a time.")),
    });
    let account = match (&site.principal, username) {
        (Some(principal), _) => principal.to_string(),
        // the address alone may be everybody's
        (None, Some(username)) => format!("{username}@{}", site.url),
        (None, None) => site.url.to_string(),
    };
    Ok(ProbeReport {
        capabilities: Capabilities {
            listing,
            reads_singly: true,
            read_batch: READ_BATCH,
            writes: calendars.iter().any(|found| found.calendar.access == Access::Write),
            write_batch: 1,
            schedules,
            watches: false,
        },
        url: site.url,
        account,
        findings,
    })
}

fn calendar_finding(calendars: &[Found]) -> Finding {
    let writable = calendars.iter().filter(|found| found.calendar.access == Access::Write).count();
    match calendars.len() {
        0 => finding("calendars", Verdict::No, "The account has no calendar that holds events.".to_owned()),
        count => finding("calendars", Verdict::Yes, format!("{count} found, {writable} of them writable.")),
    }
}

/// The `DAV` header is a hint, but the only one about scheduling (RFC 6638 §2).
async fn schedules(exchange: &Exchange, site: &Site, findings: &mut Vec<Finding>) -> bool {
    let place = site.homes.first().map_or(&site.url, |(home, _)| home);
    let classes = dav_classes(exchange, place).await.unwrap_or_default();
    let has = |name: &str| classes.iter().any(|class| class.eq_ignore_ascii_case(name));
    findings.push(if has("calendar-access") {
        finding("calendar-access", Verdict::Yes, "The server announces CalDAV.".to_owned())
    } else {
        finding("calendar-access", Verdict::Unknown, "The server does not announce CalDAV.".to_owned())
    });
    let schedules = has("calendar-auto-schedule");
    findings.push(if schedules {
        finding("scheduling", Verdict::Yes, "The server sends invitations by itself.".to_owned())
    } else {
        finding("scheduling", Verdict::No, "The server sends no invitations by itself.".to_owned())
    });
    schedules
}

async fn dav_classes(exchange: &Exchange, place: &Url) -> Result<Vec<String>, DriverError> {
    let request = request::options(PROBE.operation, place)?;
    let sent = exchange.session.send(PROBE.operation, request, exchange.brief(), Crossing::Refuse).await?;
    // It may come as one header or as several.
    let lines = sent.answer.headers.get_all("dav").iter().filter_map(|line| line.to_str().ok());
    Ok(lines.flat_map(|line| line.split(',')).map(|class| class.trim().to_owned()).collect())
}

/// The first way of listing that is seen to work at the first calendar.
async fn listing_mode(exchange: &Exchange, calendars: &[Found], findings: &mut Vec<Finding>) -> ListingMode {
    let Some(first) = calendars.first() else {
        findings.push(finding(
            "sync-collection",
            Verdict::Unknown,
            "There is no calendar to try it on.".to_owned(),
        ));
        return ListingMode::EntityTags;
    };
    let is_announced = first.props.reports.is_some_and(|reports| reports.has_sync_collection);
    let works = match &first.props.sync_token {
        Some(token) if is_announced => answers_token(exchange, &first.url, token).await == Answered::Delta,
        _ => false,
    };
    let has_ctag = first.props.ctag.is_some() || first.props.sync_token.is_some();
    let mode = match (works, has_ctag) {
        (true, _) => ListingMode::SyncToken,
        (false, true) => ListingMode::Ctag,
        (false, false) => ListingMode::EntityTags,
    };
    findings.push(match (works, is_announced) {
        (true, _) => finding("sync-collection", Verdict::Yes, "Only what has changed is listed.".to_owned()),
        (false, true) => finding(
            "sync-collection",
            Verdict::No,
            "Announced, but it does not answer its own token; not used.".to_owned(),
        ),
        (false, false) => finding("sync-collection", Verdict::No, "Not offered.".to_owned()),
    });
    if works {
        let detail = match answers_token(exchange, &first.url, FOREIGN_TOKEN).await {
            Answered::Refused => (Verdict::Yes, "A token that has died is refused, as it should be."),
            Answered::Delta => (
                Verdict::No,
                "A token that has died is answered as if it were alive; listings are compared with what is known.",
            ),
            Answered::Unclear => (Verdict::Unknown, "Could not be found out."),
        };
        findings.push(finding("dead tokens", detail.0, detail.1.to_owned()));
    }
    findings.push(match first.props.ctag {
        Some(_) => finding(
            "collection tag",
            Verdict::Yes,
            "One request tells whether anything has changed.".to_owned(),
        ),
        None if has_ctag => {
            finding("collection tag", Verdict::No, "The sync token is used in its place.".to_owned())
        }
        None => finding("collection tag", Verdict::No, "Everything is listed each time.".to_owned()),
    });
    mode
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Delta,
    Refused,
    Unclear,
}

/// How a token is answered. Only the beginning is read: some servers send everything.
async fn answers_token(exchange: &Exchange, calendar: &Url, token: &str) -> Answered {
    let Ok(request) = request::sync_collection(PROBE.operation, calendar, token) else {
        return Answered::Unclear;
    };
    let sent = exchange.multistatus(PROBE, request, exchange.brief(), Crossing::Refuse).await;
    match sent {
        Ok(Ok(mut listed)) => match listed.next().await {
            Ok(Some(Part::SyncToken(_) | Part::Response(_))) => Answered::Delta,
            Ok(None) | Err(_) => Answered::Unclear,
        },
        Ok(Err(_)) => Answered::Refused,
        Err(_) => Answered::Unclear,
    }
}

fn finding(subject: &str, verdict: Verdict, detail: String) -> Finding {
    Finding { subject: subject.to_owned(), verdict, detail }
}
