//! Sample data from a seed: what an organization's calendars look like, and how they change.
//!
//! The same seed, plan and clock give the same texts. Events lie around the sandbox's today: half a year
//! back, ten months ahead. Singles, all-day events, and series (daily, weekly, monthly, yearly, with COUNT
//! or UNTIL, exclusions, moved, renamed and cancelled instances) in many zones and alphabets.

mod mutate;
mod pattern;
mod sample;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, NaiveDate, NaiveTime, Weekday};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::utc_of;
use crate::error::SandboxError;
use crate::world::World;
use pattern::{Frequency, Limit, Pattern};
use sample::{Form, Guest, Override, days_from};

pub(crate) use mutate::mutate;
pub(crate) use sample::Sample;

/// How much to generate, and from which seed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorPlan {
    /// Resources to make; a series with its overrides is one.
    pub events: usize,
    /// The same seed gives the same events.
    #[serde(default)]
    pub seed: u64,
}

const TITLES: [&str; 16] = [
    "Interview: backend engineer",
    "Follow-up with Northwind",
    "Weekly review",
    "Design critique",
    "1:1",
    "Budget, second round; final",
    "Café tasting",
    "打ち合わせ",
    "Встреча команды",
    "Réunion d'équipe",
    "اجتماع الفريق",
    "🚀 Launch rehearsal",
    "Sprint planning",
    "Customer call \\ demo",
    "Onboarding <new hires> & tour",
    "Zahnarzt – nicht stören",
];

const PLACES: [&str; 6] = [
    "Room 4.12",
    "Grand Place 1, 1000 Brussels",
    "https://meet.example.com/abc-defg-hij",
    "東京オフィス 3F",
    "Phone",
    "Kantine; hinten links",
];

const PEOPLE: [(&str, &str); 8] = [
    ("Ada Lovelace", "ada@example.com"),
    ("Grace Hopper", "grace@example.com"),
    ("Søren Ærø", "soeren@example.org"),
    ("François Noël", "francois@example.net"),
    ("山田 太郎", "taro@example.jp"),
    ("Zoë \u{1F980}", "zoe@example.com"),
    ("Meeting Room 4", "room4@example.com"),
    ("Nobody Inparticular", "nobody@example.org"),
];

const ANSWERS: [&str; 4] = ["NEEDS-ACTION", "ACCEPTED", "DECLINED", "TENTATIVE"];

const PARAGRAPH: &str = "Agenda: numbers, people, what is late and why; then lunch, if there is time.\n\
    Bring the printed plan — the beamer is broken (again). Ünïcödé says hello: 你好, привет, שלום.\n";

/// Fills a calendar; returns how many resources were made.
pub(crate) fn fill(
    world: &mut World,
    (account, slug): (&str, &str),
    plan: GeneratorPlan,
    now: i64,
) -> Result<usize, SandboxError> {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    for index in 0..plan.events {
        let key = format!("{}/{account}/{slug}/{index}", plan.seed);
        let sample = new_sample(&mut rng, &key, now);
        let (name, text) = (resource_name(&sample.uid), sample.text());
        world.put((account, slug, &name), &text, Some(Box::new(sample)), now)?;
    }
    Ok(plan.events)
}

/// A name that is not the UID, so that nobody may take one for the other.
fn resource_name(uid: &str) -> String {
    let hash = Sha256::digest(format!("name of {uid}"));
    format!("{}.ics", hex::encode(hash.get(..10).unwrap_or_default()))
}

fn uid(key: &str) -> String {
    let hash = Sha256::digest(format!("uid of {key}"));
    format!("{}@sandbox.example", hex::encode(hash.get(..12).unwrap_or_default()))
}

fn new_sample(rng: &mut StdRng, key: &str, now: i64) -> Sample {
    let today = utc_of(now).date_naive();
    let day = days_from(today, rng.random_range(-180..300));
    let form = form(rng);
    let all_day = form == Form::AllDay;
    let time = if all_day { NaiveTime::MIN } else { office_time(rng) };
    let (day, pattern) = if rng.random_bool(0.3) { series(rng, day, all_day) } else { (day, None) };
    let mut sample = Sample {
        uid: uid(key),
        title: pick(rng, &TITLES),
        location: rng.random_bool(0.5).then(|| pick(rng, &PLACES)),
        description: description(rng),
        form,
        start: day.and_time(time),
        minutes: minutes(rng, all_day),
        pattern,
        excluded: BTreeSet::new(),
        overrides: BTreeMap::new(),
        organizer: None,
        guests: Vec::new(),
        alarm: rng.random_bool(0.4).then(|| [5, 10, 30, 60].choose(rng).copied().unwrap_or(10)),
        transparent: rng.random_bool(0.1),
        private: rng.random_bool(0.05),
        sequence: 0,
        created: now,
        modified: now,
    };
    if rng.random_bool(0.4) {
        invite(rng, &mut sample);
    }
    if sample.pattern.is_some() {
        except(rng, &mut sample);
    }
    sample
}

fn form(rng: &mut StdRng) -> Form {
    match rng.random_range(0..100) {
        0..15 => Form::AllDay,
        15..20 => Form::Utc,
        20..23 => Form::Floating,
        // Half of the zoned events live in one zone, as an office does.
        23..60 => Form::Zoned(zones::ZONES[0]),
        _ => zones::ZONES.choose(rng).map_or(Form::Utc, |zone| Form::Zoned(*zone)),
    }
}

