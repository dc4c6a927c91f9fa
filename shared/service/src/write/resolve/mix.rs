//! What is kept of both sides of a conflict, field by field. Pure.

use std::collections::BTreeSet;

use calfleet_domain::model::{RecurrenceId, StoredEvent};
use calfleet_domain::reconcile::restore::{Restored, mixed};
use calfleet_domain::reconcile::{Atom, ConflictDraft, Contest};
use calfleet_store::conflicts::Conflict;

use super::{Choice, Mix};
use crate::write::conflict::{field_names, is_public};
use crate::write::findings::Findings;
use crate::write::outcome::WriteError;
use crate::write::permit::Refusal;

/// What is kept.
pub(super) enum Kept {
    /// What the event says here.
    Ours,
    /// What the provider has.
    Theirs,
    /// Some of each.
    Mixed(Box<Restored>),
}

impl Kept {
    /// The name in the API and in the table.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Ours => Choice::Ours.as_str(),
            Self::Theirs => Choice::Theirs.as_str(),
            Self::Mixed(_) => "mixed",
        }
    }

    /// Instances that departed from the series and have no place in it any more.
    pub(super) fn lost(&self) -> Vec<RecurrenceId> {
        match self {
            Self::Mixed(restored) => restored.lost.clone(),
            Self::Ours | Self::Theirs => Vec::new(),
        }
    }
}

/// What a decision keeps of a conflict about an event as it is by now.
pub(super) fn kept(mix: &Mix, conflict: &Conflict, stored: &StoredEvent) -> Result<Kept, WriteError> {
    let choices = choices(mix, &conflict.draft)?;
    let is_of = |side: Choice| choices.iter().all(|(_, choice)| *choice == side);
    if is_of(Choice::Ours) {
        return Ok(Kept::Ours);
    }
    if is_of(Choice::Theirs) {
        return Ok(Kept::Theirs);
    }
    let seen = stored.base.as_ref().or(conflict.draft.remote.as_ref());
    let (Some(ours), Some(theirs)) = (&stored.event, seen) else {
        let message = "One side has deleted the event: keep ours or theirs as a whole.";
        return Err(Refusal::new("cannot_be_mixed", message).into());
    };
    let taken: BTreeSet<(Option<RecurrenceId>, &Atom)> = choices
        .iter()
        .filter(|(_, choice)| *choice == Choice::Theirs)
        .map(|(contest, _)| (contest.instance, &contest.atom))
        .collect();
    let restored = mixed(ours, theirs, |instance, atom| taken.contains(&(instance, atom)));
    restored.map(|restored| Kept::Mixed(Box::new(restored))).map_err(|_| {
        let message = "These fields cannot be taken from different sides: keep ours or theirs as a whole.";
        Refusal::new("cannot_be_mixed", message).into()
    })
}

/// The side that is kept of each contested field.
fn choices<'a>(mix: &Mix, draft: &'a ConflictDraft) -> Result<Vec<(&'a Contest, Choice)>, WriteError> {
    let contests = &draft.contests;
    let mut findings = Findings::default();
    let is_public = is_public(draft);
    // who is not told of a guest is not told by a refusal either
    let told = |(short, long): (String, Option<String>)| (short, long.filter(|_| is_public));
    let names: Vec<(String, Option<String>)> = contests.iter().map(field_names).map(told).collect();
    let full = || names.iter().map(|(short, long)| long.as_ref().unwrap_or(short).as_str());
    let is_contested =
        |name: &String| names.iter().any(|(short, long)| name == short || Some(name) == long.as_ref());
    for name in mix.fields.keys().filter(|name| !is_contested(name)) {
        let contested: Vec<&str> = full().collect();
        let message = format!("The sides do not differ in {name:?}, but in {}.", contested.join(", "));
        findings.refuse(format!("fields.{name}"), "not_contested", message);
    }
    let mut choices = Vec::new();
    for ((contest, (short, long)), name) in contests.iter().zip(&names).zip(full()) {
        let named = long.as_ref().and_then(|long| mix.fields.get(long)).or_else(|| mix.fields.get(short));
        let choice = named.copied().or(mix.rest);
        choices.extend(choice.map(|choice| (contest, choice)));
        if choice.is_none() {
            let message = format!("Say which side is kept of {name:?}: local or remote.");
            findings.refuse(format!("fields.{name}"), "undecided", message);
        }
    }
    Ok(findings.sound(Some(choices)).map(|(choices, _)| choices)?)
}

#[cfg(test)]
mod tests {
    use calfleet_domain::clock::Timestamp;
    use calfleet_domain::model::{Body, End, Event, Fields, Uid, Visibility, When};
    use calfleet_domain::reconcile::{Interval, Side, Verdict};

    use super::*;

    const GUEST: &str = "surgeon@example.com";

    fn surgery(visibility: Visibility) -> Event {
        let day = When::Date(chrono::NaiveDate::from_ymd_opt(2026, 12, 1).unwrap());
        let fields = Fields { visibility, ..Fields::new(day, End::Unspecified) };
        Event { uid: Uid::from("surgery@example.com"), body: Body::Single(fields) }
    }

    /// A conflict about a guest whom the provider has invited.
    fn about_a_guest(visibility: Visibility) -> ConflictDraft {
        let contest = Contest {
            instance: None,
            atom: Atom::Guest(GUEST.to_owned()),
            winner: Side::Local,
            verdict: Verdict::Person,
            base: None,
            local: None,
            remote: None,
        };
        let at = Interval::at(Timestamp::ZERO);
        ConflictDraft {
            base: Some(surgery(visibility)),
            local: Some(surgery(Visibility::Public)),
            remote: Some(surgery(Visibility::Public)),
            contests: vec![contest],
            local_at: at,
            remote_at: at,
        }
    }

    #[test]
    fn a_guest_of_what_was_ever_private_is_not_named_when_a_decision_is_refused() {
        let mix = |name: &str| Mix { fields: [(name.to_owned(), Choice::Ours)].into(), rest: None };
        for (visibility, is_named) in [(Visibility::Public, true), (Visibility::Private, false)] {
            let draft = about_a_guest(visibility);
            for refused in [choices(&Mix::default(), &draft), choices(&mix("title"), &draft)] {
                let Err(WriteError::Invalid(findings)) = refused else { panic!("{refused:?}") };
                assert_eq!(format!("{findings:?}").contains(GUEST), is_named, "{findings:?}");
            }
            assert!(choices(&mix("guest"), &draft).is_ok(), "{visibility:?}");
            let by_address = choices(&mix(&format!("guest:{GUEST}")), &draft);
            assert_eq!(
                by_address.is_ok(),
                is_named,
                "who is not told of a guest cannot find one by guessing"
            );
        }
    }
}
