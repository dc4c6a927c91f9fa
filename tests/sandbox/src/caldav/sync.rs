//! Sync tokens and what they stand for (RFC 6578), with the habits of servers.
//!
//! An exact token is `{era}-{revision}`. The era changes when tokens are expired and is different for every
//! calendar that ever existed, so a token of another calendar, or of a deleted one of the same name, is
//! invalid. Servers that count seconds do not page: a page boundary inside a second could not be told.

use super::calendar::{Calendar, Member};
use super::profile::{LimitHabit, Profile, TokenHabit};

/// Prefix of exact tokens; RFC 6578 wants a URI.
const PREFIX: &str = "http://sandbox.example/ns/sync/";

/// The token is unknown or no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid;

/// Where a delta begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    Beginning,
    Revision(u64),
    /// Milliseconds, inclusive.
    Moment(i64),
}

/// What changed, the token after it, and whether more is to come.
#[derive(Debug)]
pub(crate) struct Delta {
    pub(crate) members: Vec<Member>,
    pub(crate) token: String,
    pub(crate) truncated: bool,
}

/// The token of the present state.
pub(crate) fn newest_token(calendar: &Calendar, profile: &Profile) -> String {
    match profile.tokens {
        TokenHabit::Exact | TokenHabit::RepeatsLast => token_at(calendar, calendar.revision),
        TokenHabit::Second | TokenHabit::SecondMissing => {
            format!("{PREFIX}{}-{}", calendar.era, calendar.last_change().div_euclid(1_000))
        }
    }
}

fn token_at(calendar: &Calendar, revision: u64) -> String {
    format!("{PREFIX}{}-{revision}", calendar.era)
}

/// What a token stands for; an empty one for the beginning.
pub(crate) fn since(calendar: &Calendar, profile: &Profile, token: &str) -> Result<Since, Invalid> {
    let token = token.trim();
    if token.is_empty() {
        return Ok(Since::Beginning);
    }
    let (era, at) = token.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).ok_or(Invalid)?;
    if era.parse() != Ok(calendar.era) {
        return Err(Invalid);
    }
    let at: u64 = at.parse().map_err(|_| Invalid)?;
    match profile.tokens {
        TokenHabit::Exact | TokenHabit::RepeatsLast if at > calendar.revision => Err(Invalid),
        TokenHabit::Exact => Ok(Since::Revision(at + 1)),
        TokenHabit::RepeatsLast => Ok(Since::Revision(at)),
        TokenHabit::Second => Ok(Since::Moment(second(at)?)),
        TokenHabit::SecondMissing => Ok(Since::Moment(second(at + 1)?)),
    }
}

fn second(at: u64) -> Result<i64, Invalid> {
    i64::try_from(at).ok().and_then(|at| at.checked_mul(1_000)).ok_or(Invalid)
}

/// The delta since a token; `limit` is the client's `D:limit`.
pub(crate) fn delta(calendar: &Calendar, profile: &Profile, since: Since, limit: Option<usize>) -> Delta {
    let tombstones = since != Since::Beginning || profile.tombstones_in_initial_sync;
    let told = |(_, member): &(u64, Member)| tombstones || matches!(member, Member::Present { .. });
    let revision = match since {
        Since::Beginning => 0,
        Since::Revision(revision) => revision,
        Since::Moment(at) => {
            let members = calendar.changed_since(at).filter(told).map(|(_, member)| member).collect();
            return Delta { members, token: newest_token(calendar, profile), truncated: false };
        }
    };
    let asked = if profile.limit == LimitHabit::Ignored { None } else { limit };
    let page = asked.into_iter().chain(profile.page_limit).min().unwrap_or(usize::MAX);
    let mut changed = calendar.changed_from(revision).filter(told);
    let mut last = 0;
    let mut members = Vec::new();
    for (revision, member) in changed.by_ref().take(page) {
        last = revision;
        members.push(member);
    }
    let cut = changed.next().is_some();
    if cut && profile.limit != LimitHabit::LosesRest {
        return Delta { members, token: token_at(calendar, last), truncated: true };
    }
    Delta { members, token: newest_token(calendar, profile), truncated: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caldav::calendar::{CalendarSpec, Incoming};
    use crate::ical::Facts;

    fn calendar_with(names: &[&str]) -> Calendar {
        let mut calendar = Calendar::new(CalendarSpec::new("work"), 7);
        for name in names {
            put(&mut calendar, name, 1_000);
        }
        calendar
    }

    fn put(calendar: &mut Calendar, name: &str, at: i64) {
        let facts = Facts { uid: name.to_owned(), kind: "VEVENT".to_owned(), components: 1, span: (0, None) };
        calendar.store(Incoming { name, body: name, facts, sample: None }, at, &Profile::standard());
    }

    fn names(delta: &Delta) -> Vec<String> {
        let one = |member: &Member| match member {
            Member::Present { name, .. } => name.to_string(),
            Member::Removed { name } => format!("-{name}"),
        };
        delta.members.iter().map(one).collect()
    }

    #[test]
    fn paging_while_somebody_writes_misses_nothing() {
        let profile = Profile { page_limit: Some(2), ..Profile::standard() };
        let mut calendar = calendar_with(&["a", "b", "c"]);

        let first = delta(&calendar, &profile, Since::Beginning, None);
        put(&mut calendar, "a", 2_000);
        calendar.remove("b", 2_000);
        let second = delta(&calendar, &profile, since(&calendar, &profile, &first.token).unwrap(), None);
        let third = delta(&calendar, &profile, since(&calendar, &profile, &second.token).unwrap(), None);

        assert_eq!(names(&first), ["a", "b"]);
        assert_eq!(names(&second), ["c", "a"]);
        assert_eq!(names(&third), ["-b"]);
        assert!(first.truncated && second.truncated && !third.truncated);
    }

    #[test]
    fn a_token_of_a_second_brings_that_second_again() {
        let profile = Profile::sogo();
        let mut calendar = calendar_with(&["a"]);
        put(&mut calendar, "b", 2_000);
        let token = newest_token(&calendar, &profile);

        put(&mut calendar, "c", 2_500);

        let again = delta(&calendar, &profile, since(&calendar, &profile, &token).unwrap(), None);
        assert_eq!(names(&again), ["b", "c"]);
    }

    #[test]
    fn tokens_of_another_era_are_invalid() {
        let profile = Profile::standard();
        let mut calendar = calendar_with(&["a"]);
        let token = newest_token(&calendar, &profile);

        calendar.era += 1;

        assert_eq!(since(&calendar, &profile, &token), Err(Invalid));
        assert_eq!(since(&calendar, &profile, "nonsense"), Err(Invalid));
    }
}
