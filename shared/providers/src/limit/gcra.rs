//! The arithmetic of budgets: GCRA over several levels at once. Pure; the script in [`super::fleet`] says the same
//! in Lua, and a test holds the two against each other.
//!
//! A level is one number, the *theoretical arrival time*: when the budget would be unused again. A permit moves it
//! on by the interval; a permit is given when that leaves it no further ahead than the tolerance. So no stretch of
//! time of length `D` sees more than `burst + D / interval` permits, and the interval is chosen so that this is at
//! most the quota for the window and what may be added to it between the permit and its arrival at the provider.
//!
//! - Permits may be given for a little later: who asks waits in a queue without a place to keep, and nobody asks
//!   again and again.
//! - Who is in no hurry has a smaller tolerance, so that something is left for people.
//! - An organization is never refused: one over its share only leaves more of the project's burst to the others.
//! - A quota that nobody remembers may have been used up just now: it is empty at the instant since when it is kept
//!   (`since`), and fills from there. Until it is full nothing of it is left for people in particular.

/// What may lie between giving a permit and the provider's counting it: a slice's life, the connecting, the
/// difference of two clocks. Added to every window.
pub(super) const MARGIN_MS: f64 = 6_000.0;
/// How long one who asks is ready to wait for a permit that is given for later.
pub(super) const PATIENCE_MS: f64 = 1_000.0;
/// The smallest share of a budget that refusals shrink it to.
const LEAST_SHARE: f64 = 0.1;
/// A budget grows from nothing to the whole in this time after the last refusal.
pub(super) const RECOVERY_MS: f64 = 600_000.0;
/// Refusals that come together are one.
const ONE_REFUSAL_MS: f64 = 5_000.0;
/// Permits of the dearest request.
const DEAREST: f64 = 3.0;
/// More than anybody asks for at once.
const MOST_AT_ONCE: f64 = 32.0;

/// Which of its payer's budgets a level is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    /// Is kept, come what may.
    Strict,
    /// Squeezes the levels after it when it is used up, and refuses nothing.
    Fair,
}

/// One budget as it is applied to one who asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Level {
    pub(super) rule: Rule,
    /// Between two permits.
    pub(super) interval_ms: f64,
    /// What may be given at once, in intervals' time.
    pub(super) burst_ms: f64,
    /// How much of it this one may use.
    pub(super) tolerance_ms: f64,
    /// The same when a fair level before this is used up.
    pub(super) squeezed_ms: f64,
    /// What counts as used when it began to be kept: the burst, or nothing where no provider counts.
    pub(super) unknown_ms: f64,
}

/// What is remembered of a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct State {
    /// When it would be unused again; `None`: unknown.
    pub(super) arrival_ms: Option<f64>,
    /// Nothing may be asked before.
    pub(super) blocked_until_ms: f64,
    /// The share of it that the last refusal left, and when that was; `None`: the whole.
    pub(super) share: Option<(f64, f64)>,
}

/// Who asks for how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ask {
    pub(super) now_ms: f64,
    /// Fewer are of no use.
    pub(super) need: u32,
    /// So many are welcome.
    pub(super) want: u32,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// So many permits, to be used from then on.
    Granted { count: u32, from_ms: f64 },
    /// None before then. `level` is the index of the one that says so.
    Refused { level: usize, until_ms: f64, is_blocked: bool },
}

impl Level {
    /// A budget of at most `requests` in any `window_ms`, of which the fraction `burst` may be used at once.
    pub(super) fn new(rule: Rule, requests: u32, window_ms: f64, burst: f64) -> Self {
        let requests = f64::from(requests.max(1));
        // The dearest single request has to fit in, too, as long as the quota is not smaller still.
        let at_once = (requests * burst).max(DEAREST.min(requests / 2.0)).floor().max(1.0);
        let steady = (requests - at_once).max(0.5);
        let interval_ms = (window_ms + MARGIN_MS) / steady;
        let burst_ms = at_once * interval_ms;
        let unknown_ms = match rule {
            Rule::Strict => burst_ms,
            Rule::Fair => 0.0,
        };
        Self { rule, interval_ms, burst_ms, tolerance_ms: burst_ms, squeezed_ms: burst_ms, unknown_ms }
    }

    /// The same for a limit that is our own manners and no provider's quota: it begins full.
    pub(super) fn of_manners(mut self) -> Self {
        self.unknown_ms = 0.0;
        self
    }

