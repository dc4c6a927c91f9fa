//! `calendarView/delta`: a window listed once, then what changed in it.
//!
//! A link carries the era, the window, where in the calendar's log it stands, and nothing that is kept here:
//! an old link can be used again and again, as at Microsoft.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::calendar::{Calendar, Change, Former, Stored, Window};
use super::call::{Call, Preferences, Reply};
use super::error::ApiError;
use super::{DeltaHabit, Graph, GraphHabits, event, times};

/// Items of a page when nothing is said.
const PAGE: usize = 10;

/// Options that a delta does not take.
const FORBIDDEN: [&str; 5] = ["$select", "$expand", "$filter", "$orderby", "$search"];

/// What a link carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Link {
    era: u64,
    window: Window,
    /// Everything up to this revision of the log is listed.
    after: u64,
    /// So many items of the next entry are listed too.
    offset: usize,
    /// Where the next round starts.
    target: u64,
    /// The first round: nothing is said of what is gone.
    is_first: bool,
    /// Pages of this round so far.
    pages: u32,
}

impl Link {
    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(text: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}

/// Answers a page of a round.
pub(crate) fn page(graph: &Graph, call: &Call<'_>, calendar: &str) -> Result<Reply, ApiError> {
    let calendar = graph.open(&call.who, calendar)?;
    if let Some(name) = FORBIDDEN.iter().find(|name| call.text(name).is_some()) {
        return Err(ApiError::new(
            400,
            "ErrorInvalidUrlQuery",
            &format!(
                "The following parameters are not supported with change tracking over the 'CalendarView' resource: '{name}'."
            ),
        ));
    }
    let link = start(call, calendar, &graph.habits)?;
    let size = call.prefer.page_size.unwrap_or(PAGE).min(1_000);
    if graph.habits.empty_first_page && link.pages == 0 {
        return Ok(reply(call, Vec::new(), &Link { pages: 1, ..link }, false));
    }
    if call.twist.empty_listing {
        return Ok(reply(call, Vec::new(), &link, true));
    }
    let lister = Lister { calendar, link: &link, prefer: &call.prefer, habits: &graph.habits };
    let mut items = Vec::new();
    let mut stand = Link { pages: link.pages.saturating_add(1), ..link.clone() };
    for (revision, change) in calendar.changes_after(link.after) {
        let skipped = if stand.after == link.after { link.offset } else { 0 };
        let found = lister.items(change);
        let room = size - items.len();
        let listed = found.len().saturating_sub(skipped);
        items.extend(found.into_iter().skip(skipped).take(room));
        if listed > room {
            stand.offset = skipped + room;
            return Ok(reply(call, items, &stand, false));
        }
        (stand.after, stand.offset) = (revision, 0);
    }
    Ok(reply(call, items, &stand, true))
}

/// Where the page starts: at a link, or at the beginning of a window.
fn start(call: &Call<'_>, calendar: &Calendar, habits: &GraphHabits) -> Result<Link, ApiError> {
    let token = call.text("$skiptoken").or_else(|| call.text("$deltatoken"));
    let Some(text) = token.filter(|text| !text.is_empty()) else {
        let window = call.window()?;
        let (era, target) = (calendar.era, calendar.revision);
        return Ok(Link { era, window, after: 0, offset: 0, target, is_first: true, pages: 0 });
    };
    let known = Link::read(text);
    let window = known.as_ref().map(|link| link.window);
    let link = known.filter(|link| link.era == calendar.era && !call.twist.expired_token);
    let Some(mut link) = link else {
        return Err(match habits.expired_delta {
            DeltaHabit::SyncStateNotFound => ApiError::sync_state_not_found(),
            DeltaHabit::ResyncRequired => ApiError::resync_required(call.link(&start_over(window))),
            DeltaHabit::BadRequest => ApiError::new(
                400,
                "SyncStateNotFound",
                "The sync state generation is not found; generation=0.",
            ),
        });
    };
    if call.text("$deltatoken").is_some() {
        link.target = calendar.revision;
    }
    Ok(link)
}

/// The query that begins a window anew: its token is empty.
fn start_over(window: Option<Window>) -> String {
    let window = window.map(|(from, until)| (times::stamp_seconds(from), times::stamp_seconds(until)));
    let window = window.map(|(from, until)| format!("startDateTime={from}&endDateTime={until}&"));
    format!("{}$deltatoken=", window.unwrap_or_default())
}

fn reply(call: &Call<'_>, mut items: Vec<Map<String, Value>>, stand: &Link, is_last: bool) -> Reply {
    if call.twist.duplicates {
        let twice: Vec<Map<String, Value>> = items.iter().step_by(2).cloned().collect();
        items.extend(twice);
    }
    if call.twist.shuffle.is_some() {
        items.reverse();
    }
    let mut document = json!({
        "@odata.context": format!("{}/$metadata#Collection(event)", call.root),
        "value": items,
    });
    let (name, link) = if is_last {
        let next = Link { after: stand.target, offset: 0, is_first: false, pages: 0, ..stand.clone() };
        ("@odata.deltaLink", call.link(&format!("$deltatoken={}", next.write())))
    } else {
        ("@odata.nextLink", call.link(&format!("$skiptoken={}", stand.write())))
    };
    super::set(&mut document, name, json!(link));
    Reply::ok(document)
}

/// Turns entries of the log into items.
struct Lister<'a> {
    calendar: &'a Calendar,
    link: &'a Link,
    prefer: &'a Preferences,
    habits: &'a GraphHabits,
}

