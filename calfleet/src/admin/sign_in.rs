//! `admin connect google` and `admin connect microsoft`: a sign-in in the operator's own browser.

use std::sync::Arc;

use anyhow::{Context, bail};
use calfleet_domain::model::{OrganizationId, ProviderKind};
use calfleet_scheduler::loopback::Loopback;
use calfleet_service::connect::Connected;
use calfleet_service::service::SignIn;
use calfleet_service::sign_in::{BeginSignIn, Begun, SignInAccess};
use calfleet_service::{Actor, Service};

/// A sign-in that waits for the person in front of the browser.
#[derive(Debug)]
pub(crate) struct Waiting {
    service: Service,
    organization_id: OrganizationId,
    loopback: Loopback,
    /// The consent page.
    pub(crate) begun: Begun,
}

/// Begins a sign-in whose way back leads to this process.
pub(crate) async fn begin(
    service: &Service,
    organization_id: OrganizationId,
    (provider, access): (ProviderKind, SignInAccess),
) -> anyhow::Result<Waiting> {
    let loopback = Loopback::listen().await?;
    let return_url = loopback.url().context("listen for the way back")?;
    let return_urls = vec![return_url.clone()];
    let sign_in = SignIn { return_urls, ..service.sign_in.as_ref().clone() };
    let service = Service { sign_in: Arc::new(sign_in), ..service.clone() };
    let (user_id, connection_id) = (None, None);
    let wanted = BeginSignIn { organization_id, user_id, provider, access, return_url, connection_id };
    let begun = service.begin_sign_in(&wanted).await?;
    Ok(Waiting { service, organization_id, loopback, begun })
}

impl Waiting {
    /// Waits for the person and finishes the sign-in.
    pub(crate) async fn finish(self) -> anyhow::Result<Connected> {
        let Self { service, organization_id, loopback, begun } = self;
        let returned = tokio::select! {
            returned = loopback.returned() => returned?,
            () = service.clock.sleep_until(begun.expires_at) => bail!("nobody came back in time; begin again"),
        };
        match returned {
            Ok(ticket) => {
                Ok(Box::pin(service.confirm_sign_in(organization_id, None, &ticket, &Actor::operator()))
                    .await?)
            }
            Err(reason) => bail!("the provider did not agree ({reason})"),
        }
    }
}
