//! `admin rotate-keys`.

use calfleet_service::Service;
use calfleet_store::{Priority, Scope, organizations, provider_clients, vault};

use crate::print;

/// Secrets sealed in one transaction.
const AT_ONCE: u32 = 200;

/// Options of `admin rotate-keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateKeys {
    #[command(flatten)]
    format: print::Format,
}

/// Seals every secret that another key than the current one sealed, a few at a time: nobody waits for it, and it can be
/// run again after it was ended.
pub(super) async fn rotate(service: &Service, command: &RotateKeys) -> anyhow::Result<()> {
    let ring = service.drivers.ring();
    let tx = service.store.read(Scope::Fleet).await?;
    let all = organizations::list(&tx).await?;
    drop(tx);
    let mut sealed = 0;
    for organization in all {
        loop {
            let tx = service.store.begin(Scope::Organization(organization), Priority::Background).await?;
            let some = vault::rotate(&tx, ring, AT_ONCE, service.now()).await?;
            tx.commit().await?;
            if some == 0 {
                break;
            }
            sealed += some;
        }
        let tx = service.store.begin(Scope::Organization(organization), Priority::Background).await?;
        sealed += provider_clients::rotate(&tx, ring).await?;
        tx.commit().await?;
    }
    if command.format.json {
        return print::json(&serde_json::json!({ "sealed": sealed, "key": ring.current() }));
    }
    print::line(&format!(
        "Sealed {sealed} secrets with key {}; no secret needs the other keys any more. Keep them behind the first as long as events are marked under them: 'cleanup' knows what was made here by these marks.",
        ring.current()
    ))
}
