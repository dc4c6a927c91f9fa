//! "This and following": one series becomes two, which together happen when the one did.
//!
//! The first keeps the `UID` and ends before the cut, the second begins at it under a new one and takes the
//! overrides, exclusions and additions from there on. A `COUNT` is shared out; any other rule gets an `UNTIL` in
//! the first half and goes on unchanged in the second, whose start lies on the same grid.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use chrono::{DateTime, Duration, NaiveDateTime};
use chrono_tz::Tz;

use super::expand::start_of;
use super::generate::{Ended, Walk};
use super::length::Length;
use super::rule::{self, Recurrence, Until};
use super::zone::ZoneClock;
use crate::model::{
    Body, End, Event, Master, NominalDuration, Override, RecurrenceId, Rule, Series, Uid, When,
};

/// Steps for finding the cut and what lies before it.
const STEPS: u64 = 1_000_000;

/// Why a series cannot be split there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// It is no series, or its master is unknown.
    #[error("only a series whose rule is known can be split")]
    NoSeries,
    /// The cut is its first instance: what is meant is the whole series.
    #[error("nothing lies before the first instance: change the whole series instead")]
    NothingBefore,
    /// No rule yields the cut.
    #[error("{0} is no instance of the rule")]
    NoInstance(RecurrenceId),
    /// A rule cannot be expanded, or only at a price we do not pay.
    #[error("the rule of the series cannot be split")]
    Unexpandable,
}

/// Splits a series at one of its instances; the second half is named `uid`.
///
/// # Errors
/// When the event is no series or `cut` is not one of the instances after the first that its rules yield.
pub fn split(event: &Event, cut: RecurrenceId, uid: Uid) -> Result<(Event, Event), SplitError> {
    let Body::Series(series) = &event.body else { return Err(SplitError::NoSeries) };
    let master = series.master.as_ref().ok_or(SplitError::NoSeries)?;
    let start = &master.fields.start;
    let at = start_of(cut, start);
    let wall = at.wall();
    if wall <= start.wall() {
        return Err(SplitError::NothingBefore);
    }
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut is_instance = false;
    for rule in &master.rules {
        let rule = rule::counted(&rule.0, start).map_err(|_| SplitError::Unexpandable)?;
        let halves = split_rule(&rule, start, wall)?;
        is_instance |= halves.has_cut;
        before.push(Rule(halves.before.to_string()));
        after.extend(halves.after.map(|rule| Rule(rule.to_string())));
    }
    if !is_instance {
        return Err(SplitError::NoInstance(cut));
    }
    let is_later = |id: &RecurrenceId| start_of(*id, start).wall() >= wall;
    let (later, earlier) = partition(&series.overrides, is_later);
    let half = |rules: Vec<Rule>, overrides: BTreeMap<RecurrenceId, Override>, wants_later: bool| {
        let mut master = master.clone();
        master.rules = rules;
        master.additions.retain(|id, _| is_later(id) == wants_later);
        master.exclusions.retain(|id| is_later(id) == wants_later);
        if wants_later {
            move_start(&mut master, &at);
        }
        Body::Series(Series { master: Some(master), overrides })
    };
    Ok((
        Event { uid: event.uid.clone(), body: half(before, earlier, false) },
        Event { uid, body: half(after, later, true) },
    ))
}

fn partition(
    overrides: &BTreeMap<RecurrenceId, Override>,
    is_later: impl Fn(&RecurrenceId) -> bool,
) -> (BTreeMap<RecurrenceId, Override>, BTreeMap<RecurrenceId, Override>) {
    overrides.iter().map(|(id, over)| (*id, over.clone())).partition(|(id, _)| is_later(id))
}

/// Moves the first instance, keeping its length in the form in which it was given; but an end in the second pass of an
/// hour that comes twice has no time of day of its own, and is said by its length.
fn move_start(master: &mut Master, at: &When) {
    let fields = &master.fields;
    if let End::At(_) = &fields.end {
        let (starts_at, _) = ZoneClock::of(at, Tz::UTC).instant(at.wall());
        let (end, ends_at) = Length::new(&fields.start, &fields.end, Tz::UTC).end_of(at, starts_at);
        let (said, _) = ZoneClock::of(&end, Tz::UTC).instant(end.wall());
        let seconds = u32::try_from((ends_at - starts_at).num_seconds()).ok();
        master.fields.end = match seconds {
            Some(seconds) if said != ends_at => End::After(NominalDuration { days: 0, seconds }),
            _ => End::At(end),
        };
    }
    master.fields.start = at.clone();
}

struct Halves {
    before: Recurrence,
    /// `None` when nothing of the rule is left.
    after: Option<Recurrence>,
    has_cut: bool,
}

