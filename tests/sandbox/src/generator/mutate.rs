//! Random changes by other people, so that a calendar lives.

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::sample::{Form, Sample};
use super::{ANSWERS, TITLES, an_override, new_sample, pick, resource_name};
use crate::caldav::push_folded;
use crate::edit::{Change, Mutation};
use crate::error::SandboxError;
use crate::ical;
use crate::world::World;

/// Changes a calendar at random; what comes out depends on the seed and on what is there.
pub(crate) fn mutate(
    world: &mut World,
    account: &str,
    slug: &str,
    changes: usize,
    seed: u64,
    now: i64,
) -> Result<Vec<Mutation>, SandboxError> {
    let mut rng = StdRng::seed_from_u64(seed);
    let calendar = world.calendar(account, slug)?;
    let mut names: Vec<String> = calendar.resources().map(|(name, _)| name.to_string()).collect();
    let mut done = Vec::with_capacity(changes);
    for index in 0..changes {
        let place = (account, slug);
        if names.is_empty() || rng.random_bool(0.2) {
            let key = format!("{seed}/{account}/{slug}/{now}/{index}");
            let sample = new_sample(&mut rng, &key, now);
            let (name, title) = (resource_name(&sample.uid), sample.title.clone());
            world.put((account, slug, &name), &sample.text(), Some(Box::new(sample)), now)?;
            names.push(name.clone());
            done.push(Mutation { change: Change::Created, name, title });
            continue;
        }
        let at = rng.random_range(0..names.len());
        let Some(name) = names.get(at).cloned() else { continue };
        let deletes = rng.random_bool(0.15);
        let mutation = if deletes {
            names.swap_remove(at);
            delete(world, place, &name, now)?
        } else {
            change(world, place, &name, &mut rng, now)?
        };
        done.push(mutation);
    }
    Ok(done)
}

fn delete(
    world: &mut World,
    (account, slug): (&str, &str),
    name: &str,
    now: i64,
) -> Result<Mutation, SandboxError> {
    let resource = world.calendar(account, slug)?.resource(name);
    let title = resource.map(|resource| title_of(&resource.body)).unwrap_or_default();
    world.delete(account, slug, name, now)?;
    Ok(Mutation { change: Change::Deleted, name: name.to_owned(), title })
}

fn change(
    world: &mut World,
    (account, slug): (&str, &str),
    name: &str,
    rng: &mut StdRng,
    now: i64,
) -> Result<Mutation, SandboxError> {
    let Some(resource) = world.calendar(account, slug)?.resource(name) else {
        return Err(SandboxError::UnknownResource(name.to_owned()));
    };
    let Some(mut sample) = resource.sample.clone() else {
        let title = format!("{} (changed)", pick(rng, &TITLES));
        let text = retitled(&resource.body, &title);
        world.put((account, slug, name), &text, None, now)?;
        return Ok(Mutation { change: Change::Edited, name: name.to_owned(), title });
    };
    let change = vary(&mut sample, rng);
    sample.sequence += u32::from(change == Change::Moved);
    sample.modified = now;
    let title = sample.title.clone();
    world.put((account, slug, name), &sample.text(), Some(sample), now)?;
    Ok(Mutation { change, name: name.to_owned(), title })
}

fn vary(sample: &mut Sample, rng: &mut StdRng) -> Change {
    if sample.pattern.is_some() && rng.random_bool(0.5) {
        if let Some(date) = sample.dates(20).choose(rng).copied() {
            if rng.random_bool(0.3) {
                sample.overrides.remove(&date);
                sample.excluded.insert(date);
            } else if !sample.excluded.contains(&date) {
                let change = an_override(rng, sample.form);
                sample.overrides.insert(date, change);
            }
        }
        return Change::Edited;
    }
    match rng.random_range(0..4) {
        // The dates of a series hang on its start, so only single events move as a whole.
        0 | 1 if sample.pattern.is_none() => {
            let minutes = match sample.form {
                Form::AllDay => 1_440 * rng.random_range(1..7),
                _ => [-60, 30, 60, 1_440, 10_080].choose(rng).copied().unwrap_or(60),
            };
            if let Some(start) = sample.start.checked_add_signed(TimeDelta::minutes(minutes)) {
                sample.start = start;
            }
            Change::Moved
        }
        2 if !sample.guests.is_empty() => {
            let answer = ANSWERS.choose(rng).copied().unwrap_or("ACCEPTED");
            let index = rng.random_range(0..sample.guests.len());
            if let Some(guest) = sample.guests.get_mut(index) {
                guest.answer = answer;
            }
            Change::Edited
        }
        _ => {
            sample.title = format!("{} #{}", pick(rng, &TITLES), rng.random_range(2..1_000));
            Change::Edited
        }
    }
}

fn title_of(body: &str) -> String {
    let lines = ical::unfold(body);
    let title = lines.iter().filter_map(|line| ical::split_line(line)).find(|line| line.is("SUMMARY"));
    title.map(|line| line.value.to_owned()).unwrap_or_default()
}

/// The text with another title in every component, and otherwise as it was.
fn retitled(body: &str, title: &str) -> String {
    let mut out = String::with_capacity(body.len());
    for line in ical::unfold(body) {
        let is_title = ical::split_line(&line).is_some_and(|line| line.is("SUMMARY"));
        if is_title {
            push_folded(&mut out, &format!("SUMMARY:{title}"));
        } else {
            push_folded(&mut out, &line);
        }
    }
    out
}
