//! `admin event`: making, changing, answering, deleting and undoing one event from a shell. Nobody is mailed unless
//! `--notify` says so, but the organizer about an answer.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{
    CalendarId, EditScope, EventId, HistoryId, Notify, ParticipationStatus, RecurrenceId,
};
use calfleet_service::past::{ChangeView, PastError};
use calfleet_service::view::Content;
use calfleet_service::write::{Answer, EventInput, EventPatch, Reach, Terms};
use calfleet_service::{Service, read};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use super::written::Manner;
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
        /// What is said to those who are mailed, where the provider can carry it.
        #[arg(long)]
        message: Option<String>,
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
    /// Show what an event says, or what it said at an instant.
    Show {
        /// The event.
        event: EventId,
        /// The instant, such as 2026-12-01T10:00:00Z.
        #[arg(long, value_name = "INSTANT")]
        at: Option<DateTime<Utc>>,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        format: print::Format,
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
        Event::Delete { event, message, part, manner } => {
            let terms = manner.terms(service, Notify::None).await?;
            let terms = Terms { message: message.clone(), ..terms };
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
        Event::Show { event, at, whose, format } => {
            let organization = whose.find(service, Makes::None).await?;
            let Some(at) = at.map(Timestamp::from_utc) else {
                let view = read::event(&service.store, organization, *event).await?;
                let view = view.ok_or_else(|| anyhow!("there is no such event"))?;
                return shown(&view, &view.content, *format);
            };
            let view = service.event_at(organization, *event, at).await.map_err(unseen)?;
            shown(&view, &view.content, *format)
        }
        Event::History { event, limit, whose, format } => {
            let organization = whose.find(service, Makes::None).await?;
            history(&service.event_history(organization, *event, *limit).await.map_err(unseen)?, *format)
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

/// Prints an event: as JSON, or each thing that it says on a line of its own.
fn shown(view: &impl Serialize, content: &Content, format: print::Format) -> anyhow::Result<()> {
    if format.json {
        return print::json(view);
    }
    let Value::Object(said) = serde_json::to_value(content)? else { return Ok(()) };
    for (name, value) in said {
        match value {
            Value::String(text) => print::line(&format!("{name}: {text}"))?,
            value => print::line(&format!("{name}: {value}"))?,
        }
    }
    Ok(())
}

/// Why the past cannot be shown, in one line for people.
fn unseen(error: PastError) -> anyhow::Error {
    let date = |at: Timestamp| at.to_utc().map(|at| at.to_rfc3339()).unwrap_or_default();
    match error {
        PastError::NotFound => anyhow!("there is no such event"),
        PastError::NotYet { since } => {
            anyhow!("the event was not there yet; it exists since {}", date(since))
        }
        PastError::Deleted { since } => anyhow!("the event was deleted then, since {}", date(since)),
        PastError::Unknown { since: Some(since) } => {
            anyhow!("the history does not say what was there before {}", date(since))
        }
        PastError::Unknown { since: None } => anyhow!("the history of this event says nothing any more"),
        PastError::ToCome => anyhow!("give an instant that has passed"),
        PastError::Store(error) => error.into(),
    }
}

fn history(entries: &[ChangeView], format: print::Format) -> anyhow::Result<()> {
    if format.json {
        return print::json(entries);
    }
    let rows: Vec<[String; 6]> = entries
        .iter()
        .map(|entry| {
            let at = entry.at.to_utc().map(|at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string());
            let cause_id = entry.cause_id.as_deref().unwrap_or_default();
            [
                entry.id.to_string(),
                at.unwrap_or_default(),
                entry.actor.clone(),
                format!("{} {cause_id}", entry.cause).trim().to_owned(),
                entry.decision.clone(),
                entry.changes.join(" "),
            ]
        })
        .collect();
    print::table(["ENTRY", "WHEN", "WHO", "WHY", "WHAT", "CHANGED"], &rows)
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
