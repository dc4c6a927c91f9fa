//! `admin organization`: tenants, and what they allow.

use anyhow::{Context, bail, ensure};
use calfleet_domain::model::OrganizationId;
use calfleet_service::{Actor, Service};
use calfleet_store::{Scope, organizations};

use super::{Makes, Whose, make};
use crate::print;

/// What to do with organizations.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Organization {
    /// Make an organization.
    Create {
        /// Its name, unique in the fleet.
        name: String,
        #[command(flatten)]
        format: print::Format,
    },
    /// List organizations.
    List {
        #[command(flatten)]
        format: print::Format,
    },
    /// Let events be written for the organization's people, as it is from the beginning.
    AllowWrites {
        /// Name or id of the organization.
        organization: String,
        /// Allow it no longer: what is asked for from now on is refused.
        #[arg(long)]
        revoke: bool,
        #[command(flatten)]
        format: print::Format,
    },
    /// Let a service account act for the organization's people.
    AllowServiceAccounts {
        /// Name or id of the organization.
        organization: String,
        /// Allow it no longer: no token is asked for any more.
        #[arg(long)]
        revoke: bool,
        #[command(flatten)]
        format: print::Format,
    },
}

/// Carries it out.
pub(super) async fn run(service: &Service, command: &Organization) -> anyhow::Result<()> {
    match command {
        Organization::Create { name, format } => {
            ensure!(!name.trim().is_empty(), "give the organization a name");
            // wherever an organization is named, an id may stand
            let is_id = name.trim().parse::<OrganizationId>().is_ok();
            ensure!(!is_id, "a name that has the form of an id would be taken for one; give another name");
            let tx = service.store.read(Scope::Fleet).await?;
            if organizations::find(&tx, name).await?.is_some() {
                bail!("there is an organization of that name already");
            }
            drop(tx);
            let id = make(service, name).await?;
            if format.json {
                return print::json(&serde_json::json!({ "organization": id }));
            }
            print::line(&format!("Made: {id}."))
        }
        Organization::List { format } => list(service, *format).await,
        Organization::AllowWrites { organization, revoke, format } => {
            let organization = Whose::named(organization).find(service, Makes::None).await?;
            let changed = service.allow_writes(organization, !revoke, &Actor::operator()).await?;
            if format.json {
                let allows = !revoke;
                return print::json(
                    &serde_json::json!({ "organization": organization, "allows": allows, "changed": changed }),
                );
            }
            print::line(match (changed, revoke) {
                (true, false) => "Allowed.",
                (true, true) => "Allowed no longer; what waits for a provider is still told.",
                (false, _) => "It was so already.",
            })
        }
        Organization::AllowServiceAccounts { organization, revoke, format } => {
            let organization = Whose::named(organization).find(service, Makes::None).await?;
            let changed = service.allow_service_accounts(organization, !revoke, &Actor::operator()).await?;
            if format.json {
                let allows = !revoke;
                return print::json(
                    &serde_json::json!({ "organization": organization, "allows": allows, "changed": changed }),
                );
            }
            print::line(match (changed, revoke) {
                (true, false) => {
                    "Allowed; give it a key with 'calfleet admin client set … --service-account'."
                }
                (true, true) => "Allowed no longer: its connections stop when their tokens run out.",
                (false, _) => "It was so already.",
            })
        }
    }
}

async fn list(service: &Service, format: print::Format) -> anyhow::Result<()> {
    let tx = service.store.read(Scope::Fleet).await?;
    let ids = organizations::list(&tx).await?;
    drop(tx);
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        let tx = service.store.read(Scope::Organization(id)).await?;
        all.push(organizations::load(&tx).await?.context("an organization has gone meanwhile")?);
    }
    if format.json {
        let all: Vec<_> = all
            .iter()
            .map(|one| {
                serde_json::json!({
                    "id": one.id, "name": one.name, "allows_service_accounts": one.allows_service_accounts,
                    "writes": one.composes,
                })
            })
            .collect();
        return print::json(&all);
    }
    let rows: Vec<[String; 3]> = all
        .iter()
        .map(|one| {
            let allows = if one.allows_service_accounts { "yes" } else { "no" };
            [one.id.to_string(), one.name.clone(), allows.to_owned()]
        })
        .collect();
    print::table(["ORGANIZATION", "NAME", "SERVICE ACCOUNTS"], &rows)
}