impl Lister<'_> {
    fn items(&self, change: &Change) -> Vec<Map<String, Value>> {
        match change {
            Change::Event(serial) => {
                self.calendar.get(*serial).map(|stored| self.event(stored)).unwrap_or_default()
            }
            Change::Exception(serial, day) => {
                // One that is older than its series was listed with it.
                let stored = self.calendar.get(*serial);
                let stored = stored.filter(|stored| stored.revision(Some(*day)) > stored.revision);
                stored.map(|stored| self.exception(stored, *day)).unwrap_or_default()
            }
            Change::Gone(_) | Change::Former(_) if self.link.is_first => Vec::new(),
            Change::Gone(id) => vec![event::removed(*id, self.prefer.form)],
            Change::Former(former) => self.former(former),
        }
    }

    /// What is said of something outside the window.
    fn outside(&self, id: super::id::Id) -> Vec<Map<String, Value>> {
        if self.link.is_first { Vec::new() } else { vec![event::removed(id, self.prefer.form)] }
    }

    fn event(&self, stored: &Stored) -> Vec<Map<String, Value>> {
        let Some(series) = &stored.series else {
            if stored.slot.is_within(self.link.window) {
                return vec![event::show(stored, None, self.prefer)];
            }
            return self.outside(stored.id(None));
        };
        let days = stored.days_within(self.link.window);
        let is_newer = |day| stored.revision(Some(day)) > stored.revision;
        let mut items = Vec::new();
        for day in &days {
            if !series.exceptions.contains_key(day) {
                items.push(if self.habits.slim_occurrences {
                    event::slim(stored, *day, self.prefer)
                } else {
                    event::show(stored, Some(*day), self.prefer)
                });
            } else if !is_newer(*day) {
                items.push(event::show(stored, Some(*day), self.prefer));
            }
        }
        if days.is_empty() {
            return self.outside(stored.id(None));
        }
        items.insert(0, event::show(stored, None, self.prefer));
        items
    }

    fn exception(&self, stored: &Stored, day: chrono::NaiveDate) -> Vec<Map<String, Value>> {
        if stored.slot(Some(day)).is_within(self.link.window) {
            return vec![event::show(stored, Some(day), self.prefer)];
        }
        self.outside(stored.id(Some(day)))
    }

    /// Occurrences that a series had in the window, and has no more.
    fn former(&self, former: &Former) -> Vec<Map<String, Value>> {
        let mut days = former.days_within(self.link.window);
        if let Some(present) = self.calendar.get(former.id.serial) {
            for day in present.days_within(self.link.window) {
                days.remove(&day);
            }
        }
        let id = |day| super::id::Id { day: Some(day), ..former.id };
        days.into_iter().map(|day| event::removed(id(day), self.prefer.form)).collect()
    }
}