/// Between seven and seven, on the quarter: no generated start falls into a daylight-saving gap.
fn office_time(rng: &mut StdRng) -> NaiveTime {
    NaiveTime::from_hms_opt(rng.random_range(7..19), rng.random_range(0..4) * 15, 0).unwrap_or(NaiveTime::MIN)
}

fn minutes(rng: &mut StdRng, all_day: bool) -> i64 {
    if all_day {
        return 1_440 * [1, 1, 1, 2, 5].choose(rng).copied().unwrap_or(1);
    }
    [15, 30, 30, 45, 60, 60, 90, 120].choose(rng).copied().unwrap_or(30)
}

/// A rule, and the day moved onto it.
fn series(rng: &mut StdRng, day: NaiveDate, all_day: bool) -> (NaiveDate, Option<Pattern>) {
    let frequency = match rng.random_range(0..10) {
        0..2 => Frequency::Daily,
        2..6 => {
            let weekdays = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri];
            let mut days: Vec<Weekday> = weekdays.into_iter().filter(|_| rng.random_bool(0.3)).collect();
            if !days.contains(&day.weekday()) {
                days.push(day.weekday());
            }
            days.sort_by_key(Weekday::num_days_from_monday);
            Frequency::Weekly(days)
        }
        6..8 => Frequency::MonthlyNth(pattern::nth_of(day)),
        8 => Frequency::MonthlyDay,
        _ => Frequency::Yearly,
    };
    let interval = if rng.random_bool(0.2) { 2 } else { 1 };
    let mut pattern = Pattern { frequency, interval, limit: Limit::Never };
    pattern.limit = match rng.random_range(0..10) {
        0..4 => Limit::Count(rng.random_range(2..30)),
        4..7 => pattern.dates(day, 20).last().map_or(Limit::Never, |last| Limit::Until(*last)),
        // An endless daily series of whole days says nothing; it gets an end.
        _ if all_day && pattern.frequency == Frequency::Daily => Limit::Count(5),
        _ => Limit::Never,
    };
    (day, Some(pattern))
}

fn description(rng: &mut StdRng) -> Option<String> {
    match rng.random_range(0..10) {
        0..5 => None,
        5..9 => Some(PARAGRAPH.to_owned()),
        _ => Some(PARAGRAPH.repeat(rng.random_range(4..20))),
    }
}

fn invite(rng: &mut StdRng, sample: &mut Sample) {
    let count = rng.random_range(1..5);
    for (name, address) in PEOPLE.choose_multiple(rng, count) {
        let answer = ANSWERS.choose(rng).copied().unwrap_or("NEEDS-ACTION");
        sample.guests.push(Guest { name: (*name).to_owned(), address: (*address).to_owned(), answer });
    }
    sample.organizer = Some("organizer@example.com".to_owned());
}

/// Exclusions and overrides on some of the first instances; the first of all may be among them.
fn except(rng: &mut StdRng, sample: &mut Sample) {
    for date in sample.dates(12) {
        match rng.random_range(0..20) {
            0 => {
                sample.excluded.insert(date);
            }
            1 | 2 => {
                let change = an_override(rng, sample.form);
                sample.overrides.insert(date, change);
            }
            _ => {}
        }
    }
}

fn an_override(rng: &mut StdRng, form: Form) -> Override {
    match rng.random_range(0..3) {
        0 if form == Form::AllDay => Override::Moved(1_440),
        0 => Override::Moved([-60, 30, 60, 1_440].choose(rng).copied().unwrap_or(30)),
        1 => Override::Renamed(format!("{} (special)", pick(rng, &TITLES))),
        _ => Override::Cancelled,
    }
}

fn pick(rng: &mut StdRng, texts: &[&str]) -> String {
    texts.choose(rng).copied().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ical;

    /// 2026-01-15T12:00:00Z.
    const NOON: i64 = 1_768_478_400_000;

    fn samples(seed: u64, count: usize) -> Vec<Sample> {
        let mut rng = StdRng::seed_from_u64(seed);
        (0..count).map(|index| new_sample(&mut rng, &index.to_string(), NOON)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_texts_and_another_seed_others() {
        let texts = |seed| samples(seed, 20).iter().map(Sample::text).collect::<Vec<_>>();

        assert_eq!(texts(1), texts(1));
        assert_ne!(texts(1), texts(2));
    }

    #[test]
    fn every_text_is_a_sound_resource_with_short_lines_and_the_zone_it_names() {
        for sample in samples(3, 500) {
            let text = sample.text();

            let facts = ical::inspect(&text).unwrap();
            assert_eq!(facts.uid, sample.uid);
            assert_eq!(facts.components, 1 + sample.overrides.len());
            assert!(text.lines().all(|line| line.len() <= 75));
            assert_eq!(text.contains("TZID="), text.contains("BEGIN:VTIMEZONE"));
        }
    }

    #[test]
    fn overrides_and_exclusions_name_instances_of_their_series() {
        let samples = samples(4, 500);
        let exceptions = samples.iter().filter(|sample| !sample.overrides.is_empty()).count();

        assert!(exceptions > 20);
        for sample in samples {
            let dates = sample.dates(12);
            assert!(sample.overrides.keys().chain(&sample.excluded).all(|date| dates.contains(date)));
        }
    }
}
