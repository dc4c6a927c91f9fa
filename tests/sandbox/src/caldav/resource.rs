//! GET, PUT, DELETE and MOVE of calendar object resources (RFC 4791 §5.3.2, RFC 9110 §13).

use http::StatusCode;
use http::header::{CONTENT_LENGTH, ETAG, LAST_MODIFIED, LOCATION};

use super::calendar::{Access, Calendar, Incoming};
use super::place::{MemberHrefs, Place};
use super::profile::{HrefForm, Profile, PutNowhere, Rewriting, UidConflict};
use super::xml::{CALDAV, DAV};
use super::{Call, refusal, refusal_with, refuse_unless_writable};
use crate::answer::{Answer, ICS};
use crate::clock;
use crate::ical::{self, Facts, Refusal};

pub(crate) fn get(call: &Call<'_>, place: &Place) -> Answer {
    let found = call.calendar(place).zip(place.resource_name());
    let Some(((_, calendar), name)) = found else { return Answer::status(StatusCode::NOT_FOUND) };
    if calendar.spec.access == Access::FreeBusy {
        return refusal(call, StatusCode::FORBIDDEN, DAV, "need-privileges");
    }
    let Some(resource) = calendar.resource(name) else { return Answer::status(StatusCode::NOT_FOUND) };
    let etag = call.scribe.etag(&resource.etag);
    if call.header("if-none-match") == Some(etag.as_str()) {
        return Answer::status(StatusCode::NOT_MODIFIED).header(ETAG, &etag);
    }
    let answer = Answer::status(StatusCode::OK)
        .with_body(ICS, resource.body.to_string())
        .header(ETAG, &etag)
        .header(LAST_MODIFIED, &clock::http_date(resource.modified));
    if call.head.method == http::Method::HEAD {
        return answer.header(CONTENT_LENGTH, &resource.body.len().to_string());
    }
    answer
}

pub(crate) fn put(call: &mut Call<'_>, account: &str, slug: &str, name: &str) -> Answer {
    let Ok(text) = std::str::from_utf8(call.body) else {
        return refusal(call, StatusCode::FORBIDDEN, CALDAV, "valid-calendar-data");
    };
    let facts = match checked(call, account, slug, name, text) {
        Ok(facts) => facts,
        Err(refused) => return *refused,
    };
    let scribe = call.scribe.clone();
    let text = rewritten(text, &scribe.profile);
    let now = call.now;
    let Ok(calendar) = call.world.calendar_mut(account, slug) else {
        return Answer::status(StatusCode::NOT_FOUND);
    };
    let existed = calendar.resource(name).is_some();
    let etag = calendar.store(Incoming { name, body: &text, facts, sample: None }, now, &scribe.profile);
    let answer = Answer::status(if existed { StatusCode::NO_CONTENT } else { StatusCode::CREATED });
    if scribe.profile.etag_on_put && scribe.profile.rewriting == Rewriting::Verbatim {
        return answer.header(ETAG, &scribe.etag(&etag));
    }
    answer
}

/// All that can refuse a PUT, in the order in which servers look.
fn checked(call: &Call<'_>, account: &str, slug: &str, name: &str, text: &str) -> Result<Facts, Box<Answer>> {
    let place = Place::Calendar { account: account.to_owned(), slug: slug.to_owned() };
    let Some((_, calendar)) = call.calendar(&place) else {
        return Err(Box::new(Answer::status(match call.scribe.profile.put_nowhere {
            PutNowhere::Conflict => StatusCode::CONFLICT,
            PutNowhere::NotFound => StatusCode::NOT_FOUND,
        })));
    };
    if let Some(refused) = refuse_unless_writable(call, calendar) {
        return Err(Box::new(refused));
    }
    if let Some(refused) = precondition(call, calendar, name, Write::Put) {
        return Err(Box::new(refused));
    }
    let forbidden = |precondition| Box::new(refusal(call, StatusCode::FORBIDDEN, CALDAV, precondition));
    if text.len() > call.scribe.profile.max_resource_size {
        return Err(forbidden("max-resource-size"));
    }
    let facts = ical::inspect(text).map_err(|refused| match refused {
        Refusal::Data => forbidden("valid-calendar-data"),
        Refusal::Resource => forbidden("valid-calendar-object-resource"),
    })?;
    if !calendar.takes(&facts.kind) {
        return Err(forbidden("supported-calendar-component"));
    }
    match calendar.holder(&facts.uid) {
        Some(holder) if &**holder != name => match uid_conflict(call, account, slug, holder) {
            Some(refused) => Err(Box::new(refused)),
            None => Ok(facts),
        },
        _ => Ok(facts),
    }
}

fn uid_conflict(call: &Call<'_>, account: &str, slug: &str, holder: &str) -> Option<Answer> {
    let status = match call.scribe.profile.uid_conflict {
        UidConflict::Forbidden => StatusCode::FORBIDDEN,
        UidConflict::Conflict => StatusCode::CONFLICT,
        UidConflict::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        UidConflict::Accepted => return None,
    };
    let w = call.scribe.writer;
    let href = MemberHrefs::new(account, slug, &call.scribe.origin).of(holder, HrefForm::Path);
    Some(refusal_with(call, status, &w.wrap(CALDAV, "no-uid-conflict", &w.wrap(DAV, "href", &href))))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    Put,
    Delete,
}

