//! `admin key`: keys of applications.

use anyhow::ensure;
use calfleet_domain::model::ApiKeyId;
use calfleet_scheduler::api::{CONNECT, SCHEDULE, VIEW_ALL};
use calfleet_service::Service;
use calfleet_store::{Priority, Scope, api_keys};
use secrecy::ExposeSecret;

use super::{Makes, Whose};
use crate::print;

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Key {
    /// Make a key that may read everything of an organization; it is shown once.
    Create {
        /// What to call it.
        name: String,
        /// It may connect accounts for the organization's users, too.
        #[arg(long)]
        connect: bool,
        /// It may make, change, answer and delete events, too.
        #[arg(long, visible_alias = "schedule")]
        write: bool,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        format: print::Format,
    },
    /// List an organization's keys.
    List {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        format: print::Format,
    },
    /// Take a key back; it works no longer at once.
    Revoke {
        /// Its id.
        id: ApiKeyId,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        format: print::Format,
    },
}

/// Carries it out.
pub(super) async fn run(service: &Service, command: &Key) -> anyhow::Result<()> {
    match command {
        Key::Create { name, connect, write, whose, format } => {
            let organization = whose.find(service, Makes::One).await?;
            let mut scopes = vec![VIEW_ALL];
            scopes.extend(connect.then_some(CONNECT));
            scopes.extend(write.then_some(SCHEDULE));
            let (id, key) = create(service, organization, name, &scopes).await?;
            if format.json {
                return print::json(&serde_json::json!({ "id": id, "key": key.expose_secret() }));
            }
            print::line(key.expose_secret())
        }
        Key::List { whose, format } => {
            let organization = whose.find(service, Makes::None).await?;
            let tx = service.store.read(Scope::Organization(organization)).await?;
            let keys = api_keys::list(&tx).await?;
            if format.json {
                let keys: Vec<_> = keys
                    .iter()
                    .map(|key| serde_json::json!({ "id": key.id, "name": key.name, "scopes": key.scopes, "revoked_at": key.revoked_at }))
                    .collect();
                return print::json(&keys);
            }
            let rows: Vec<[String; 3]> = keys
                .iter()
                .map(|key| {
                    let state = if key.revoked_at.is_some() { "revoked" } else { "valid" };
                    [key.id.to_string(), key.name.clone(), state.to_owned()]
                })
                .collect();
            print::table(["KEY", "NAME", "STATE"], &rows)
        }
        Key::Revoke { id, whose, format } => {
            let organization = whose.find(service, Makes::None).await?;
            let tx = service.store.begin(Scope::Organization(organization), Priority::Interactive).await?;
            let revoked = api_keys::revoke(&tx, *id, service.now()).await?;
            let is_there = api_keys::list(&tx).await?.iter().any(|key| key.id == *id);
            tx.commit().await?;
            ensure!(is_there, "there is no such key; 'calfleet admin key list' shows them");
            if format.json {
                return print::json(&serde_json::json!({ "id": id, "revoked": revoked }));
            }
            print::line(if revoked { "Revoked." } else { "It was revoked already." })
        }
    }
}

/// Makes a key with these permissions.
pub(crate) async fn create(
    service: &Service,
    organization: calfleet_domain::model::OrganizationId,
    name: &str,
    scopes: &[&str],
) -> anyhow::Result<(ApiKeyId, secrecy::SecretString)> {
    let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let id: ApiKeyId = service.id();
    let tx = service.store.begin(Scope::Organization(organization), Priority::Interactive).await?;
    let key = api_keys::create(&tx, id, name, &scopes, service.now()).await?;
    tx.commit().await?;
    Ok((id, key))
}
