//! `admin event`: making, changing, answering, deleting and undoing one event from a shell. Nobody is mailed unless
//! `--notify` says so, but the organizer about an answer.

use std::path::PathBuf;

use anyhow::Context;
use calfleet_domain::model::{
    CalendarId, EditScope, EventId, HistoryId, Notify, ParticipationStatus, RecurrenceId,
};
use calfleet_service::Service;
use calfleet_service::write::{Answer, ChangeView, EventInput, EventPatch, Reach};
use serde_json::{Map, Value};

use super::written::{Manner, refusal};
use super::{Makes, Whose};
use crate::print;

/// What to do with an event.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Event {
    /// Make an event in a calendar.
    Create {
        /// The calendar.
        calendar: CalendarId,
        /// The application's own key: made once, changed when it is there.
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        fields: Box<Fields>,
        #[command(flatten)]
        manner: Manner,
    },
    /// Change an event.
    Edit {
        /// The event.
        event: EventId,
        /// Fields that say nothing from now on, such as location.
        #[arg(long, value_name = "FIELD")]
        clear: Vec<String>,
        #[command(flatten)]
        fields: Box<Fields>,
        #[command(flatten)]
        part: Part,
        #[command(flatten)]
        manner: Manner,
    },
    /// Delete an event; a guest's copy is declined by that.
    Delete {
        /// The event.
        event: EventId,
        #[command(flatten)]
        part: Part,
        #[command(flatten)]
        manner: Manner,
    },
    /// Answer an invitation for the calendar's owner.
    Respond {
        /// The event.
        event: EventId,
        /// Accepted, declined or tentative.
        #[arg(value_parser = response)]
        response: ParticipationStatus,
        /// What is said with it.
        #[arg(long)]
        comment: Option<String>,
        #[command(flatten)]
        part: Part,
        #[command(flatten)]
        manner: Manner,
    },
    /// Take a change back; of what was requested here the last, unless another is named.
    Undo {
        /// The event.
        event: EventId,
        /// The entry of its history.
        #[arg(long, value_name = "ID")]
        history: Option<HistoryId>,
        #[command(flatten)]
        manner: Manner,
    },
    /// Show who changed an event and when, newest first.
    History {
        /// The event.
        event: EventId,
        /// Most lines.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        format: print::Format,
    },
}

/// What an event says.
#[derive(Debug, clap::Args)]
pub(crate) struct Fields {
    /// A JSON file with fields as the API takes them; those given here take their place.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Title.
    #[arg(long)]
    title: Option<String>,
    /// Start, such as 2026-12-01T10:00:00, or 2026-12-01 with --all-day.
    #[arg(long)]
    start: Option<String>,
    /// End, exclusive.
    #[arg(long)]
    end: Option<String>,
    /// Zone of start and end; the calendar's when absent.
    #[arg(long)]
    time_zone: Option<String>,
    /// The dates count, and the times do not.
    #[arg(long)]
    all_day: bool,
    /// Location.
    #[arg(long)]
    location: Option<String>,
    /// Description.
    #[arg(long)]
    description: Option<String>,
    /// A guest's mail address; all of them, each with --guest.
    #[arg(long, value_name = "ADDRESS")]
    guest: Vec<String>,
    /// A line such as `RRULE:FREQ=WEEKLY`; all of them, each with --recurrence.
    #[arg(long, value_name = "RULE")]
    recurrence: Vec<String>,
}

/// How much of a series is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Part {
    /// Of a series: this, following or all.
    #[arg(long, value_parser = scope)]
    scope: Option<EditScope>,
    /// Original start of an instance, such as 20261201T100000.
    #[arg(long, value_name = "START", value_parser = instance)]
    instance: Option<RecurrenceId>,
}

impl Part {
    fn reach(&self) -> Reach {
        let implied = if self.instance.is_some() { EditScope::This } else { EditScope::All };
        Reach { scope: self.scope.unwrap_or(implied), recurrence_id: self.instance }
    }
}

