//! One function from facts to what people are told: the same words on the command line, in the API and on
//! screens.
//!
//! A status is never better than the data. Green means that every calendar was proven fresh within its poll
//! interval; whatever is older says so, and why.

use std::time::Duration;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::{CalendarState, ConnectionState};
use serde::Serialize;

/// How a connection is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Every calendar was proven fresh within its poll interval.
    Healthy,
    /// The first import or a poll is running or about to.
    Syncing,
    /// A calendar is compared in full because its cursor was lost.
    Resyncing,
    /// Something is older than it should be.
    Delayed,
    /// The provider has asked us to wait.
    Throttled,
    /// The provider has refused the credentials.
    NeedsReauth,
    /// Stopped by a person, or disconnected.
    Disabled,
}

/// What is known of one calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarFacts {
    /// What has become of it.
    pub state: CalendarState,
    /// The last listing that was complete and applied; `None` before the first.
    pub fresh_at: Option<Timestamp>,
    /// Whether a full listing is under way.
    pub is_listing: bool,
    /// The failure of the last attempt, in words for people.
    pub problem: Option<String>,
    /// Why deletions wait for a second listing, in words for people.
    pub waiting: Option<String>,
}

/// What is known of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it is allowed to do.
    pub state: ConnectionState,
    /// Its selected calendars.
    pub calendars: Vec<CalendarFacts>,
    /// Whether its sync is running or waits for a worker.
    pub is_running: bool,
    /// When it runs next; `None` for "when asked".
    pub next_at: Option<Timestamp>,
    /// The class of the last run's failure.
    pub class: Option<FailureClass>,
    /// The connection's own problem, in words for people.
    pub problem: Option<String>,
    /// Why events cannot be read, one reason an event.
    pub unreadable: Vec<String>,
    /// Between two polls.
    pub poll_interval: Duration,
}

impl Facts {
    /// Whether it goes on only after somebody did something about it. A refusal counts no more once another run has
    /// begun or was asked for.
    pub fn is_stuck(&self, now: Timestamp) -> bool {
        let was_refused = matches!(self.class, Some(FailureClass::Auth | FailureClass::Permanent));
        let is_again = self.is_running || self.next_at.is_some_and(|at| at <= now);
        self.state != ConnectionState::Active || (was_refused && !is_again)
    }
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// In one word.
    pub health: Health,
    /// In one sentence, with what to do where something can be done.
    pub message: String,
    /// The calendar that was proven fresh longest ago; `None` when one never was.
    pub fresh_at: Option<Timestamp>,
    /// When it runs next; `None` for "when asked".
    pub next_at: Option<Timestamp>,
}

/// How late a poll may be before it is called delayed, besides its interval: the queue, the run, some jitter.
const GRACE: Duration = Duration::from_mins(2);

/// The status that follows from the facts.
pub fn status(facts: &Facts, now: Timestamp) -> Status {
    let reachable = || facts.calendars.iter().filter(|calendar| calendar.state != CalendarState::Gone);
    let fresh_at = reachable().map(|calendar| calendar.fresh_at).min().flatten();
    let (health, message) = verdict(facts, fresh_at, now);
    Status { health, message, fresh_at, next_at: facts.next_at }
}

/// What is said of a connection that does not sync at all.
fn at_rest(facts: &Facts) -> Option<(Health, String)> {
    let (health, message) = match facts.state {
        ConnectionState::Active => return None,
        ConnectionState::Paused => {
            (Health::Disabled, "Paused; resume it to sync again. Nothing is lost meanwhile.")
        }
        ConnectionState::Disconnected => {
            let problem = facts.problem.as_deref();
            (Health::Disabled, problem.unwrap_or("Disconnected; connect the account again to sync."))
        }
        ConnectionState::NeedsReauth => {
            let problem = facts.problem.as_deref();
            (Health::NeedsReauth, problem.unwrap_or("The provider has refused the credentials."))
        }
    };
    Some((health, message.to_owned()))
}

