//! Listings in pages of any kind (law 40): of random length, empty, with events that come again in another state and
//! removals that were none; what they end in is held against the last word that was said of each event.

use std::collections::BTreeMap;

use calfleet_domain::model::{
    Body, DetailLevel, End, Event, Fields, Listing, Parts, ProviderId, RemoteChange, RemoteEvent, Revision,
    Role, Uid, When,
};
use chrono::{DateTime, TimeDelta};

use super::freshness::Chance;
use super::on_both_databases;
use super::parts::listed;
use super::world::{Backend, World};

on_both_databases![the_last_word_on_each_event_counts_in_whatever_pages_it_comes];

/// Events at most.
const EVENTS: u64 = 24;

/// What a provider says of an event: its name, and its title while it is there.
type Word = (String, Option<String>);

async fn the_last_word_on_each_event_counts_in_whatever_pages_it_comes(on: Backend) {
    for seed in 0..8 {
        let mut chance = Chance(0x2545_F491_4F6C_DD1D ^ (seed + 1));
        let world = World::start(on).await;
        world.server.add_calendar("work");
        let mut held = BTreeMap::new();
        for round in 0..6 {
            // a complete listing leaves out what is gone; a few at a time, which is believed at once
            let listing = if round % 3 == 0 { Listing::Full } else { Listing::Delta };
            let words = said(&mut chance, listing, &mut held, round);

            listed(&world, listing, paged(&mut chance, &words)).await;

            let expected: BTreeMap<_, _> = held
                .iter()
                .map(|(name, title): (&String, &String)| {
                    (("work".to_owned(), name.clone()), Some(title.clone()))
                })
                .collect();
            assert_eq!(world.content().await, expected, "seed {seed}, round {round}: {words:?}");
        }
        assert!(held.len() > 5, "seed {seed}: {held:?}");
    }
}

/// What happens to the events, and all that a listing says of it: older words before newer ones.
fn said(
    chance: &mut Chance,
    listing: Listing,
    held: &mut BTreeMap<String, String>,
    round: usize,
) -> Vec<Word> {
    let mut words = Vec::new();
    let mut removals = 3;
    for number in 0..EVENTS {
        let name = format!("{number:04}");
        for change in 0..chance.below(3) {
            let title = format!("{name} of {round}, {change}");
            words.push((name.clone(), Some(title.clone())));
            held.insert(name.clone(), title);
        }
        if removals > 0 && chance.below(6) == 0 && held.remove(&name).is_some() {
            removals -= 1;
            words.retain(|(other, _)| listing == Listing::Delta || *other != name);
            if listing == Listing::Delta {
                words.push((name.clone(), None));
                if chance.below(3) == 0 {
                    words.push((name.clone(), Some("Back".to_owned())));
                    held.insert(name, "Back".to_owned());
                }
            }
        } else if listing == Listing::Full
            && let Some(title) = held.get(&name)
        {
            words.push((name, Some(title.clone())));
        }
    }
    words
}

/// The words in pages, some of them empty; those of one event keep their order, others come in between.
fn paged(chance: &mut Chance, words: &[Word]) -> Vec<Vec<RemoteChange>> {
    let mut left: BTreeMap<&str, Vec<&Word>> = BTreeMap::new();
    for word in words.iter().rev() {
        left.entry(word.0.as_str()).or_default().push(word);
    }
    let mut pages = vec![Vec::new()];
    while !left.is_empty() {
        let which = usize::try_from(chance.below(left.len() as u64)).unwrap();
        let name = *left.keys().nth(which).unwrap();
        let of_event = left.get_mut(name).unwrap();
        let (name, title) = of_event.pop().unwrap();
        if of_event.is_empty() {
            left.remove(name.as_str());
        }
        for _ in 0..chance.below(5).saturating_sub(2) {
            pages.push(Vec::new());
        }
        pages.last_mut().unwrap().push(change(name, title.as_deref()));
    }
    pages
}

fn change(name: &str, title: Option<&str>) -> RemoteChange {
    let provider_id = ProviderId::from(name);
    let Some(title) = title else { return RemoteChange::Removed { provider_id } };
    let start = DateTime::from_timestamp_millis(1_800_000_000_000).unwrap();
    let mut fields = Fields::new(When::Utc(start), End::At(When::Utc(start + TimeDelta::hours(1))));
    fields.title = Some(title.to_owned());
    RemoteChange::Upsert(Box::new(RemoteEvent {
        provider_id,
        created_as: None,
        revision: Some(Revision(title.to_owned())),
        event: Event { uid: Uid(format!("{name}@example.com")), body: Body::Single(fields) },
        parts: Parts::Whole,
        instances: BTreeMap::new(),
        role: Role::Organizer,
        detail: DetailLevel::Full,
        raw: Some("{}".to_owned()),
        changed_at: None,
        warnings: Vec::new(),
    }))
}