    /// The same for one who may use only a part of the burst, and less when squeezed.
    pub(super) fn with_tolerance(mut self, part: f64, squeezed: f64) -> Self {
        self.tolerance_ms = self.burst_ms * part;
        self.squeezed_ms = self.burst_ms * squeezed;
        self
    }

    fn interval_now(&self, state: &State, now_ms: f64) -> f64 {
        self.interval_ms / share(state, now_ms)
    }

    fn tolerance(&self, is_squeezed: bool, kept_for_ms: f64) -> f64 {
        match is_squeezed {
            _ if kept_for_ms < self.unknown_ms => self.burst_ms,
            true => self.squeezed_ms,
            false => self.tolerance_ms,
        }
    }

    /// How far ahead of now the budget is used.
    fn debt(&self, state: &State, since_ms: f64, now_ms: f64) -> f64 {
        (state.arrival_ms.unwrap_or(since_ms + self.unknown_ms) - now_ms).max(0.0)
    }

    /// What only a clock that was far ahead can have left behind counts as a budget that was just used up.
    fn mend(&self, state: &mut State, now_ms: f64) {
        let possible_ms = (self.burst_ms + MOST_AT_ONCE * self.interval_ms) / LEAST_SHARE + PATIENCE_MS;
        if state.arrival_ms.is_some_and(|arrival_ms| arrival_ms - now_ms > possible_ms) {
            state.arrival_ms = Some(now_ms + self.burst_ms);
        }
    }
}

/// The share of a budget that is used after refusals: it grows back evenly.
fn share(state: &State, now_ms: f64) -> f64 {
    match state.share {
        None => 1.0,
        Some((share, at_ms)) => (share + (now_ms - at_ms).max(0.0) / RECOVERY_MS).clamp(LEAST_SHARE, 1.0),
    }
}

