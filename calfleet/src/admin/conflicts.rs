//! `admin conflicts`: two versions of an event that a person has to decide about.

use calfleet_domain::model::{ConflictId, Notify};
use calfleet_service::Service;
use calfleet_service::write::{Choice, ConflictView, Mix, SideView};
use calfleet_store::conflicts::Which;

use super::written::Manner;
use super::{Makes, Whose};
use crate::print;

/// What to do with conflicts; those that wait are listed when nothing is said.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Conflicts {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

/// What to do with conflicts.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List conflicts, newest first.
    List(List),
    /// Decide a conflict; what loses stays in the event's history.
    Resolve {
        /// The conflict.
        conflict: ConflictId,
        /// Which side is kept: ours, what the event says here, or theirs, what the provider has.
        #[arg(long, value_parser = choice, required_unless_present = "field")]
        keep: Option<Choice>,
        /// A field of which a side is kept, such as title=theirs; each with --field.
        #[arg(long, value_name = "FIELD=SIDE", value_parser = field)]
        field: Vec<(String, Choice)>,
        #[command(flatten)]
        manner: Manner,
    },
}

/// Which conflicts.
#[derive(Debug, clap::Args)]
struct List {
    /// Those that were decided instead of those that wait.
    #[arg(long)]
    resolved: bool,
    /// Most lines.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    format: print::Format,
}

/// Carries it out.
pub(super) async fn run(service: &Service, command: &Conflicts) -> anyhow::Result<()> {
    match command.command.as_ref() {
        None => list(service, &command.list).await,
        Some(Command::List(command)) => list(service, command).await,
        Some(Command::Resolve { conflict, keep, field, manner }) => {
            let terms = manner.terms(service, Notify::None).await?;
            let mix = Mix { fields: field.iter().cloned().collect(), rest: *keep };
            let outcome = service.mix_conflict(*conflict, &mix, &terms).await;
            manner.report(service, &terms, outcome).await
        }
    }
}

async fn list(service: &Service, command: &List) -> anyhow::Result<()> {
    let organization = command.whose.find(service, Makes::None).await?;
    let which = if command.resolved { Which::Resolved } else { Which::Open };
    let conflicts = service.conflicts(organization, which, None, command.limit).await?;
    if command.format.json {
        return print::json(&conflicts);
    }
    let rows: Vec<[String; 5]> = conflicts.iter().map(row).collect();
    print::table(["CONFLICT", "EVENT", "ABOUT", "OURS", "THEIRS"], &rows)
}

fn row(view: &ConflictView) -> [String; 5] {
    let about: Vec<&str> = view.contested.iter().map(|contest| contest.field.as_str()).collect();
    [
        view.id.to_string(),
        view.event_id.to_string(),
        about.join(" "),
        side(view.ours.as_ref()),
        side(view.theirs.as_ref()),
    ]
}

fn side(view: Option<&SideView>) -> String {
    let Some(view) = view else { return "deleted".to_owned() };
    let start = view.start.as_ref().and_then(|start| start.date.clone().or_else(|| start.date_time.clone()));
    let title = view.details.as_ref().and_then(|details| details.title.clone());
    format!("{} {}", start.unwrap_or_default(), title.unwrap_or_default()).trim().to_owned()
}

fn choice(name: &str) -> Result<Choice, String> {
    match name {
        "ours" | "local" => Ok(Choice::Ours),
        "theirs" | "remote" => Ok(Choice::Theirs),
        _ => Err("give ours or theirs".to_owned()),
    }
}

fn field(text: &str) -> Result<(String, Choice), String> {
    let (name, side) = text.split_once('=').ok_or("give a field and a side, such as title=theirs")?;
    Ok((name.to_owned(), choice(side)?))
}
