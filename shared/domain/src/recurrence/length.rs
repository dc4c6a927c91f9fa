//! How long instances last: the form in which the end was given decides (RFC 5545 §3.8.5.3).

use chrono::{DateTime, Days, Duration, NaiveDateTime, Utc};
use chrono_tz::Tz;

use super::zone::{ZoneClock, instant_of};
use crate::model::{End, NominalDuration, When};

/// How long an instance lasts, by the form in which the end was given.
pub(crate) struct Length<'a> {
    kind: LengthKind,
    end_clock: ZoneClock<'a>,
    end_form: &'a When,
}

#[derive(Clone, Copy)]
enum LengthKind {
    /// Whole days, for dates.
    Days(i64),
    /// The difference of two wall times, for floating ones.
    Wall(Duration),
    /// The difference of two instants.
    Exact(Duration),
    /// Calendar days, then exact seconds.
    Nominal(NominalDuration),
}

impl<'a> Length<'a> {
    pub(crate) fn new(start: &'a When, end: &'a End, reader_zone: Tz) -> Self {
        let (kind, end_form) = match end {
            End::Unspecified if start.is_date() => (LengthKind::Days(1), start),
            End::Unspecified => (LengthKind::Exact(Duration::zero()), start),
            End::After(length) if start.is_date() => {
                // a day's event cannot last a part of a day
                let days = i64::from(length.days) + i64::from(length.seconds.div_ceil(86_400));
                (LengthKind::Days(days.max(1)), start)
            }
            End::After(length) => (LengthKind::Nominal(*length), start),
            End::At(at) => (Self::between(start, at, reader_zone), at),
        };
        Self { kind, end_clock: ZoneClock::of(end_form, reader_zone), end_form }
    }

    fn between(start: &When, end: &When, reader_zone: Tz) -> LengthKind {
        match (start, end) {
            (When::Date(from), When::Date(to)) => LengthKind::Days((*to - *from).num_days().max(1)),
            (When::Floating(from), When::Floating(to)) => {
                LengthKind::Wall((*to - *from).max(Duration::zero()))
            }
            _ => {
                let (from, _) = ZoneClock::of(start, reader_zone).instant(start.wall());
                let (to, _) = ZoneClock::of(end, reader_zone).instant(end.wall());
                LengthKind::Exact((to - from).max(Duration::zero()))
            }
        }
    }

    pub(crate) fn longest(&self) -> Duration {
        match self.kind {
            LengthKind::Days(days) => Duration::try_days(days + 1).unwrap_or(Duration::MAX),
            LengthKind::Wall(length) | LengthKind::Exact(length) => length,
            LengthKind::Nominal(length) => {
                Duration::days(i64::from(length.days)) + Duration::seconds(i64::from(length.seconds))
            }
        }
    }

    pub(crate) fn end_of(&mut self, start: &When, starts_at: DateTime<Utc>) -> (When, DateTime<Utc>) {
        let wall = start.wall();
        let form = match self.end_form {
            // an instance of a series in UTC, or an addition in UTC, ends in the form of its end
            When::Date(_) if !start.is_date() => start,
            form => form,
        };
        match self.kind {
            LengthKind::Days(days) => {
                let end = add_days(wall, days);
                (form.with_wall(end), self.end_clock.instant(end).0)
            }
            LengthKind::Wall(length) => {
                let end = wall.checked_add_signed(length).unwrap_or(wall);
                (form.with_wall(end), self.end_clock.instant(end).0)
            }
            LengthKind::Exact(length) if length.is_zero() => (start.clone(), starts_at),
            LengthKind::Exact(length) => {
                let ends_at = starts_at.checked_add_signed(length).unwrap_or(starts_at);
                (form.with_wall(self.end_clock.wall(ends_at)), ends_at)
            }
            LengthKind::Nominal(length) => {
                let days = add_days(wall, i64::from(length.days));
                let day = if length.days == 0 { starts_at } else { self.end_clock.instant(days).0 };
                let seconds = Duration::seconds(i64::from(length.seconds));
                let ends_at = day.checked_add_signed(seconds).unwrap_or(day);
                (start.with_wall(self.end_clock.wall(ends_at)), ends_at)
            }
        }
    }
}

/// The end of the instance that starts at `start`, of what first starts at `first` and lasts until `end`; an end in
/// the form in which the first one was given.
pub fn end_of(first: &When, end: &End, start: &When, reader_zone: Tz) -> When {
    let (starts_at, _) = instant_of(start, reader_zone);
    Length::new(first, end, reader_zone).end_of(start, starts_at).0
}

fn add_days(wall: NaiveDateTime, days: i64) -> NaiveDateTime {
    u64::try_from(days).ok().and_then(|days| wall.checked_add_days(Days::new(days))).unwrap_or(wall)
}
