//! Histories of two sides with a provider that keeps one event: nothing is lost, and both sides converge.

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{ConflictPolicy, Event, StoredEvent};
use calfleet_domain::reconcile::invariants::{self, Broken, applied};
use calfleet_domain::reconcile::{Context, Decision, Remote, reconcile, version};
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;
use crate::reconcile_events::{Edit, apply, edit, event, fails, held, shown_as};

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// A person edits through the application.
    Ours(Edit),
    /// A person edits at the provider.
    Theirs(Edit),
    DeleteOurs,
    DeleteTheirs,
    /// A listing shows what the provider has.
    Poll,
    /// A listing arrives that was asked for before the last three steps.
    StalePage,
    /// What is pending is sent with a precondition.
    Push,
    /// The same, and the answer is lost.
    PushUnanswered,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => edit().prop_map(Step::Ours),
        5 => edit().prop_map(Step::Theirs),
        1 => Just(Step::DeleteOurs),
        1 => Just(Step::DeleteTheirs),
        4 => Just(Step::Poll),
        2 => Just(Step::StalePage),
        4 => Just(Step::Push),
        1 => Just(Step::PushUnanswered),
    ]
}

/// A provider that keeps one event, and what we hold of it.
#[derive(Debug, Clone)]
struct Two {
    now: i64,
    provider: Option<Event>,
    changed_at: i64,
    /// The provider's state the last listing showed, which the next write has as its precondition.
    known: Option<Event>,
    stored: StoredEvent,
    listed_at: i64,
    /// What the provider had at each past time.
    past: Vec<(i64, Option<Event>)>,
    policy: ConflictPolicy,
}

impl Two {
    fn agreed(event: Event, policy: ConflictPolicy) -> Self {
        Self {
            now: 0,
            provider: Some(event.clone()),
            changed_at: 0,
            known: Some(event.clone()),
            stored: held(Some(event)),
            listed_at: 0,
            past: Vec::new(),
            policy,
        }
    }

    fn run(&mut self, step: &Step) -> Result<(), Broken> {
        self.now += 5_000;
        self.past.push((self.now, self.provider.clone()));
        self.now += 5_000;
        match step {
            Step::Ours(edit) => self.edit(|event| apply(edit, event)),
            Step::Theirs(edit) => {
                if let Some(event) = &mut self.provider {
                    apply(edit, event);
                    self.changed_at = self.now;
                }
            }
            Step::DeleteOurs => self.delete(),
            Step::DeleteTheirs => self.provider = None,
            Step::Poll => self.listing(self.now, self.provider.clone(), self.listed_at)?,
            Step::StalePage => {
                let (asked, shown) = self.past[self.past.len().saturating_sub(3)].clone();
                // The cursor moves with the data: a page older than the last one applied does not come again.
                if asked > self.listed_at {
                    self.listing(asked, shown, self.listed_at)?;
                }
            }
            Step::Push => self.push(true)?,
            Step::PushUnanswered => self.push(false)?,
        }
        Ok(())
    }

    fn edit(&mut self, change: impl FnOnce(&mut Event)) {
        let Some(before) = self.stored.event.clone() else { return };
        let mut after = before.clone();
        change(&mut after);
        self.stored.version = version::of(&after);
        self.stored.event = Some(after);
        if self.stored.base.is_none() && self.stored.edited_at.is_none() {
            self.stored.base = Some(before);
        }
        self.stored.edited_at = Some(Timestamp(self.now));
    }

    fn delete(&mut self) {
        let Some(before) = self.stored.event.take() else { return };
        if self.stored.edited_at.is_none() {
            self.stored.base = Some(before);
            self.stored.edited_at = Some(Timestamp(self.now));
        } else if self.stored.base.is_some() || self.stored.is_in_flight {
            self.stored.edited_at = Some(Timestamp(self.now));
        } else {
            // Made here and never sent: create and delete fold to nothing.
            self.stored.edited_at = None;
        }
    }

    fn listing(&mut self, asked: i64, shown: Option<Event>, before: i64) -> Result<(), Broken> {
        let context = Context {
            policy: self.policy,
            requested_at: Timestamp(asked),
            listed_without_at: Some(Timestamp(before)),
            provider_clock_offset_ms: 0,
        };
        let changed_at = (self.changed_at <= asked).then_some(Timestamp(self.changed_at));
        let remote_event = shown.clone().map(|event| shown_as(event, changed_at));
        let remote = remote_event.as_ref().map_or(Remote::Deleted, Remote::Present);
        let plan = reconcile(Some(&self.stored), &remote, &context);
        if plan.decision == Decision::Stale {
            return Ok(());
        }
        if let Some(shown) = &shown {
            invariants::nothing_is_lost(&self.stored, shown, &plan)?;
        }
        invariants::second_reconcile_is_idle(&self.stored, &remote, &context)?;
        let is_resolved = plan.conflict.is_some();
        self.stored = applied(&self.stored, &remote, &plan);
        self.known = shown;
        self.listed_at = asked;
        if is_resolved {
            // A person decides at once, for ours.
            self.stored.edited_at = Some(Timestamp(self.now));
        }
        Ok(())
    }

    /// Sends what is pending if the provider still has what we know of it; else reads it and decides again.
    fn push(&mut self, is_answered: bool) -> Result<(), Broken> {
        if self.stored.edited_at.is_none() {
            return Ok(());
        }
        if self.stored.is_in_flight {
            self.stored.is_in_flight = false;
            return self.listing(self.now, self.provider.clone(), self.listed_at);
        }
        if self.provider != self.known {
            return self.listing(self.now, self.provider.clone(), self.listed_at);
        }
        self.provider.clone_from(&self.stored.event);
        self.changed_at = self.now;
        if is_answered {
            self.known.clone_from(&self.provider);
            self.stored.base = None;
            self.stored.edited_at = None;
            self.stored.settled_at = Some(Timestamp(self.now));
        } else {
            self.stored.is_in_flight = true;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(10_000, 100_000))]

    #[test]
    fn histories_of_two_sides_lose_nothing_and_converge(
        start in event(),
        steps in prop::collection::vec(step(), 1..14),
        policy in select(vec![
            ConflictPolicy::LastWriteWins,
            ConflictPolicy::ProviderWins,
            ConflictPolicy::AppWins,
            ConflictPolicy::Manual,
        ]),
    ) {
        let mut two = Two::agreed(start, policy);
        for step in &steps {
            two.run(step).map_err(|broken| fails(&broken))?;
        }

        for _ in 0..3 {
            two.run(&Step::Poll).map_err(|broken| fails(&broken))?;
            two.run(&Step::Push).map_err(|broken| fails(&broken))?;
        }

        let stored = &two.stored;
        prop_assert!(stored.edited_at.is_none() && stored.base.is_none(), "still pending: {:#?}", two);
        let is_same = match (&stored.event, &two.provider) {
            (Some(ours), Some(theirs)) => version::is_same(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        prop_assert!(is_same, "the sides differ: {:#?}", two);
    }
}
