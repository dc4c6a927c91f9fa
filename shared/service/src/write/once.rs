//! Carrying a request out once, however often it is repeated with its key.

use calfleet_domain::model::OrganizationId;
use calfleet_store::requests::{self, Fingerprint, Turn};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::outcome::WriteError;
use super::permit::Refusal;
use crate::service::Service;

impl Service {
    /// Carries a write out, or answers what came of it when it was carried out before with the same key. A key whose
    /// write was refused can be used again.
    ///
    /// # Errors
    /// As the write; and when the key belongs to another request, or the same one is being carried out elsewhere.
    pub async fn once<T: Serialize + DeserializeOwned>(
        &self,
        organization: OrganizationId,
        key: &str,
        fingerprint: Fingerprint,
        write: impl Future<Output = Result<T, WriteError>>,
    ) -> Result<T, WriteError> {
        let tx = self.begin(organization).await?;
        let turn = requests::begin(&tx, key, fingerprint, self.now()).await?;
        tx.commit().await?;
        match turn {
            Turn::Own => {}
            Turn::Past(outcome) => {
                if let Ok(outcome) = serde_json::from_value(outcome) {
                    return Ok(outcome);
                }
            }
            Turn::Others => return Err(WriteError::Underway),
            Turn::Foreign => {
                let message = "This Idempotency-Key belongs to another request; use a new one for each.";
                return Err(Refusal::new("idempotency_key_used", message).into());
            }
        }
        let written = write.await;
        let tx = self.begin(organization).await?;
        match &written {
            Ok(outcome) => {
                let outcome = serde_json::to_value(outcome).unwrap_or_default();
                requests::complete(&tx, key, &outcome).await?;
            }
            Err(_) => requests::give_back(&tx, key).await?,
        }
        tx.commit().await?;
        written
    }
}