/// Gives permits from all levels, or from none. `since_ms`: since when budgets are kept.
pub(super) fn take(levels: &[Level], states: &mut [State], since_ms: f64, ask: Ask) -> Verdict {
    let Ask { now_ms, need, want } = ask;
    let need = need.max(1);
    let blocked = states.iter().enumerate().filter(|(_, state)| state.blocked_until_ms > now_ms);
    if let Some((level, state)) = blocked.max_by(|a, b| a.1.blocked_until_ms.total_cmp(&b.1.blocked_until_ms))
    {
        return Verdict::Refused { level, until_ms: state.blocked_until_ms, is_blocked: true };
    }
    for (level, state) in levels.iter().zip(states.iter_mut()) {
        level.mend(state, now_ms);
    }
    let mut is_squeezed = false;
    let (mut wait_ms, mut slowest, mut most) = (0.0_f64, 0, f64::from(want.max(need)));
    for (at, (level, state)) in levels.iter().zip(states.iter()).enumerate() {
        let interval_ms = level.interval_now(state, now_ms);
        let debt_ms = level.debt(state, since_ms, now_ms);
        let needed_ms = f64::from(need) * interval_ms;
        // One request always passes a budget that is unused.
        let tolerance_ms = level.tolerance(is_squeezed, now_ms - since_ms).max(needed_ms);
        let over_ms = debt_ms + needed_ms - tolerance_ms;
        if over_ms > 0.0 && level.rule == Rule::Fair {
            is_squeezed = true;
            continue;
        }
        if over_ms > wait_ms {
            (wait_ms, slowest) = (over_ms, at);
        }
        most = most.min(((tolerance_ms - debt_ms) / interval_ms).floor());
    }
    let from_ms = now_ms + wait_ms;
    if wait_ms > PATIENCE_MS {
        return Verdict::Refused { level: slowest, until_ms: from_ms, is_blocked: false };
    }
    let given = if wait_ms > 0.0 { f64::from(need) } else { most.max(f64::from(need)) };
    for (level, state) in levels.iter().zip(states.iter_mut()) {
        let interval_ms = level.interval_now(state, now_ms);
        let debt_ms = level.debt(state, since_ms, now_ms).max(wait_ms);
        let arrival_ms = now_ms + debt_ms + given * interval_ms;
        // What a fair level did not refuse it does not remember either.
        let fair_most = if level.rule == Rule::Fair { from_ms + level.burst_ms } else { f64::INFINITY };
        state.arrival_ms = Some(arrival_ms.min(fair_most));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between need and want")]
    Verdict::Granted { count: given as u32, from_ms }
}

/// The provider said stop: nothing until then, and less from then on. `until_ms` is `None` where it named no time:
/// the pause then grows with every refusal. Gives the end of the pause.
pub(super) fn block(state: &mut State, until_ms: Option<f64>, now_ms: f64) -> f64 {
    let before = share(state, now_ms);
    let is_same = state.share.is_some_and(|(_, at_ms)| now_ms - at_ms < ONE_REFUSAL_MS);
    let after = if is_same { before } else { (before / 2.0).max(LEAST_SHARE) };
    if !is_same {
        state.share = Some((after, now_ms));
    }
    let until_ms = until_ms.unwrap_or(now_ms + 1_000.0 / after);
    state.blocked_until_ms = state.blocked_until_ms.max(until_ms);
    state.blocked_until_ms
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE_MS: f64 = 60_000.0;

    fn level(requests: u32) -> Level {
        Level::new(Rule::Strict, requests, MINUTE_MS, 0.25)
    }

    fn ask(now_ms: f64, want: u32) -> Ask {
        Ask { now_ms, need: 1, want }
    }

    /// The most in any closed window of a minute.
    fn busiest_minute(times: &mut [f64]) -> usize {
        times.sort_by(f64::total_cmp);
        let within =
            |(at, from): (usize, &f64)| times.partition_point(|other| *other <= from + MINUTE_MS) - at;
        times.iter().enumerate().map(within).max().unwrap_or(0)
    }

    proptest! {
        /// However requests arrive, are delayed within the margin, and whatever is forgotten on the way.
        #[test]
        fn no_sliding_minute_is_above_the_quota(
            requests in 1_u32..200,
            arrivals in prop::collection::vec((0_u32..400, 1_u32..8, 1_u32..4, 0_u32..6_000, 0_u32..100), 1..400),
        ) {
            let levels = [level(requests)];
            let mut states = [State::default()];
            let (mut now_ms, mut since_ms) = (1e12, 1e12);
            let mut sent = Vec::new();
            for (pause, want, need, delay, chance) in arrivals {
                now_ms += f64::from(pause * pause) / 100.0;
                if chance == 0 {
                    (states, since_ms) = ([State::default()], now_ms); // Redis was wiped
                }
                if chance == 1 {
                    block(&mut states[0], None, now_ms);
                }
                let ask = Ask { now_ms, need: need.min((requests / 2).max(1)), want };
                if let Verdict::Granted { count, from_ms } = take(&levels, &mut states, since_ms, ask) {
                    // somewhere between the permit and the end of the margin, each elsewhere
                    let delay = f64::from(delay);
                    sent.extend((0..count).map(|at| from_ms + delay * f64::from(at % 2)));
                }
            }
            let busiest = busiest_minute(&mut sent);
            prop_assert!(busiest <= requests as usize, "{busiest} > {requests}");
        }
    }

    #[test]
    fn a_budget_that_is_asked_without_end_gives_most_of_its_quota() {
        let mut states = [State::default()];
        let mut given = 0;
        for at in 0..600_000 {
            let verdict = take(&[level(600)], &mut states, 0.0, ask(f64::from(at), 8));
            given += if let Verdict::Granted { count, .. } = verdict { count } else { 0 };
        }

        let per_minute = given / 10;

        assert!((400..=600).contains(&per_minute), "{per_minute}");
    }

    #[test]
    fn a_rested_budget_gives_its_burst_at_once_and_then_one_by_one() {
        let mut states = [State::default()];
        let levels = [level(600)];
        let now_ms = 1e12;

        let first = take(&levels, &mut states, 0.0, ask(now_ms, 1000));
        let second = take(&levels, &mut states, 0.0, ask(now_ms, 1000));

        assert_eq!(first, Verdict::Granted { count: 150, from_ms: now_ms });
        let Verdict::Granted { count: 1, from_ms } = second else { panic!("{second:?}") };
        assert!((from_ms - now_ms - levels[0].interval_ms).abs() < 1.0, "given for later: {from_ms}");
    }

    #[test]
    fn who_would_wait_for_long_is_sent_away_and_takes_nothing() {
        let mut states = [State::default()];
        let levels = [level(60)];
        take(&levels, &mut states, 0.0, ask(1e12, 1000));
        let before = states;

        let verdict = take(&levels, &mut states, 0.0, ask(1e12, 1));

        let Verdict::Refused { level: 0, until_ms, is_blocked: false } = verdict else {
            panic!("{verdict:?}")
        };
        assert!(until_ms > 1e12 + PATIENCE_MS);
        assert_eq!(states, before);
    }

    #[test]
    fn people_find_something_left_where_machines_wait() {
        let (machine, person) = (level(600).with_tolerance(0.8, 0.4), level(600));
        let mut states = [State::default()];
        while let Verdict::Granted { .. } = take(&[machine], &mut states, 0.0, ask(1e12, 10)) {}

        let verdict = take(&[person], &mut states, 0.0, ask(1e12, 10));

        assert_eq!(verdict, Verdict::Granted { count: 10, from_ms: 1e12 });
    }

    #[test]
    fn an_organization_over_its_share_leaves_the_burst_to_the_others() {
        let fair = Level::new(Rule::Fair, 100, MINUTE_MS, 0.25);
        let project = level(1000).with_tolerance(0.8, 0.4);
        let (mut noisy, mut quiet) = ([State::default(); 2], [State::default(); 2]);
        let mut given = 0;
        while let Verdict::Granted { count, from_ms: 1e12 } =
            take(&[fair, project], &mut noisy, 0.0, ask(1e12, 1))
        {
            given += count;
        }
        quiet[1] = noisy[1];

        let verdict = take(&[fair, project], &mut quiet, 0.0, ask(1e12, 10));

        assert_eq!(given, 100, "two fifths of the burst of 250, though its share is 25");
        assert_eq!(verdict, Verdict::Granted { count: 10, from_ms: 1e12 });
    }

    #[test]
    fn a_pause_is_kept_to_the_millisecond_and_the_longer_one_wins() {
        let mut states = [State::default()];
        block(&mut states[0], Some(1e12 + 7_000.0), 1e12);
        block(&mut states[0], Some(1e12 + 3_000.0), 1e12);

        let during = take(&[level(600)], &mut states, 0.0, ask(1e12 + 6_999.0, 1));
        let after = take(&[level(600)], &mut states, 0.0, ask(1e12 + 7_000.0, 1));

        assert_eq!(during, Verdict::Refused { level: 0, until_ms: 1e12 + 7_000.0, is_blocked: true });
        assert_eq!(after, Verdict::Granted { count: 1, from_ms: 1e12 + 7_000.0 });
    }

    #[test]
    fn refusals_halve_a_budget_and_time_gives_it_back() {
        let mut state = State::default();
        let mut shares = Vec::new();
        for at in 0..5_u32 {
            let now_ms = f64::from(at) * 10_000.0;
            block(&mut state, Some(0.0), now_ms);
            block(&mut state, Some(0.0), now_ms + 100.0);
            shares.push(share(&state, now_ms));
        }

        assert!(
            shares[0] <= 0.5 && shares[1] < 0.3 && shares.iter().all(|share| *share >= 0.1),
            "{shares:?}"
        );
        assert!((share(&state, 40_000.0 + RECOVERY_MS) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_quota_that_nobody_remembers_goes_on_at_its_steady_rate_for_all_alike() {
        for urgency in [1.0, 0.8] {
            let levels = [level(600).with_tolerance(urgency, 0.4)];
            let verdict = take(&levels, &mut [State::default()], 1e12, ask(1e12, 1000));

            let Verdict::Granted { count: 1, from_ms } = verdict else { panic!("{verdict:?}") };
            assert!((from_ms - 1e12 - levels[0].interval_ms).abs() < 1.0, "{from_ms}");
        }
        let manners = [level(600).of_manners()];
        let verdict = take(&manners, &mut [State::default()], 1e12, ask(1e12, 1000));
        assert_eq!(verdict, Verdict::Granted { count: 150, from_ms: 1e12 });
    }

    #[test]
    fn another_clocks_mistake_does_not_stop_a_budget_for_long() {
        let mut states = [State { arrival_ms: Some(9e12), ..State::default() }];

        let verdict = take(&[level(600)], &mut states, 0.0, ask(1e12, 1));

        let Verdict::Granted { count: 1, from_ms } = verdict else { panic!("{verdict:?}") };
        assert!(from_ms > 1e12 && from_ms - 1e12 < PATIENCE_MS, "{from_ms}");
    }
}
