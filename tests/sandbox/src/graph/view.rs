//! Reads of events: one, all of a calendar, what lies in a window, the occurrences of a series.

use std::sync::Arc;

use chrono::NaiveDate;
use serde_json::{Map, Value, json};

use super::calendar::{Calendar, Stored, View, Window};
use super::call::{Call, Reply};
use super::error::ApiError;
use super::query::Filter;
use super::{Found, Graph, event};

/// Items of a page when nothing is said.
const PAGE: usize = 10;

/// One item of a view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) start: i64,
    pub(crate) serial: u64,
    pub(crate) day: Option<NaiveDate>,
}

/// Everything in a window by its start; the pages of one listing share it.
pub(crate) fn entries(calendar: &Calendar, window: Window) -> Arc<Vec<Entry>> {
    let known = calendar.view.borrow().clone();
    if let Some(view) = known.filter(|view| view.window == window && view.revision == calendar.revision) {
        return view.entries;
    }
    let mut entries = Vec::new();
    for stored in calendar.all() {
        let serial = stored.serial;
        if stored.series.is_none() {
            if stored.slot.is_within(window) {
                entries.push(Entry { start: stored.slot.span().0, serial, day: None });
            }
            continue;
        }
        for day in stored.days_within(window) {
            entries.push(Entry { start: stored.slot(Some(day)).span().0, serial, day: Some(day) });
        }
    }
    entries.sort_by_key(|entry| (entry.start, entry.serial));
    let entries = Arc::new(entries);
    let view = View { window, revision: calendar.revision, entries: Arc::clone(&entries) };
    *calendar.view.borrow_mut() = Some(view);
    entries
}

/// `calendarView`.
pub(crate) fn calendar_view(graph: &Graph, call: &Call<'_>, calendar: &str) -> Result<Reply, ApiError> {
    let calendar = graph.open(&call.who, calendar)?;
    let window = call.window()?;
    let entries = if call.twist.empty_listing { Arc::default() } else { entries(calendar, window) };
    let items = entries.iter().filter_map(|entry| Some((calendar.get(entry.serial)?, entry.day)));
    page(call, items)
}

/// `events`: masters and single events.
pub(crate) fn events(graph: &Graph, call: &Call<'_>, calendar: &str) -> Result<Reply, ApiError> {
    let calendar = graph.open(&call.who, calendar)?;
    if call.twist.empty_listing {
        return page(call, std::iter::empty());
    }
    page(call, calendar.all().map(|stored| (stored, None)))
}

/// `instances` of a series.
pub(crate) fn instances(graph: &Graph, call: &Call<'_>, found: &Found) -> Result<Reply, ApiError> {
    let stored = graph.stored(found)?;
    let mut days = stored.days_within(call.window()?);
    days.sort_unstable();
    page(call, days.into_iter().map(|day| (stored, Some(day))))
}

/// One event or occurrence.
pub(crate) fn one(graph: &Graph, call: &Call<'_>, found: &Found) -> Result<Reply, ApiError> {
    let stored = graph.stored(found)?;
    let mut shown = Value::Object(event::answer(stored, found.day, call));
    super::set(
        &mut shown,
        "@odata.context",
        json!(format!("{}/$metadata#users('me')/events/$entity", call.root)),
    );
    Ok(Reply::ok(shown))
}

/// A page of items, by `$skip`; filtered when there is a filter.
fn page<'a>(
    call: &Call<'_>,
    items: impl Iterator<Item = (&'a Stored, Option<NaiveDate>)>,
) -> Result<Reply, ApiError> {
    let size = call.page_size(PAGE)?;
    let skipped = call.number("$skip")?.unwrap_or(0);
    let filter = Filter::read(call.text("$filter"))?;
    let show = |(stored, day): (&Stored, Option<NaiveDate>)| event::answer(stored, day, call);
    let admitted: Box<dyn Iterator<Item = (&Stored, Option<NaiveDate>)>> = if filter.is_empty() {
        Box::new(items)
    } else {
        Box::new(items.filter(|(stored, day)| {
            filter.may_admit(&stored.own)
                && filter.admits(&event::show(stored, *day, &call.prefer), &stored.own(*day))
        }))
    };
    let mut rest = admitted.skip(skipped);
    let mut shown: Vec<Map<String, Value>> = rest.by_ref().take(size).map(show).collect();
    if call.twist.duplicates {
        let twice = shown.iter().step_by(2).cloned().collect::<Vec<_>>();
        shown.extend(twice);
    }
    let mut document = json!({
        "@odata.context": format!("{}/$metadata#users('me')/events", call.root),
        "value": shown,
    });
    if rest.next().is_some() {
        let query = format!("{}&$skip={}", call.query_without("$skip"), skipped + size);
        let link = call.link(query.trim_start_matches('&'));
        super::set(&mut document, "@odata.nextLink", json!(link));
    }
    Ok(Reply::ok(document))
}