/// `If-Match` and `If-None-Match`, as far as the server heeds them.
fn precondition(call: &Call<'_>, calendar: &Calendar, name: &str, write: Write) -> Option<Answer> {
    let profile = &call.scribe.profile;
    let present = calendar.resource(name).map(|resource| call.scribe.etag(&resource.etag));
    let failed = Answer::status(StatusCode::PRECONDITION_FAILED);
    if call.header("if-none-match") == Some("*") && present.is_some() && !profile.ignores_if_none_match {
        return Some(failed);
    }
    let wanted = call.header("if-match")?;
    let lax = profile.lax_if_match && (write == Write::Delete || present.is_none());
    let holds = match &present {
        Some(etag) => wanted == "*" || wanted.split(',').any(|one| one.trim() == etag),
        None => false,
    };
    (!holds && !lax).then_some(failed)
}

pub(crate) fn delete(call: &mut Call<'_>, account: &str, slug: &str, name: &str) -> Answer {
    let place = Place::Calendar { account: account.to_owned(), slug: slug.to_owned() };
    let Some((_, calendar)) = call.calendar(&place) else { return Answer::status(StatusCode::NOT_FOUND) };
    if let Some(refused) = refuse_unless_writable(call, calendar) {
        return refused;
    }
    if calendar.resource(name).is_none() {
        return Answer::status(StatusCode::NOT_FOUND);
    }
    if let Some(refused) = precondition(call, calendar, name, Write::Delete) {
        return refused;
    }
    let now = call.now;
    match call.world.calendar_mut(account, slug).map(|calendar| calendar.remove(name, now)) {
        Ok(Some(_)) => Answer::status(StatusCode::NO_CONTENT),
        _ => Answer::status(StatusCode::NOT_FOUND),
    }
}

/// MOVE to another name or calendar of the same account (RFC 4918 §9.9).
pub(crate) fn rename(call: &mut Call<'_>, account: &str, slug: &str, name: &str) -> Answer {
    if !call.scribe.profile.moves {
        return Answer::status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let target = call.header("destination").and_then(|target| target.parse::<http::Uri>().ok());
    let Some(Place::Resource { account: to_account, slug: to_slug, name: to_name }) =
        target.map(|target| Place::of(target.path()))
    else {
        return Answer::status(StatusCode::BAD_REQUEST);
    };
    if to_account != account {
        return refusal(call, StatusCode::FORBIDDEN, DAV, "need-privileges");
    }
    for slug in [slug, &to_slug] {
        let place = Place::Calendar { account: account.to_owned(), slug: slug.to_owned() };
        match call.calendar(&place) {
            None => return Answer::status(StatusCode::CONFLICT),
            Some((_, calendar)) => {
                if let Some(refused) = refuse_unless_writable(call, calendar) {
                    return refused;
                }
            }
        }
    }
    let occupied = call.world.calendar(account, &to_slug).is_ok_and(|to| to.resource(&to_name).is_some());
    if occupied && call.header("overwrite") == Some("F") {
        return Answer::status(StatusCode::PRECONDITION_FAILED);
    }
    let from = (account, slug, name);
    match call.world.move_resource(from, (&to_slug, &to_name), call.now) {
        Err(_) => Answer::status(StatusCode::NOT_FOUND),
        Ok(()) if occupied => Answer::status(StatusCode::NO_CONTENT),
        Ok(()) => {
            let href = MemberHrefs::new(account, &to_slug, &call.scribe.origin).of(&to_name, HrefForm::Path);
            Answer::status(StatusCode::CREATED).header(LOCATION, &href)
        }
    }
}

/// What the server makes of the text.
fn rewritten(text: &str, profile: &Profile) -> String {
    if profile.rewriting == Rewriting::Verbatim {
        return text.to_owned();
    }
    let dropping = profile.rewriting == Rewriting::DropsUnknown;
    let mut out = String::with_capacity(text.len() + 64);
    for line in ical::unfold(text) {
        if line.starts_with("PRODID")
            || line.starts_with("X-SANDBOX-STORED")
            || (dropping && line.starts_with("X-"))
        {
            continue;
        }
        push_folded(&mut out, &line);
        if line == "BEGIN:VCALENDAR" {
            push_folded(&mut out, &format!("PRODID:-//{}//EN", profile.name));
        }
        if KEPT_KINDS.contains(&line.as_str()) && !dropping {
            push_folded(&mut out, "X-SANDBOX-STORED:yes");
        }
    }
    out
}

/// Components that a rewriting server leaves its line in.
const KEPT_KINDS: [&str; 3] = ["BEGIN:VEVENT", "BEGIN:VTODO", "BEGIN:VJOURNAL"];

/// Appends a content line, folded at 75 octets (RFC 5545 §3.1).
pub(crate) fn push_folded(out: &mut String, line: &str) {
    const WIDTH: usize = 75;
    let mut rest = line;
    let mut width = WIDTH;
    while rest.len() > width {
        let Some((part, after)) = rest.split_at_checked(rest.floor_char_boundary(width)) else { break };
        out.push_str(part);
        out.push_str("\r\n ");
        rest = after;
        // The space that a continued line begins with counts, too.
        width = WIDTH - 1;
    }
    out.push_str(rest);
    out.push_str("\r\n");
}
