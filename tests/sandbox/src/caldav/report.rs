//! REPORT: sync-collection (RFC 6578), calendar-multiget and calendar-query (RFC 4791 §7).

use http::StatusCode;

use super::calendar::{Access, Calendar, Member};
use super::listing::{Data, Listing};
use super::place::{MemberHrefs, Place};
use super::profile::{InvalidToken, MissingHref};
use super::properties::Wanted;
use super::query;
use super::sync::{self, Since};
use super::xml::{self, CALDAV, DAV, Element, Name};
use super::{Call, refusal};
use crate::answer::Answer;

pub(crate) fn answer(call: &Call<'_>, place: &Place) -> Answer {
    let Some((account, calendar)) = call.calendar(place) else {
        return Answer::status(StatusCode::NOT_FOUND);
    };
    if calendar.spec.access == Access::FreeBusy {
        return refusal(call, StatusCode::FORBIDDEN, DAV, "need-privileges");
    }
    let Ok(root) = xml::parse(call.body) else {
        return Answer::plain(StatusCode::BAD_REQUEST, "the body is not XML");
    };
    let hrefs = MemberHrefs::new(&account.spec.name, &calendar.spec.slug, &call.scribe.origin);
    let syncs = root.name.is(DAV, "sync-collection");
    let data = if syncs && !call.scribe.profile.data_in_sync { Data::Withheld } else { Data::Given };
    let listing = Listing::new(&call.scribe, hrefs, wanted(&root), data, call.twist);
    match (root.name.space.as_str(), root.name.local.as_str()) {
        (DAV, "sync-collection") if call.scribe.profile.sync_collection => {
            sync_collection(call, place, calendar, &root, listing)
        }
        (CALDAV, "calendar-multiget") => multiget(call, calendar, &root, listing),
        (CALDAV, "calendar-query") => calendar_query(call, calendar, &root, listing),
        _ => refusal(call, StatusCode::FORBIDDEN, DAV, "supported-report"),
    }
}

fn wanted(root: &Element) -> Wanted {
    if root.child(DAV, "allprop").is_some() {
        return Wanted::All;
    }
    Wanted::These(root.prop())
}

fn wants_data(root: &Element) -> bool {
    root.prop().contains(&Name::new(CALDAV, "calendar-data"))
}

fn sync_collection(
    call: &Call<'_>,
    place: &Place,
    calendar: &Calendar,
    root: &Element,
    listing: Listing,
) -> Answer {
    let profile = &call.scribe.profile;
    // RFC 6578 §3.2: the depth is 0, the level is in the body; most servers do not look.
    if profile.strict_sync_depth && call.depth().is_some_and(|depth| depth != "0") {
        return Answer::plain(StatusCode::BAD_REQUEST, "sync-collection needs Depth: 0");
    }
    let token = root.child(DAV, "sync-token").map(|token| token.text.as_str()).unwrap_or_default();
    let since = match sync::since(calendar, profile, token) {
        Ok(since) if since == Since::Beginning || !call.twist.expired_token => since,
        _ => match invalid_token(call) {
            Some(refusal) => return refusal,
            None => Since::Beginning,
        },
    };
    let limit = root
        .child(DAV, "limit")
        .and_then(|limit| limit.child(DAV, "nresults"))
        .and_then(|number| number.text.trim().parse().ok());
    let delta = sync::delta(calendar, profile, since, limit);
    if profile.data_in_sync && wants_data(root) && too_many(call, &delta.members) {
        return occurrences_limit();
    }

    let w = call.scribe.writer;
    let own = w.text(DAV, "href", &place.path(profile));
    let mut before = String::new();
    if profile.lists_collection_in_sync {
        let etag = w.wrap(DAV, "getetag", &format!("\"{}\"", calendar.revision));
        before = w.wrap(DAV, "response", &format!("{own}{}", call.scribe.propstats(&etag, "")));
    }
    let mut after = String::new();
    if delta.truncated {
        let status = w.wrap(DAV, "status", "HTTP/1.1 507 Insufficient Storage");
        let error = w.wrap(DAV, "error", &w.empty(DAV, "number-of-matches-within-limits"));
        after = w.wrap(DAV, "response", &format!("{own}{status}{error}"));
    }
    after.push_str(&w.text(DAV, "sync-token", &delta.token));
    listing.answer(&before, delta.members, &after)
}

/// How the server refuses a token; `None` when it answers with everything instead.
fn invalid_token(call: &Call<'_>) -> Option<Answer> {
    let refuse = |status| Some(refusal(call, status, DAV, "valid-sync-token"));
    match call.scribe.profile.invalid_token {
        InvalidToken::Forbidden => refuse(StatusCode::FORBIDDEN),
        InvalidToken::Conflict => refuse(StatusCode::CONFLICT),
        InvalidToken::PreconditionFailed => refuse(StatusCode::PRECONDITION_FAILED),
        InvalidToken::Gone => Some(Answer::status(StatusCode::GONE)),
        InvalidToken::BadRequest => Some(Answer::plain(StatusCode::BAD_REQUEST, "bad sync token")),
        InvalidToken::ServerError => Some(Answer::status(StatusCode::INTERNAL_SERVER_ERROR)),
        InvalidToken::CompleteListing => None,
    }
}

fn multiget(call: &Call<'_>, calendar: &Calendar, root: &Element, listing: Listing) -> Answer {
    let w = call.scribe.writer;
    let mut members = Vec::new();
    let mut missing = String::new();
    for href in root.children.iter().filter(|child| child.name.is(DAV, "href")) {
        let name = listing.name(&href.text);
        let found = name.as_deref().and_then(|name| calendar.member_at(name));
        match (found, call.scribe.profile.multiget_missing) {
            (Some(member), _) => members.push(member),
            (None, MissingHref::Omitted) => {}
            (None, MissingHref::NotFound) => {
                let href = w.text(DAV, "href", href.text.trim());
                let status = w.wrap(DAV, "status", "HTTP/1.1 404 Not Found");
                w.wrap_to(&mut missing, DAV, "response", &format!("{href}{status}"));
            }
        }
    }
    if too_many(call, &members) {
        return occurrences_limit();
    }
    listing.answer("", members, &missing)
}

fn calendar_query(call: &Call<'_>, calendar: &Calendar, root: &Element, listing: Listing) -> Answer {
    let Some(filter) = root.child(CALDAV, "filter").and_then(query::read) else {
        return refusal(call, StatusCode::FORBIDDEN, CALDAV, "valid-filter");
    };
    let matching = |(name, resource): (&std::sync::Arc<str>, &std::sync::Arc<super::calendar::Resource>)| {
        filter.matches(resource).then(|| Member::Present { name: name.clone(), resource: resource.clone() })
    };
    let members: Vec<Member> = match call.depth() {
        // RFC 4791 §7.8: without a depth the collection alone is searched, and it holds no data.
        Some("0") | None => Vec::new(),
        Some(_) => calendar.resources().filter_map(matching).collect(),
    };
    if wants_data(root) && too_many(call, &members) {
        return occurrences_limit();
    }
    listing.answer("", members, "")
}

fn too_many(call: &Call<'_>, members: &[Member]) -> bool {
    let events = |member: &Member| match member {
        Member::Present { resource, .. } => resource.facts.components,
        Member::Removed { .. } => 0,
    };
    let limit = call.scribe.profile.report_event_limit;
    limit.is_some_and(|limit| members.iter().map(events).sum::<usize>() > limit)
}

fn occurrences_limit() -> Answer {
    Answer::plain(StatusCode::BAD_REQUEST, "REPORT occurrences limit exceeded")
}
