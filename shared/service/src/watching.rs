//! Whether providers tell of the changes of calendars, as people see it: which watches have proved alive, and why the
//! others have not.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::CalendarState;
use calfleet_store::calendars::Calendar;
use calfleet_store::watches::Watch;
use serde::Serialize;

/// The watch of a calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WatchView {
    /// `proven`: its provider tells of its changes; `unproven`: it has agreed to, and that is all that is known;
    /// `none`: the calendar is polled only.
    pub state: &'static str,
    /// When it was begun.
    pub created_at: Option<Timestamp>,
    /// When it ends, unless it is renewed before.
    pub expires_at: Option<Timestamp>,
    /// Its last proof of life: when its last notification arrived.
    pub notified_at: Option<Timestamp>,
    /// Why it is not proven, in words for people.
    pub reason: Option<String>,
}

/// How many calendars of those that could be watched have a watch that proved alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Calendars whose watch proved alive.
    pub proven: usize,
    /// Calendars that are synced and whose provider can tell of changes.
    pub eligible: usize,
}

impl Coverage {
    /// Of the calendars that could have a watch.
    pub(crate) fn of<'a>(watches: impl Iterator<Item = &'a WatchView>) -> Self {
        let mut coverage = Self::default();
        for watch in watches {
            coverage.eligible += 1;
            coverage.proven += usize::from(watch.state == "proven");
        }
        coverage
    }
}

/// The best of a calendar's `watches`; `problem` is what the last look at them came to. `None` for a calendar that is
/// not synced.
pub(crate) fn view(
    calendar: &Calendar,
    watches: &[Watch],
    problem: Option<&str>,
    now: Timestamp,
) -> Option<WatchView> {
    if !calendar.is_selected || calendar.state == CalendarState::Gone {
        return None;
    }
    let own = || {
        watches.iter().filter(|watch| {
            watch.calendar_id == calendar.id && watch.provider_id.is_some() && watch.expires_at > now
        })
    };
    let Some(watch) = own().find(|watch| watch.is_proven(now)).or_else(|| own().next()) else {
        let reason = problem.unwrap_or("Its provider has not been asked yet to tell of changes.");
        let (created_at, expires_at, notified_at) = (None, None, None);
        let reason = Some(reason.to_owned());
        return Some(WatchView { state: "none", created_at, expires_at, notified_at, reason });
    };
    let reason = match (watch.verified_at, watch.doubted_at) {
        (None, _) => Some("The provider has agreed to tell of changes, but nothing has arrived yet."),
        (_, Some(_)) => Some("A change was found that the provider had not told of."),
        (Some(_), None) => None,
    };
    Some(WatchView {
        state: if reason.is_none() { "proven" } else { "unproven" },
        created_at: Some(watch.created_at),
        expires_at: Some(watch.expires_at),
        notified_at: watch.notified_at,
        reason: reason.map(str::to_owned),
    })
}