impl Fields {
    /// As the API takes them.
    fn json(&self) -> anyhow::Result<Map<String, Value>> {
        let mut json: Map<String, Value> = match &self.file {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
                serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?
            }
            None => Map::new(),
        };
        let texts = [
            ("title", &self.title),
            ("start", &self.start),
            ("end", &self.end),
            ("time_zone", &self.time_zone),
            ("location", &self.location),
            ("description", &self.description),
        ];
        for (name, text) in texts {
            json.extend(text.clone().map(|text| (name.to_owned(), Value::String(text))));
        }
        if self.all_day {
            json.insert("is_all_day".to_owned(), true.into());
        }
        if !self.guest.is_empty() {
            let guests = self.guest.iter().map(|address| serde_json::json!({ "address": address }));
            json.insert("attendees".to_owned(), guests.collect());
        }
        if !self.recurrence.is_empty() {
            json.insert("recurrence".to_owned(), self.recurrence.clone().into());
        }
        Ok(json)
    }
}

/// Carries it out.
pub(super) async fn run(service: &Service, command: &Event) -> anyhow::Result<()> {
    match command {
        Event::Create { calendar, key, fields, manner } => {
            create(service, *calendar, key.as_deref(), fields, manner).await
        }
        Event::Edit { event, clear, fields, part, manner } => {
            let mut json = fields.json()?;
            json.extend(clear.iter().map(|name| (name.clone(), Value::Null)));
            let patch: EventPatch = serde_json::from_value(Value::Object(json)).context("read the fields")?;
            let terms = manner.terms(service, Notify::None).await?;
            manner
                .report(service, &terms, service.edit_event(*event, &patch, part.reach(), &terms).await)
                .await
        }
        Event::Delete { event, part, manner } => {
            let terms = manner.terms(service, Notify::None).await?;
            manner.report(service, &terms, service.delete_event(*event, part.reach(), &terms).await).await
        }
        Event::Respond { event, response, comment, part, manner } => {
            let terms = manner.terms(service, Notify::All).await?;
            let answer = Answer { status: *response, comment: comment.clone() };
            let outcome = service.respond_to_event(*event, &answer, part.reach(), &terms).await;
            manner.report(service, &terms, outcome).await
        }
        Event::Undo { event, history, manner } => {
            let terms = manner.terms(service, Notify::None).await?;
            let entry = match history {
                Some(entry) => Ok(*entry),
                None => service.last_request(terms.organization_id, *event).await,
            };
            let outcome = match entry {
                Ok(entry) => service.undo_change(*event, entry, &terms).await,
                Err(error) => Err(error),
            };
            manner.report(service, &terms, outcome).await
        }
        Event::History { event, limit, whose, format } => {
            let organization = whose.find(service, Makes::None).await?;
            let entries = service.event_history(organization, *event, *limit).await.map_err(refusal)?;
            history(&entries.iter().map(ChangeView::from).collect::<Vec<_>>(), *format)
        }
    }
}

async fn create(
    service: &Service,
    calendar: CalendarId,
    key: Option<&str>,
    fields: &Fields,
    manner: &Manner,
) -> anyhow::Result<()> {
    let input: EventInput =
        serde_json::from_value(Value::Object(fields.json()?)).context("read the fields")?;
    let terms = manner.terms(service, Notify::None).await?;
    let outcome = match key {
        None => service.create_event(calendar, &input, &terms).await,
        Some(key) => {
            let saved = service.save_event_by_key(key, Some(calendar), &input, &terms).await;
            saved.map(|saved| saved.outcome)
        }
    };
    manner.report(service, &terms, outcome).await
}

fn history(entries: &[ChangeView], format: print::Format) -> anyhow::Result<()> {
    if format.json {
        return print::json(entries);
    }
    let rows: Vec<[String; 5]> = entries
        .iter()
        .map(|entry| {
            let at = entry.at.to_utc().map(|at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string());
            let by = entry.actor.clone().unwrap_or_else(|| entry.cause.clone());
            [
                entry.id.to_string(),
                at.unwrap_or_default(),
                by,
                entry.decision.clone(),
                entry.changes.join(" "),
            ]
        })
        .collect();
    print::table(["ENTRY", "WHEN", "WHO", "WHAT", "CHANGED"], &rows)
}

fn scope(name: &str) -> Result<EditScope, String> {
    EditScope::from_name(name).ok_or_else(|| "give this, following or all".to_owned())
}

fn instance(text: &str) -> Result<RecurrenceId, String> {
    text.parse().map_err(|_| "give the original start, such as 20261201T100000".to_owned())
}

fn response(name: &str) -> Result<ParticipationStatus, String> {
    match name {
        "accepted" => Ok(ParticipationStatus::Accepted),
        "declined" => Ok(ParticipationStatus::Declined),
        "tentative" => Ok(ParticipationStatus::Tentative),
        _ => Err("give accepted, declined or tentative".to_owned()),
    }
}