fn verdict(facts: &Facts, fresh_at: Option<Timestamp>, now: Timestamp) -> (Health, String) {
    let said = |text: &str| text.to_owned();
    if let Some(verdict) = at_rest(facts) {
        return verdict;
    }
    let is_gone = |calendar: &CalendarFacts| calendar.state == CalendarState::Gone;
    let never = facts.calendars.iter().any(|calendar| !is_gone(calendar) && calendar.fresh_at.is_none());
    let problem = facts.problem.as_ref().or_else(|| facts.calendars.iter().find_map(|c| c.problem.as_ref()));
    if let Some(FailureClass::Throttled { .. }) = facts.class {
        let wait = facts.next_at.map(|at| at.since(now).as_secs()).unwrap_or_default();
        let reason = facts.problem.as_deref().unwrap_or("The provider asks us to wait.");
        return (Health::Throttled, format!("{reason} Tried again in {wait} s."));
    }
    if let Some(problem) = problem {
        return (Health::Delayed, problem.clone());
    }
    if let Some(waiting) = facts.calendars.iter().find_map(|calendar| calendar.waiting.as_ref()) {
        return (Health::Delayed, waiting.clone());
    }
    if facts.calendars.iter().any(|calendar| calendar.is_listing && calendar.fresh_at.is_some()) {
        return (Health::Resyncing, said("Compared in full with the provider; what is shown may be older."));
    }
    if facts.calendars.is_empty() && !facts.is_running {
        return (Health::Healthy, said("The account holds no calendar that is selected."));
    }
    if !facts.calendars.is_empty() && facts.calendars.iter().all(is_gone) {
        let message = "None of the calendars is there any more at the provider; their events are kept. Share them again, or disconnect the account.";
        return (Health::Delayed, said(message));
    }
    if never || facts.calendars.is_empty() {
        return (Health::Syncing, said("The first import is under way."));
    }
    let age = fresh_at.map(|at| now.since(at)).unwrap_or_default();
    if age > facts.poll_interval + GRACE {
        let minutes = age.as_secs() / 60;
        return (Health::Delayed, format!("Last proven fresh {minutes} min ago; the next sync is overdue."));
    }
    if facts.is_running {
        return (Health::Syncing, said("A sync is running."));
    }
    if let Some(reason) = facts.unreadable.first() {
        let count = facts.unreadable.len();
        let events = if count == 1 { "1 event".to_owned() } else { format!("{count} events") };
        return (
            Health::Healthy,
            format!("In step, but {events} cannot be read ({reason}); put that right at the provider."),
        );
    }
    if facts.calendars.iter().any(is_gone) {
        return (
            Health::Healthy,
            said("In step, but for calendars that are gone at the provider; their events are kept."),
        );
    }
    if facts.calendars.iter().any(|calendar| calendar.state == CalendarState::Reduced) {
        return (Health::Healthy, said("In step; some calendars show less detail than they did."));
    }
    (Health::Healthy, said("In step."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn fresh(at_minutes: i64) -> CalendarFacts {
        CalendarFacts {
            state: CalendarState::Reachable,
            fresh_at: Some(Timestamp(at_minutes * MINUTE)),
            is_listing: false,
            problem: None,
            waiting: None,
        }
    }

    #[test]
    fn a_connection_is_stuck_while_it_is_stopped_or_was_refused_for_good_and_nobody_asked_again() {
        let (now, later) = (Timestamp(MINUTE), Timestamp(2 * MINUTE));
        let refused = |class| Facts { class: Some(class), next_at: Some(later), ..facts(vec![fresh(0)]) };
        let permanent = refused(FailureClass::Permanent);

        assert!(permanent.is_stuck(now) && refused(FailureClass::Auth).is_stuck(now));
        assert!(!refused(FailureClass::Transient).is_stuck(now));
        assert!(!permanent.is_stuck(later));
        assert!(!Facts { is_running: true, ..permanent }.is_stuck(now));
        for state in [ConnectionState::Paused, ConnectionState::NeedsReauth, ConnectionState::Disconnected] {
            assert!(Facts { state, ..facts(vec![fresh(0)]) }.is_stuck(now), "{state:?}");
        }
        assert!(!facts(vec![fresh(0)]).is_stuck(now));
    }

    fn facts(calendars: Vec<CalendarFacts>) -> Facts {
        Facts {
            state: ConnectionState::Active,
            calendars,
            is_running: false,
            next_at: None,
            class: None,
            problem: None,
            unreadable: Vec::new(),
            poll_interval: Duration::from_mins(15),
        }
    }

    #[test]
    fn one_stale_calendar_is_enough_to_lose_the_green() {
        let now = Timestamp(100 * MINUTE);

        assert_eq!(status(&facts(vec![fresh(99), fresh(98)]), now).health, Health::Healthy);
        assert_eq!(status(&facts(vec![fresh(99), fresh(60)]), now).health, Health::Delayed);
    }

    #[test]
    fn a_calendar_that_never_arrived_is_not_healthy() {
        let mut calendar = fresh(0);
        calendar.fresh_at = None;

        let status = status(&facts(vec![fresh(99), calendar]), Timestamp(100 * MINUTE));

        assert_eq!((status.health, status.fresh_at), (Health::Syncing, None));
    }

    #[test]
    fn a_calendar_that_is_gone_is_named_and_hides_nothing() {
        let now = Timestamp(100 * MINUTE);
        let gone = CalendarFacts { state: CalendarState::Gone, fresh_at: None, ..fresh(0) };

        let some = status(&facts(vec![fresh(99), gone.clone()]), now);
        let stale = status(&facts(vec![fresh(60), gone.clone()]), now);
        let all = status(&facts(vec![gone]), now);

        assert_eq!(
            (some.health, stale.health, all.health),
            (Health::Healthy, Health::Delayed, Health::Delayed)
        );
        assert!(some.message.contains("gone"), "{}", some.message);
    }

    #[test]
    fn a_failing_calendar_is_named_even_when_it_is_fresh_yet() {
        let mut calendar = fresh(99);
        calendar.problem = Some("The server has a problem of its own (status 500).".to_owned());

        let status = status(&facts(vec![calendar]), Timestamp(100 * MINUTE));

        assert_eq!(status.health, Health::Delayed);
        assert!(status.message.contains("500"));
    }

    #[test]
    fn an_event_that_cannot_be_read_is_said_though_everything_else_is_in_step() {
        let mut facts = facts(vec![fresh(99)]);
        facts.unreadable = vec!["the event has no DTSTART".to_owned()];

        let status = status(&facts, Timestamp(100 * MINUTE));

        assert_eq!(status.health, Health::Healthy);
        assert!(status.message.contains("1 event cannot be read (the event has no DTSTART)"));
    }

    #[test]
    fn a_throttle_says_whose_limit_it_is_and_until_when() {
        let mut throttled = facts(vec![fresh(99)]);
        throttled.class = Some(FailureClass::Throttled { retry_after: None });
        throttled.problem = Some("The limit of this account is used up.".to_owned());
        throttled.next_at = Some(Timestamp(100 * MINUTE + 30_000));

        let status = status(&throttled, Timestamp(100 * MINUTE));

        assert_eq!(status.health, Health::Throttled);
        assert_eq!(status.message, "The limit of this account is used up. Tried again in 30 s.");
    }

    #[test]
    fn a_pause_outweighs_everything() {
        let mut paused = facts(vec![fresh(0)]);
        paused.state = ConnectionState::Paused;

        assert_eq!(status(&paused, Timestamp(100 * MINUTE)).health, Health::Disabled);
    }
}
