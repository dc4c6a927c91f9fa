//! PROPFIND (RFC 4918 §9.1).

use http::StatusCode;

use super::calendar::{Access, Member, Reach};
use super::listing::{Data, Listing};
use super::place::{MemberHrefs, Place};
use super::properties::{Subject, Wanted};
use super::xml::{self, DAV};
use super::{Call, refusal};
use crate::answer::{Answer, XML};

pub(crate) fn answer(call: &Call<'_>, place: &Place) -> Answer {
    let Some(wanted) = wanted(call.body) else {
        return Answer::plain(StatusCode::BAD_REQUEST, "the body is not a propfind");
    };
    let deep = match call.depth() {
        Some("0") => false,
        Some("1") => true,
        // RFC 4918 §9.1: no depth means infinity, which servers may refuse.
        _ => return refusal(call, StatusCode::FORBIDDEN, DAV, "propfind-finite-depth"),
    };
    match place {
        Place::WellKnown | Place::Root => {
            whole(call, &call.scribe.response(&Place::Root, Subject::Root, &wanted))
        }
        Place::Principal { account } => match call.world.accounts.get(account) {
            Some(found) => whole(call, &call.scribe.response(place, Subject::Principal(found), &wanted)),
            None => Answer::status(StatusCode::NOT_FOUND),
        },
        Place::Home { .. } => home(call, place, deep, &wanted),
        Place::Calendar { .. } => calendar(call, place, deep, wanted),
        Place::Resource { .. } => resource(call, place, wanted),
        Place::Nowhere => Answer::status(StatusCode::NOT_FOUND),
    }
}

fn wanted(body: &[u8]) -> Option<Wanted> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Some(Wanted::All);
    }
    let root = xml::parse(body).ok()?;
    if !root.name.is(DAV, "propfind") {
        return None;
    }
    if root.child(DAV, "propname").is_some() {
        return Some(Wanted::Names);
    }
    Some(match root.child(DAV, "prop") {
        Some(_) => Wanted::These(root.prop()),
        None => Wanted::All,
    })
}

fn whole(call: &Call<'_>, responses: &str) -> Answer {
    let document = call.scribe.writer.document("multistatus", responses);
    Answer::status(StatusCode::MULTI_STATUS).with_body(XML, document)
}

fn home(call: &Call<'_>, place: &Place, deep: bool, wanted: &Wanted) -> Answer {
    let Some(account) = place.account().and_then(|name| call.world.accounts.get(name)) else {
        return Answer::status(StatusCode::NOT_FOUND);
    };
    let mut out = call.scribe.response(place, Subject::Home(account), wanted);
    if deep && !call.twist.empty_listing {
        for (slug, calendar) in &account.calendars {
            if calendar.reach == Reach::Gone {
                continue;
            }
            let place = Place::Calendar { account: account.spec.name.clone(), slug: slug.clone() };
            out.push_str(&call.scribe.response(&place, Subject::Calendar(account, calendar), wanted));
        }
    }
    whole(call, &out)
}

fn calendar(call: &Call<'_>, place: &Place, deep: bool, wanted: Wanted) -> Answer {
    let Some((account, calendar)) = call.calendar(place) else {
        return Answer::status(StatusCode::NOT_FOUND);
    };
    let own = call.scribe.response(place, Subject::Calendar(account, calendar), &wanted);
    if !deep || calendar.spec.access == Access::FreeBusy {
        return whole(call, &own);
    }
    let hrefs = MemberHrefs::new(&account.spec.name, &calendar.spec.slug, &call.scribe.origin);
    let members = calendar
        .resources()
        .map(|(name, resource)| Member::Present { name: name.clone(), resource: resource.clone() })
        .collect();
    // Calendar data are no property that PROPFIND gives (RFC 4791 §9.6).
    Listing::new(&call.scribe, hrefs, wanted, Data::Withheld, call.twist).answer(&own, members, "")
}

fn resource(call: &Call<'_>, place: &Place, wanted: Wanted) -> Answer {
    let found = call.calendar(place).zip(place.resource_name());
    let Some(((account, calendar), name)) = found else { return Answer::status(StatusCode::NOT_FOUND) };
    let Some(member) = calendar.member_at(name) else { return Answer::status(StatusCode::NOT_FOUND) };
    let hrefs = MemberHrefs::new(&account.spec.name, &calendar.spec.slug, &call.scribe.origin);
    Listing::new(&call.scribe, hrefs, wanted, Data::Withheld, call.twist).answer("", vec![member], "")
}