fn split_rule(rule: &Recurrence, start: &When, cut: NaiveDateTime) -> Result<Halves, SplitError> {
    let mut steps = STEPS;
    let mut earlier = 0_u64;
    let mut has_cut = false;
    // without COUNT what lies before the cut need not be counted
    let from = if rule.count.is_some() { start.wall() } else { cut };
    let ended = Walk::new(rule, start.wall(), from, cut, &mut steps).run(&mut |wall| {
        if wall < cut {
            earlier += 1;
        }
        has_cut |= wall == cut;
        ControlFlow::Continue(())
    });
    if ended == Ended::OverBudget {
        return Err(SplitError::Unexpandable);
    }
    let mut clock = ZoneClock::of(start, Tz::UTC);
    let is_over = match rule.until {
        Some(Until::Utc(until)) => clock.instant(cut).0 > until,
        Some(Until::Wall(until)) => cut > until,
        Some(Until::Date(until)) => cut.date() > until,
        None => false,
    };
    has_cut &= !is_over;
    let (mut before, mut after) = (rule.clone(), Some(rule.clone()));
    match rule.count {
        Some(count) => {
            before.count = Some(earlier.max(1));
            let left = count.saturating_sub(earlier);
            after = after.filter(|_| left > 0).map(|after| Recurrence { count: Some(left), ..after });
        }
        None if is_over => after = None,
        None => before.until = Some(until_before(start, cut, &mut clock)),
    }
    Ok(Halves { before, after, has_cut })
}

fn until_before(start: &When, cut: NaiveDateTime, clock: &mut ZoneClock<'_>) -> Until {
    let second = Duration::seconds(1);
    match start {
        When::Date(_) => Until::Date(cut.date().pred_opt().unwrap_or(cut.date())),
        When::Floating(_) => Until::Wall(cut.checked_sub_signed(second).unwrap_or(cut)),
        When::Zoned { .. } | When::Utc(_) => {
            let (instant, _) = clock.instant(cut);
            Until::Utc(instant.checked_sub_signed(second).unwrap_or(DateTime::UNIX_EPOCH))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ics::{Item, Limits, read};

    fn event(rule: &str) -> Event {
        let text = format!(
            "BEGIN:VEVENT\r\nUID:a\r\nDTSTART;TZID=Europe/Paris:20260302T093000\r\nDTEND;TZID=Europe/Paris:20260302T103000\r\nRRULE:{rule}\r\nEND:VEVENT\r\n"
        );
        match read(&text, None, &Limits::default()).unwrap().items.remove(0) {
            Item::Read(object) => object.event,
            Item::Unreadable { reason, .. } => panic!("{reason}"),
        }
    }

    fn rules(rule: &str, cut: &str) -> Result<(String, String), SplitError> {
        let (before, after) = split(&event(rule), cut.parse().unwrap(), Uid::from("b"))?;
        let rule = |event: Event| match event.body {
            Body::Series(series) => series.master.unwrap().rules[0].0.clone(),
            Body::Single(_) => panic!("a series"),
        };
        Ok((rule(before), rule(after)))
    }

    #[test]
    fn a_count_is_shared_out_and_an_endless_rule_is_ended() {
        let halves = |before: &str, after: &str| Ok((before.to_owned(), after.to_owned()));

        assert_eq!(
            rules("FREQ=WEEKLY;COUNT=10", "20260316T093000"),
            halves("FREQ=WEEKLY;COUNT=2", "FREQ=WEEKLY;COUNT=8")
        );
        assert_eq!(
            rules("FREQ=WEEKLY", "20260330T093000"),
            halves("FREQ=WEEKLY;UNTIL=20260330T072959Z", "FREQ=WEEKLY")
        );
    }

    #[test]
    fn an_end_in_the_second_pass_of_an_hour_is_said_by_its_length() {
        let mut event = event("FREQ=DAILY");
        let Body::Series(series) = &mut event.body else { panic!("a series") };
        let fields = &mut series.master.as_mut().unwrap().fields;
        fields.end = End::At(start_of("20260302T033000".parse().unwrap(), &fields.start));
        fields.start = start_of("20260301T213000".parse().unwrap(), &fields.start);

        let ends = ["20260310T213000", "20261024T213000"].map(|cut| {
            let (_, after) = split(&event, cut.parse().unwrap(), Uid::from("b")).unwrap();
            let Body::Series(series) = after.body else { panic!("a series") };
            series.master.unwrap().fields.end
        });

        assert!(
            matches!(&ends[0], End::At(end) if end.wall().to_string() == "2026-03-11 03:30:00"),
            "{ends:?}"
        );
        assert_eq!(ends[1], End::After(NominalDuration { days: 0, seconds: 6 * 3_600 }));
    }

    #[test]
    fn a_cut_must_be_an_instance_after_the_first() {
        assert_eq!(rules("FREQ=WEEKLY", "20260302T093000"), Err(SplitError::NothingBefore));
        let tuesday = "20260317T093000".parse().unwrap();
        assert_eq!(rules("FREQ=WEEKLY", "20260317T093000"), Err(SplitError::NoInstance(tuesday)));
        assert!(matches!(
            rules("FREQ=WEEKLY;UNTIL=20260310T000000Z", "20260316T093000"),
            Err(SplitError::NoInstance(_))
        ));
    }
}
