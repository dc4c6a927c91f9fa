//! When a series recurs, read from a request: rules, additions and exclusions.

use calfleet_domain::ics;
use calfleet_domain::model::{Body, End, Event, Fields, Master, RecurrenceId, Rule, Series, Uid, When};
use calfleet_domain::reconcile::edit::Exclusions;
use calfleet_domain::reconcile::rekey;
use calfleet_domain::recurrence::rule::{self, Frequency, Recurrence, RuleError, Until};
use calfleet_domain::recurrence::zone::instant_of;
use calfleet_domain::recurrence::{Budget, expand, is_match};
use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;

use super::findings::Findings;
use super::input::{EventPatch, Given};
use super::limits::RECURRENCE_LINES;

/// Longest line that is looked at: a few hundred exclusions.
const LINE_BYTES: usize = 8_192;

/// The master after the change, and where its exclusions come from; `None` where something cannot be used. `fields`
/// are those after the change, `before` is the master as it was.
pub(super) fn apply(
    patch: &EventPatch,
    fields: Fields,
    before: Option<&Master>,
    calendar_zone: Option<Tz>,
    findings: &mut Findings,
) -> Option<(Master, Exclusions)> {
    let (mut master, mut source) = match &patch.recurrence {
        Given::Absent => (kept(fields, before), Exclusions::Kept),
        Given::Cleared => (plain(fields), Exclusions::Given),
        Given::Value(lines) => {
            let lines = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
            let lines: Vec<String> = lines.map(with_name).collect();
            are_usable(&lines, &fields.start, calendar_zone, findings)?;
            let source = if lines.iter().any(|line| has_name(line, "EXDATE")) {
                Exclusions::Given
            } else {
                Exclusions::Kept
            };
            (read(fields, &lines, calendar_zone, findings)?, source)
        }
    };
    match &patch.exclusions {
        Given::Absent => {}
        Given::Cleared => {
            master.exclusions.clear();
            source = Exclusions::Given;
        }
        Given::Value(keys) => {
            master.exclusions.clear();
            source = Exclusions::Given;
            for (index, text) in keys.iter().enumerate() {
                let Ok(key) = text.parse::<RecurrenceId>() else {
                    let message = "Give an original start such as 20260714T080000.";
                    findings.refuse(format!("exclusions.{index}"), "not_an_instance", message);
                    continue;
                };
                master.exclusions.insert(rekey(None, &master.fields.start, &key));
            }
        }
    }
    Some((master, source))
}

fn plain(fields: Fields) -> Master {
    Master {
        fields,
        rules: Vec::new(),
        additions: std::collections::BTreeMap::new(),
        exclusions: std::collections::BTreeSet::new(),
    }
}

/// The master with other fields. Its additions and exclusions keep their instances, its rule ends when it did.
fn kept(fields: Fields, before: Option<&Master>) -> Master {
    let Some(before) = before else { return plain(fields) };
    let (from, to) = (&before.fields.start, &fields.start);
    let mut master = before.clone();
    master.additions =
        before.additions.iter().map(|(key, end)| (rekey(Some(from), to, key), end.clone())).collect();
    if from.is_date() != to.is_date() {
        // UNTIL has the form of the start (RFC 5545 §3.3.10)
        for rule in &mut master.rules {
            if let Ok(fitted) = rule::canonical(&rule.0, to, None) {
                *rule = fitted;
            }
        }
    }
    master.fields = fields;
    master
}

/// The line under its property's name; a bare rule gets one.
fn with_name(line: &str) -> String {
    if line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("FREQ="))
        || (line.contains("FREQ=") && !line.contains(':'))
    {
        return format!("RRULE:{line}");
    }
    line.to_owned()
}

fn has_name(line: &str, name: &str) -> bool {
    let end = line.find([':', ';']).unwrap_or(line.len());
    line.get(..end).is_some_and(|own| own.eq_ignore_ascii_case(name))
}

