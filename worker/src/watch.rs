//! What is to be done about the watches of one calendar: pure, over what is stored.
//!
//! The newest watch is the calendar's; it is renewed at about half of its life. Where the provider begins another one
//! for that, the two overlap: the older one is stopped when the newer one has proved alive, or ends by itself. A
//! watch that let a change pass untold is replaced, unless its notification turns out to have been late only.

use std::time::Duration;

use calfleet_domain::clock::{Rng, Timestamp};
use calfleet_domain::job::{Ask, Asker, Kind, Lane, WorkKey};
use calfleet_domain::model::{CalendarId, WatchId};
use calfleet_store::connections::Connection;
use calfleet_store::watches::Watch;

/// How late a notification may be before its watch is replaced; Microsoft names 3 minutes as the worst.
pub const LATEST_NOTIFICATION: Duration = Duration::from_mins(5);

/// How long a watch whose begin was not answered is waited for to notify.
const UNANSWERED: Duration = Duration::from_mins(10);

/// Whether a calendar is to be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It is.
    Watched,
    /// It is not (any more).
    Unwatched,
}

/// What to ask of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Nothing.
    Nothing,
    /// A watch.
    Fresh,
    /// The same for longer, or another one beside it.
    Renewal(Watch),
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Watches that the provider is to be told to end.
    pub stop: Vec<Watch>,
    /// Watches that the provider has never answered for: forgotten.
    pub forget: Vec<WatchId>,
    /// What is then asked for.
    pub begin: Begin,
    /// When to look again if all that goes well; what is begun has a time of its own.
    pub next: Timestamp,
}

/// Decides over a calendar's watches, the newest first.
pub fn decide(wish: Wish, watches: &[Watch], now: Timestamp) -> Decision {
    let (known, unanswered): (Vec<&Watch>, Vec<&Watch>) =
        watches.iter().filter(|watch| watch.expires_at > now).partition(|watch| watch.provider_id.is_some());
    let mut forget: Vec<WatchId> = unanswered
        .iter()
        .filter(|watch| watch.created_at.plus(UNANSWERED) <= now)
        .map(|watch| watch.id)
        .collect();
    forget.extend(watches.iter().filter(|watch| watch.expires_at <= now).map(|watch| watch.id));
    let current = known.first();
    let begin = match current {
        _ if wish == Wish::Unwatched => Begin::Nothing,
        None => Begin::Fresh,
        Some(watch) if is_lost(watch, now) => Begin::Fresh,
        Some(watch) if watch.renew_at <= now => Begin::Renewal((*watch).clone()),
        Some(_) => Begin::Nothing,
    };
    // the newest that can be relied on, else the newest
    let best = known.iter().find(|watch| watch.is_proven(now)).or(current);
    let is_kept = |watch: &Watch| match wish {
        Wish::Unwatched => false,
        // while another one begins, one beside it is enough
        Wish::Watched if begin != Begin::Nothing => best.is_some_and(|best| best.id == watch.id),
        Wish::Watched => [current, best].into_iter().flatten().any(|kept| kept.id == watch.id),
    };
    let stop = known.iter().filter(|watch| !is_kept(watch)).map(|watch| (*watch).clone()).collect();
    let looks = current
        .into_iter()
        .filter(|_| wish == Wish::Watched)
        .flat_map(|watch| [Some(watch.renew_at), watch.doubted_at.map(|at| at.plus(LATEST_NOTIFICATION))]);
    let waits = unanswered.iter().map(|watch| Some(watch.created_at.plus(UNANSWERED)));
    let next = looks.chain(waits).flatten().filter(|at| *at > now).min().unwrap_or(Timestamp::NEVER);
    Decision { stop, forget, begin, next }
}

/// Whether it let a change pass untold, beyond what can be late.
fn is_lost(watch: &Watch, now: Timestamp) -> bool {
    watch.doubted_at.is_some_and(|at| at.plus(LATEST_NOTIFICATION) <= now)
}

/// An ask to look after a calendar's watch.
pub(crate) fn ask(connection: &Connection, calendar: CalendarId, at: Timestamp) -> Ask {
    Ask {
        key: WorkKey { kind: Kind::Watch, target: calendar.0 },
        organization_id: connection.organization_id,
        connection_id: Some(connection.id),
        lane: Lane::Upkeep,
        at,
        asker: Asker::Machine,
    }
}

