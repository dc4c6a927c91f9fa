//! Random histories by their seeds: what chance decides, what goes wrong on the way, and what is told of a history that
//! ends badly.
//!
//! Each step draws from a chance of its own, so that a history with steps left out is the same history in the others:
//! one that fails is told once more with as few steps as it takes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use calfleet_domain::model::ProviderKind;
use calfleet_harness::seeds;
use calfleet_sandbox::{Fault, RequestLog, RetryAfter};
use tokio::task::LocalSet;

/// Steps of one history.
const STEPS: u64 = 30;

/// A small generator of our own: the same history for the same seed, whatever else changes.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    /// The same, for sums of days and minutes.
    pub(super) fn small(&mut self, bound: usize) -> i64 {
        i64::try_from(self.below(bound)).unwrap()
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len())) }
    }

    /// After so many steps a worker dies: soon, or late in its work.
    pub(super) fn death(&mut self) -> u32 {
        let bound = [10, 60, 400][self.below(3)];
        u32::try_from(1 + self.below(bound)).unwrap()
    }

    /// What goes wrong with a write, more often than not.
    pub(super) fn fault_of_write(&mut self) -> Option<(Fault, u32)> {
        let fault = match self.below(8) {
            0 | 1 => Fault::AnswerLost,
            other => self.trouble(other)?,
        };
        Some((fault, u32::try_from(self.below(3)).unwrap()))
    }

    /// What goes wrong with a listing, more often than not.
    pub(super) fn fault_of_listing(&mut self) -> Option<(Fault, u32)> {
        let fault = match self.below(12) {
            0 | 1 => Fault::ExpiredToken,
            6 => Fault::AnswerLost,
            7 => Fault::Duplicates,
            8 => Fault::Shuffled(7),
            9 => Fault::CutBody(self.below(2000)),
            other => self.trouble(other)?,
        };
        Some((fault, u32::try_from(self.below(2)).unwrap()))
    }

    #[expect(clippy::unused_self, reason = "part of what chance decides")]
    fn trouble(&self, which: usize) -> Option<Fault> {
        match which {
            2 => Some(Fault::CutBefore),
            3 => Some(Fault::Status { code: 503, retry_after: None }),
            4 => Some(Fault::Status { code: 429, retry_after: Some(RetryAfter::Seconds(30)) }),
            _ => None,
        }
    }
}

/// A history: its seed, the steps of it that are taken, and what they came to.
#[derive(Clone)]
pub(super) struct Plot {
    pub(super) seed: u64,
    steps: Vec<u64>,
    told: Rc<RefCell<Vec<String>>>,
    answers: Rc<RefCell<BTreeMap<u16, usize>>>,
}

impl Plot {
    fn of(seed: u64) -> Self {
        let (told, answers) = (Rc::default(), Rc::default());
        Self { seed, steps: (0..STEPS).collect(), told, answers }
    }

    fn with(&self, steps: Vec<u64>) -> Self {
        Self { steps, told: Rc::default(), ..self.clone() }
    }

    /// The steps, each with a number that no other has, and its chance.
    pub(super) fn steps(&self) -> impl Iterator<Item = (usize, Chance)> {
        let seed = self.seed;
        let steps = self.steps.clone().into_iter();
        steps.map(move |step| (usize::try_from(step).unwrap(), Chance::of(seed * STEPS + step)))
    }

    /// Writes down what a step does.
    pub(super) fn tell(&self, step: usize, what: &str) {
        self.told.borrow_mut().push(format!("{step:>4}  {what}"));
    }

    /// Counts what the provider answered.
    pub(super) fn count(&self, log: &RequestLog) {
        for entry in log.entries() {
            *self.answers.borrow_mut().entry(entry.status).or_default() += 1;
        }
    }
}

/// Tells the histories of the seeds; every answer of `expected` was given on the way.
pub(super) async fn tell<T>(
    provider: ProviderKind,
    usual: Range<u64>,
    expected: &[u16],
    history: impl Fn(Plot) -> T,
) where
    T: Future<Output = ()> + 'static,
{
    let seeds = seeds(usual);
    let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
    for seed in seeds.clone() {
        let plot = Plot::of(seed);
        if !ends_well(history(plot.clone())).await {
            let plot = shortest(&plot, &history).await;
            panic!(
                "{provider}: seed {seed} ends badly; its shortest form:\n{}\n\
                 again: CALFLEET_TEST_SEEDS={seed}..{} cargo test -p calfleet-test-integration \
                 random_histories_with_{provider}",
                plot.told.borrow().join("\n"),
                seed + 1
            );
        }
        for (status, times) in &*plot.answers.borrow() {
            *answers.entry(*status).or_default() += times;
        }
    }
    if seeds.end - seeds.start > 50 {
        let missing: Vec<_> = expected.iter().filter(|status| !answers.contains_key(status)).collect();
        assert!(missing.is_empty(), "{provider}: never answered {missing:?}: {answers:?}");
    }
    println!("{provider}: {seeds:?} end well; answers: {answers:?}");
}

/// Whether a history comes to its end.
async fn ends_well(history: impl Future<Output = ()> + 'static) -> bool {
    LocalSet::new().run_until(async { tokio::task::spawn_local(history).await.is_ok() }).await
}

/// Leaves out whatever is not needed for a bad end: halves, quarters, single steps.
async fn shortest<T>(plot: &Plot, history: &impl Fn(Plot) -> T) -> Plot
where
    T: Future<Output = ()> + 'static,
{
    let mut best = plot.clone();
    let mut width = plot.steps.len() / 2;
    while width > 0 {
        let mut from = 0;
        while from < best.steps.len() {
            let until = (from + width).min(best.steps.len());
            let left = [&best.steps[..from], &best.steps[until..]].concat();
            let shorter = best.with(left);
            if ends_well(history(shorter.clone())).await {
                from = until;
            } else {
                best = shorter;
            }
        }
        width /= 2;
    }
    best
}
