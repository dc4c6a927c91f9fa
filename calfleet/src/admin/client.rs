//! `admin client`: as whom an organization signs in at a provider, where that is not the deployment's client.

use anyhow::{Context, ensure};
use calfleet_domain::model::{OrganizationId, ProviderKind};
use calfleet_service::{Actor, Service};
use calfleet_store::provider_clients::ClientKind;

use super::accounts::{read_document, read_secret};
use super::{Makes, Whose};
use crate::print;

/// What to do with clients.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Client {
    /// Set the organization's own client; its secret is typed, or read from standard input.
    Set {
        #[command(flatten)]
        place: Place,
        /// The OAuth client's id.
        #[arg(long, required_unless_present = "service_account", conflicts_with = "service_account")]
        client_id: Option<String>,
        #[command(flatten)]
        format: print::Format,
    },
    /// List the organization's own clients.
    List {
        /// Name or id of the organization.
        organization: String,
        #[command(flatten)]
        format: print::Format,
    },
    /// Remove the organization's own client, once no connection depends on it.
    Remove {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        format: print::Format,
    },
}

/// Whose client, where.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Name or id of the organization.
    organization: String,
    /// The provider: google or microsoft.
    provider: ProviderKind,
    /// A service account that acts for the organization's people; its key file (JSON) is read from standard input.
    #[arg(long)]
    service_account: bool,
}

impl Place {
    async fn find(&self, service: &Service) -> anyhow::Result<OrganizationId> {
        Whose::named(&self.organization).find(service, Makes::None).await
    }
}

/// Carries it out.
pub(super) async fn run(service: &Service, command: &Client) -> anyhow::Result<()> {
    let actor = Actor::operator();
    match command {
        Client::Set { place, client_id, format } => {
            let organization = place.find(service).await?;
            let name = if place.service_account {
                let file = read_document()?;
                service.set_service_account(organization, place.provider, &file, &actor).await?
            } else {
                let client_id = client_id.as_deref().map(str::trim).unwrap_or_default();
                ensure!(!client_id.is_empty(), "give the client id with --client-id");
                let secret = read_secret("Client secret: ")?;
                service.set_client(organization, place.provider, client_id, &secret, &actor).await?;
                client_id.to_owned()
            };
            said(*format, &name, "Set; new connections are made with it.")
        }
        Client::List { organization, format } => list(service, organization, *format).await,
        Client::Remove { place, format } => {
            let organization = place.find(service).await?;
            let kind = if place.service_account { ClientKind::ServiceAccount } else { ClientKind::Oauth };
            let name = service.remove_client(organization, place.provider, kind, &actor).await?;
            said(*format, &name, "Removed; its secret is erased.")
        }
    }
}

fn said(format: print::Format, name: &str, text: &str) -> anyhow::Result<()> {
    if format.json {
        return print::json(&serde_json::json!({ "client": name }));
    }
    print::line(&format!("{name}: {text}"))
}

async fn list(service: &Service, organization: &str, format: print::Format) -> anyhow::Result<()> {
    let organization = Whose::named(organization).find(service, Makes::None).await?;
    let clients = service.clients(organization).await.context("list the clients")?;
    if format.json {
        let clients: Vec<_> = clients
            .iter()
            .map(|client| {
                serde_json::json!({
                    "provider": client.provider, "kind": client.kind.as_str(), "client": client.name,
                    "is_current": client.retired_at.is_none(), "connections": client.connections,
                })
            })
            .collect();
        return print::json(&clients);
    }
    let rows: Vec<[String; 5]> = clients
        .iter()
        .map(|client| {
            let state = if client.retired_at.is_none() { "current" } else { "replaced" };
            [
                client.provider.to_string(),
                client.kind.as_str().to_owned(),
                client.name.clone(),
                state.to_owned(),
                client.connections.to_string(),
            ]
        })
        .collect();
    print::table(["PROVIDER", "KIND", "CLIENT", "STATE", "CONNECTIONS"], &rows)
}