/// Whether all lines can be used; `None` where not, with the reasons noted.
fn are_usable(
    lines: &[String],
    start: &When,
    calendar_zone: Option<Tz>,
    findings: &mut Findings,
) -> Option<()> {
    let before = findings.invalid.len();
    if lines.len() > RECURRENCE_LINES {
        findings.refuse("recurrence", "too_many", format!("Give at most {RECURRENCE_LINES} lines."));
    }
    if lines.iter().filter(|line| has_name(line, "RRULE")).count() > 1 {
        findings.refuse("recurrence", "too_many", "Give one RRULE: providers keep no more.");
    }
    for (index, line) in lines.iter().enumerate().take(RECURRENCE_LINES) {
        let field = format!("recurrence.{index}");
        if line.len() > LINE_BYTES || line.chars().any(char::is_control) {
            findings.refuse(field, "malformed", format!("Give a line of at most {LINE_BYTES} letters."));
        } else if has_name(line, "RRULE") {
            let text = line.split_once(':').map_or("", |(_, text)| text);
            if let Err((code, message)) = rule_is_usable(text, start, calendar_zone) {
                findings.refuse(field, code, message);
            }
        } else if !has_name(line, "RDATE") && !has_name(line, "EXDATE") {
            findings.refuse(field, "malformed", "Give RRULE, RDATE or EXDATE lines.");
        }
    }
    (findings.invalid.len() == before).then_some(())
}

fn rule_is_usable(text: &str, start: &When, zone: Option<Tz>) -> Result<(), (&'static str, String)> {
    let refusal = |error: RuleError| {
        let code = match error {
            RuleError::NoFrequency | RuleError::Malformed(_) => "malformed",
            RuleError::Unsupported(_) => "not_supported",
            RuleError::NoInstances => "no_instances",
        };
        let mut message = error.to_string();
        if let Some(first) = message.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        (code, format!("{message}."))
    };
    let rule = rule::canonical(text, start, zone).map_err(refusal)?;
    let rule: Recurrence = rule.0.parse().map_err(refusal)?;
    if rule.frequency < Frequency::Hourly {
        let message = "A series recurs hourly at most; providers take no more.";
        return Err(("too_frequent", message.to_owned()));
    }
    let is_over = match rule.until {
        None => false,
        Some(Until::Date(until)) => until < start.wall().date(),
        Some(Until::Wall(until)) => until < start.wall(),
        Some(Until::Utc(until)) => until < instant_of(start, Tz::UTC).0,
    };
    if is_over {
        let message = "The rule has no instances: its UNTIL lies before the start.";
        return Err(("no_instances", message.to_owned()));
    }
    if is_match(&rule, start.wall()) {
        return Ok(());
    }
    // the start counts as an instance whatever the rule says; one more has to be the rule's own
    if yields(&rule, start) < 2 {
        return Err(refusal(RuleError::NoInstances));
    }
    let message = "The rule does not meet the start; move the start to the first day and time of the rule.";
    Err(("start_not_in_rule", message.to_owned()))
}

/// How many instances a rule has together with the start, as far as that is cheap to find out; two at most.
fn yields(rule: &Recurrence, start: &When) -> usize {
    let mut master = plain(Fields::new(start.clone(), End::Unspecified));
    master.rules.push(Rule(rule.to_string()));
    let series = Series { master: Some(master), overrides: std::collections::BTreeMap::new() };
    let event = Event { uid: Uid::from(""), body: Body::Series(series) };
    let day = Duration::days(1);
    let window = instant_of(start, Tz::UTC).0 - day..DateTime::<Utc>::MAX_UTC - day;
    let budget = Budget { instances: 2, ..Budget::default() };
    expand(&event, window, Tz::UTC, &budget).instances.len()
}

fn read(fields: Fields, lines: &[String], zone: Option<Tz>, findings: &mut Findings) -> Option<Master> {
    let mut warnings = Vec::new();
    let lines = lines.iter().map(String::as_str);
    let master = ics::master(fields, lines, zone, &ics::Limits::default(), &mut warnings);
    match (master, warnings.first()) {
        (Ok(master), None) => Some(master),
        (Ok(_), Some(warning)) => {
            findings.refuse("recurrence", "malformed", format!("This cannot be read: {warning}."));
            None
        }
        (Err(error), _) => {
            findings.refuse("recurrence", "too_many", format!("This cannot be kept: {error}."));
            None
        }
    }
}
