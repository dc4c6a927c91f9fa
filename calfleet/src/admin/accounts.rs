//! `admin connect` and `admin list`.

use std::io::{IsTerminal, Read};
use std::time::Duration;

use anyhow::Context;
use calfleet_domain::model::{Authentication, ConflictPolicy, ProviderKind};
use calfleet_service::connect::{ConnectError, ConnectRequest, Connected};
use calfleet_service::overview::{self, ConnectionView};
use calfleet_service::sign_in::SignInAccess;
use calfleet_service::watching::{Coverage, WatchView};
use calfleet_service::{Actor, Service};
use calfleet_store::connections::Bound;
use secrecy::SecretString;

use super::{Makes, Whose, sign_in};
use crate::parts::Parts;
use crate::print;

/// Longest secret that is read from standard input.
const LONGEST_SECRET: u64 = 16_384;
/// Connections read at once.
const PAGE: u32 = 200;

/// Which provider.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Connect {
    /// A CalDAV server: the password is typed, or read from standard input.
    Caldav {
        /// URL of the server or of anything on it, or a mail address to discover the server from.
        address: String,
        /// User name; the mail address when that was given.
        #[arg(long, short)]
        username: Option<String>,
        /// The secret is a bearer token instead of a password.
        #[arg(long)]
        bearer: bool,
        #[command(flatten)]
        options: ConnectOptions,
    },
    /// A Google account: opens a page in your browser; a scheduler or solo has to be running.
    Google {
        #[command(flatten)]
        whose: Whose,
        /// Asks for the right to change events too.
        #[arg(long)]
        write: bool,
        #[command(flatten)]
        format: print::Format,
    },
    /// A Microsoft account, personal or of Microsoft 365, in the same way.
    Microsoft {
        #[command(flatten)]
        whose: Whose,
        /// Asks for the right to change events too.
        #[arg(long)]
        write: bool,
        #[command(flatten)]
        format: print::Format,
    },
    /// A published iCalendar file that is polled.
    Feed {
        /// Its URL; webcal:// is https://.
        address: String,
        #[command(flatten)]
        options: ConnectOptions,
    },
}

/// What both have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectOptions {
    /// What to call it; as before where the account was connected already.
    #[arg(long)]
    label: Option<String>,
    /// Between two polls, such as 5m (1s to 7days); as before where the account was connected already, else `sync.poll_interval`.
    #[arg(long, value_parser = poll_interval)]
    poll_interval: Option<Duration>,
    /// Who wins where both sides changed the same: `last_write_wins`, `provider_wins`, `app_wins`, or `manual`, where
    /// a person decides. As before where the account was connected already, else `last_write_wins`.
    #[arg(long, value_parser = policy)]
    conflict_policy: Option<ConflictPolicy>,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    format: print::Format,
}

/// Whose connections.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    format: print::Format,
}

fn poll_interval(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_secs(1)..=Duration::from_hours(7 * 24);
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if allowed.contains(&interval) { Ok(interval) } else { Err("give 1s to 7days".to_owned()) }
}

fn policy(name: &str) -> Result<ConflictPolicy, String> {
    ConflictPolicy::from_name(name)
        .ok_or_else(|| "give last_write_wins, provider_wins, app_wins or manual".to_owned())
}

/// Connects an account.
pub(super) async fn connect(parts: &Parts, command: Connect) -> anyhow::Result<()> {
    let service = &parts.service;
    let (provider, address, authentication, username, secret, options) = match command {
        Connect::Caldav { address, username, bearer, options } => {
            let username = username.or_else(|| mail_address(&address));
            let secret = Some(read_secret(if bearer { "Token: " } else { "Password: " })?);
            let authentication = if bearer { Authentication::Bearer } else { Authentication::Password };
            (ProviderKind::Caldav, address, authentication, username, secret, options)
        }
        Connect::Feed { address, options } => {
            (ProviderKind::Feed, address, Authentication::None, None, None, options)
        }
        Connect::Google { whose, write, format } => {
            return by_consent(parts, (ProviderKind::Google, access(write)), &whose, format).await;
        }
        Connect::Microsoft { whose, write, format } => {
            return by_consent(parts, (ProviderKind::Microsoft, access(write)), &whose, format).await;
        }
    };
    let request = ConnectRequest {
        organization_id: options.whose.find(service, Makes::One).await?,
        user_id: None,
        provider,
        address,
        authentication,
        username,
        secret,
        label: options.label,
        poll_interval: options.poll_interval,
        conflict_policy: options.conflict_policy,
    };
    let connected = match service.connect(&request, &Actor::operator()).await {
        Ok(connected) => connected,
        Err(ConnectError::Driver(error)) => anyhow::bail!("{}", error.problem),
        Err(error) => return Err(error.into()),
    };
    say(&connected, options.format)
}

fn access(write: bool) -> SignInAccess {
    if write { SignInAccess::Write } else { SignInAccess::Read }
}

