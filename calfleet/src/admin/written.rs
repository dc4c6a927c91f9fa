//! What writing commands have in common: how they are carried out, and what is said of their outcome.

use std::time::Duration;

use anyhow::{anyhow, bail};
use calfleet_domain::model::{EventId, Notify};
use calfleet_service::write::{Mode, Outcome, Plan, PlanView, Terms, WriteError, WriteView};
use calfleet_service::{Actor, Service};
use serde::Serialize;
use uuid::Uuid;

use super::{Makes, Whose};
use crate::print;

/// How a write that somebody may hear of is carried out.
#[derive(Debug, clap::Args)]
pub(crate) struct Manner {
    /// Whom the provider may mail: none, external or all.
    #[arg(long, value_name = "WHOM", value_parser = notify)]
    notify: Option<Notify>,
    /// Wait until the provider has answered, at most so long, such as 10s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    trial: Trial,
}

/// Whether a write is carried out, and for whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Trial {
    /// Only say what would be done, and whom it would mail.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    pub(super) format: print::Format,
}

/// What became of one of many events.
type Fate<'a> = (EventId, &'a str, Option<&'a str>);

/// Prints what became of many events, a line each, and ends with an error when some were refused. `done` says what the
/// others are, such as `changes are taken back`.
pub(super) fn report_each<T: Serialize>(
    format: print::Format,
    all: &[T],
    fate: impl Fn(&T) -> Fate<'_>,
    done: &str,
) -> anyhow::Result<()> {
    let refused = all.iter().filter(|one| fate(one).2.is_some()).count();
    if format.json {
        print::json(&all)?;
    } else {
        for (id, outcome, error) in all.iter().map(&fate) {
            let why = error.map(|error| format!(": {error}")).unwrap_or_default();
            print::line(&format!("{id} {outcome}{why}"))?;
        }
        print::line(&format!("{} {done}.", all.len() - refused))?;
    }
    if refused > 0 {
        bail!("{refused} of {} were refused", all.len());
    }
    Ok(())
}

impl Manner {
    /// The terms of the write; `notify` is what holds where nothing is said.
    pub(super) async fn terms(&self, service: &Service, notify: Notify) -> anyhow::Result<Terms> {
        Ok(Terms { notify: self.notify.unwrap_or(notify), ..self.trial.terms(service).await? })
    }

    /// Prints what came of a write, or what would.
    pub(super) async fn report(
        &self,
        service: &Service,
        terms: &Terms,
        outcome: Result<Outcome, WriteError>,
    ) -> anyhow::Result<()> {
        self.trial.report(service, terms, outcome, self.wait.unwrap_or_default()).await
    }
}

impl Trial {
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// The terms of a write that nobody is mailed about.
    pub(super) async fn terms(&self, service: &Service) -> anyhow::Result<Terms> {
        let organization = self.whose.find(service, Makes::None).await?;
        let mode = if self.dry_run { Mode::Explain } else { Mode::Store };
        let request_id = Some(service.id::<Uuid>().to_string());
        let terms = Terms::of_person(organization, Actor::operator());
        Ok(Terms { notify: Notify::None, request_id, mode, ..terms })
    }

    /// Prints what came of a write after waiting for the provider, or what would come of it.
    pub(super) async fn report(
        &self,
        service: &Service,
        terms: &Terms,
        outcome: Result<Outcome, WriteError>,
        wait: Duration,
    ) -> anyhow::Result<()> {
        let outcome = outcome.map_err(refusal)?;
        if let (Mode::Explain, Some(plan)) = (terms.mode, &outcome.plan) {
            return explain(service, self.format, terms, plan).await;
        }
        let until = service.now().plus(wait);
        let view = service.confirmation(terms.organization_id, &outcome, until).await?;
        if self.format.json {
            print::json(&view)?;
        } else {
            print::line(&sentence(&view))?;
        }
        if view.sync == "failed" {
            bail!("the write was given up");
        }
        Ok(())
    }
}

fn notify(name: &str) -> Result<Notify, String> {
    Notify::from_name(name).ok_or_else(|| "give none, external or all".to_owned())
}

/// Prints what would be done.
pub(super) async fn explain(
    service: &Service,
    format: print::Format,
    terms: &Terms,
    plan: &Plan,
) -> anyhow::Result<()> {
    let view = service.plan_view(terms.organization_id, plan).await?;
    if format.json {
        return print::json(&view);
    }
    for line in lines(&view) {
        print::line(&line)?;
    }
    Ok(())
}

/// Why a write was not done, in one line for people.
pub(super) fn refusal(error: WriteError) -> anyhow::Error {
    match error {
        WriteError::NotFound(what) => anyhow!("there is no such {what}"),
        WriteError::Invalid(all) => {
            let all: Vec<String> = all.iter().map(|one| format!("{}: {}", one.field, one.message)).collect();
            anyhow!("{}", all.join(" "))
        }
        WriteError::Refused(refusal) => anyhow!("{}", refusal.message),
        error => error.into(),
    }
}

fn sentence(view: &WriteView) -> String {
    let event = view.event_id;
    let why = view.error.as_ref().map(|error| format!(" {error}")).unwrap_or_default();
    match view.sync {
        "synced" => format!("Done: the provider has it. Event {event}."),
        "failed" => format!(
            "Given up: the provider has refused it.{why} 'calfleet admin outbox --state dead' shows it. Event {event}."
        ),
        "conflict" => {
            format!("Both sides changed it: 'calfleet admin conflicts' shows both versions. Event {event}.")
        }
        _ => format!("Stored; the provider is told as soon as it can be.{why} Event {event}."),
    }
}

pub(super) fn lines(view: &PlanView) -> Vec<String> {
    let mut lines: Vec<String> = view
        .writes
        .iter()
        .map(|write| {
            let (operation, provider) = (write.operation.as_str(), write.provider);
            let part =
                write.recurrence_id.map(|id| format!(" ({} {id})", write.scope.as_str())).unwrap_or_default();
            format!(
                "Would {operation} event {}{part} at {provider}: {}.",
                write.event_id,
                write.changes.join(", ")
            )
        })
        .collect();
    if lines.is_empty() {
        lines.push("Nothing would change.".to_owned());
    }
    lines.extend(
        view.adjusted
            .iter()
            .map(|one| format!("{} {} would be taken as {}.", one.field, one.given, one.chosen)),
    );
    lines.extend(view.lost.iter().map(|id| format!("What is special about instance {id} would be lost.")));
    let mail = &view.mail;
    lines.extend(mail.message.and_then(|message| message.reason).map(str::to_owned));
    lines.push(match mail.people {
        0 => "Nobody would be mailed.".to_owned(),
        people if mail.addresses.is_empty() => format!("Up to {people} people would be mailed."),
        people => format!("Up to {people} people would be mailed: {}.", mail.addresses.join(", ")),
    });
    lines.push(format!("Requests to the account: {} at least.", view.requests));
    lines
}