/// When a watch is to be renewed that ends at `expires_at`: in the third fifth of what is left of its life, so that
/// those that were begun together drift apart and there is time for many attempts.
pub fn renewal(expires_at: Timestamp, now: Timestamp, rng: &dyn Rng) -> Timestamp {
    let life = expires_at.since(now);
    now.plus(life / 2 + rng.jitter(life / 10))
}

#[cfg(test)]
mod tests {
    use calfleet_domain::model::ConnectionId;
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn watch(id: u128) -> Watch {
        let created_at = NOW.minus(Duration::from_hours(1));
        Watch {
            id: WatchId(Uuid::from_u128(id)),
            connection_id: ConnectionId(Uuid::nil()),
            calendar_id: CalendarId(Uuid::nil()),
            provider_id: Some(id.to_string()),
            resource: None,
            created_at,
            expires_at: created_at.plus(DAY),
            renew_at: created_at.plus(DAY / 2),
            verified_at: Some(created_at),
            notified_at: Some(created_at),
            doubted_at: None,
        }
    }

    fn stopped(decision: &Decision) -> Vec<WatchId> {
        decision.stop.iter().map(|watch| watch.id).collect()
    }

    #[test]
    fn a_watch_that_is_well_is_left_alone_until_its_renewal() {
        let decision = decide(Wish::Watched, &[watch(1)], NOW);

        let next = watch(1).renew_at;
        let nothing = Decision { stop: Vec::new(), forget: Vec::new(), begin: Begin::Nothing, next };
        assert_eq!(decision, nothing);
        assert_eq!(decide(Wish::Watched, &[], NOW).begin, Begin::Fresh);
    }

    #[test]
    fn the_last_watch_goes_on_until_the_next_one_has_proved_alive() {
        let old = Watch { renew_at: NOW, ..watch(1) };
        let young = Watch { verified_at: None, notified_at: None, ..watch(2) };

        assert_eq!(decide(Wish::Watched, std::slice::from_ref(&old), NOW).begin, Begin::Renewal(old.clone()));
        let waiting = decide(Wish::Watched, &[young.clone(), old.clone()], NOW);
        assert_eq!((waiting.begin.clone(), stopped(&waiting)), (Begin::Nothing, Vec::new()));
        let proven = decide(Wish::Watched, &[watch(2), old.clone()], NOW);
        assert_eq!(stopped(&proven), [old.id]);
        let silent = Watch { renew_at: NOW, ..young };
        let third = decide(Wish::Watched, &[silent.clone(), old.clone(), watch(3)], NOW);
        assert_eq!(third.begin, Begin::Renewal(silent.clone()));
        assert_eq!(stopped(&third), [silent.id, watch(3).id], "the one that is known to work stays");
    }

    #[test]
    fn a_watch_that_missed_a_change_is_replaced_when_its_notification_is_not_merely_late() {
        let doubted = Watch { doubted_at: Some(NOW), ..watch(1) };

        let at_first = decide(Wish::Watched, std::slice::from_ref(&doubted), NOW);
        assert_eq!((at_first.begin, at_first.next), (Begin::Nothing, NOW.plus(LATEST_NOTIFICATION)));
        let later = decide(Wish::Watched, &[doubted], NOW.plus(LATEST_NOTIFICATION));
        assert_eq!((later.begin, later.stop), (Begin::Fresh, Vec::new()));
    }

    #[test]
    fn what_is_no_longer_wanted_is_stopped_and_what_was_never_answered_is_forgotten() {
        let unanswered = Watch { provider_id: None, verified_at: None, ..watch(2) };
        let asked = Watch { created_at: NOW, ..unanswered.clone() };
        let ended = Watch { expires_at: NOW, ..watch(3) };

        let decision = decide(Wish::Unwatched, &[asked, unanswered.clone(), watch(1), ended.clone()], NOW);

        assert_eq!(stopped(&decision), [watch(1).id]);
        assert_eq!(decision.forget, [unanswered.id, ended.id]);
        assert_eq!((decision.begin, decision.next), (Begin::Nothing, NOW.plus(UNANSWERED)));
        assert_eq!(decide(Wish::Unwatched, &[], NOW).next, Timestamp::NEVER);
    }

    #[test]
    fn renewal_leaves_a_third_of_the_life_at_least() {
        #[derive(Debug)]
        struct Most;
        impl Rng for Most {
            fn next_u64(&self) -> u64 {
                u64::MAX
            }
        }

        let at = renewal(NOW.plus(DAY), NOW, &Most);

        assert!(at >= NOW.plus(DAY / 2) && at <= NOW.plus(DAY * 2 / 3), "{at}");
    }
}