/// Connects an account whose owner agrees in a browser.
async fn by_consent(
    parts: &Parts,
    wanted: (ProviderKind, SignInAccess),
    whose: &Whose,
    format: print::Format,
) -> anyhow::Result<()> {
    let service = &parts.service;
    let organization = whose.find(service, Makes::One).await?;
    let waiting = sign_in::begin(service, organization, wanted).await?;
    // standard output is for the result
    print::aside(&format!("Open this page in a browser: {}", waiting.begun.authorize_url))?;
    say(&waiting.finish().await?, format)
}

/// Prints what came of connecting.
fn say(connected: &Connected, format: print::Format) -> anyhow::Result<()> {
    let (id, is_new) = match connected.connection {
        Bound::Created(id) => (id, true),
        Bound::Rebound(id) => (id, false),
    };
    if format.json {
        let names: Vec<&str> = connected.calendars.iter().map(|calendar| calendar.name.as_str()).collect();
        return print::json(&serde_json::json!({ "connection": id, "is_new": is_new, "calendars": names }));
    }
    let word = if is_new { "Connected" } else { "Connected again" };
    print::line(&format!("{word}: {id}, {} calendars. Their import begins now;", connected.calendars.len()))?;
    print::line(&format!("watch it with 'calfleet admin progress {id} --watch'."))
}

/// Prints connections and calendars.
pub(super) async fn list(service: &Service, command: &List) -> anyhow::Result<()> {
    let organization = command.whose.find(service, Makes::None).await?;
    let mut views: Vec<ConnectionView> = Vec::new();
    loop {
        let after = views.last().map(|view| view.id);
        let page = overview::connections(&service.store, organization, after, PAGE, service.now()).await?;
        let is_last = page.len() < PAGE as usize;
        views.extend(page);
        if is_last {
            break;
        }
    }
    if command.format.json {
        return print::json(&views);
    }
    for view in &views {
        print::line(&format!("{}  {}  {}", view.id, view.provider, view.label))?;
        print::line(&format!("  {}", view.status.message))?;
        if view.watched.eligible > 0 {
            let Coverage { proven, eligible } = view.watched;
            print::line(&format!("  Its provider tells of changes in {proven} of {eligible} calendars."))?;
        }
        let rows: Vec<[String; 7]> = view.calendars.iter().map(|calendar| row(calendar, service)).collect();
        print::table(
            ["  CALENDAR", "NAME", "ACCESS", "STATE", "PROVEN FRESH", "CHANGES ARE", "PROBLEM"],
            &rows,
        )?;
    }
    Ok(())
}

fn row(calendar: &overview::CalendarView, service: &Service) -> [String; 7] {
    let fresh = calendar
        .fresh_at
        .map_or_else(|| "not yet".to_owned(), |at| format!("{} s ago", service.now().since(at).as_secs()));
    [
        format!("  {}", calendar.id),
        calendar.name.clone(),
        calendar.access.to_owned(),
        calendar.state.to_owned(),
        fresh,
        changes(calendar.watch.as_ref(), service),
        calendar.problem.clone().or_else(|| calendar.waiting.clone()).unwrap_or_default(),
    ]
}

/// How changes come in: told, with the age of the last proof of that, or polled for, with the reason.
fn changes(watch: Option<&WatchView>, service: &Service) -> String {
    match watch {
        None => "polled".to_owned(),
        Some(WatchView { reason: Some(reason), .. }) => format!("polled: {reason}"),
        Some(WatchView { notified_at: Some(at), .. }) => {
            format!("told, last {} s ago", service.now().since(*at).as_secs())
        }
        Some(_) => "told".to_owned(),
    }
}

fn mail_address(address: &str) -> Option<String> {
    (address.contains('@') && !address.contains('/')).then(|| address.to_owned())
}

/// The secret: typed without echo on a terminal, else the first line of standard input.
pub(super) fn read_secret(prompt: &str) -> anyhow::Result<SecretString> {
    let stdin = std::io::stdin();
    let text = if stdin.is_terminal() {
        rpassword::prompt_password(prompt)?
    } else {
        let mut text = String::new();
        stdin
            .take(LONGEST_SECRET)
            .read_to_string(&mut text)
            .context("read the secret from standard input")?;
        text
    };
    let secret = text.lines().next().unwrap_or_default();
    anyhow::ensure!(!secret.is_empty(), "no secret was given; type it, or pipe it into standard input");
    Ok(SecretString::from(secret))
}

/// A whole document of secrets from standard input, such as a key file.
pub(super) fn read_document() -> anyhow::Result<SecretString> {
    let mut text = String::new();
    std::io::stdin()
        .take(LONGEST_SECRET)
        .read_to_string(&mut text)
        .context("read the key file from standard input")?;
    anyhow::ensure!(!text.trim().is_empty(), "no key file was given; pipe it into standard input");
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_interval_is_a_second_to_a_week() {
        let read = |text| poll_interval(text).map(|interval| interval.as_secs());

        assert_eq!(read("5m"), Ok(300));
        assert_eq!((read("1s"), read("7days")), (Ok(1), Ok(604_800)));
        for text in ["0s", "999ms", "8days", "soon"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
