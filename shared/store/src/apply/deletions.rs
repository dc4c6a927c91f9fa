//! Rows that are deleted on our side: a tombstone that remembers what both sides agreed on until the provider has been
//! told.

use calfleet_domain::clock::Timestamp;

use super::Deletion;
use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Tx, to_json, values};

/// Makes tombstones. The payload stays while the provider has yet to be told: should the deletion lose against a
/// change there, or be undone, it is patched again. So do the objects of instances: where the series itself is out of
/// sight, it is they that are to be deleted.
pub(super) async fn write(tx: &Tx, deletions: &[Deletion], now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "delete events";
    if deletions.is_empty() {
        return Ok(());
    }
    let organization = tx.organization(OPERATION)?;
    let bases = deletions
        .iter()
        .map(|deletion| deletion.base.as_ref().map(|base| to_json(OPERATION, "base", base)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let input = Input::new()
        .column("id", deletions.iter().map(|deletion| deletion.row.id))
        .column("base", bases)
        .column("edited_at", deletions.iter().map(|deletion| deletion.edited_at));
    let sql = "WITH {input} UPDATE events SET state = 2, body = NULL, base = input.base, problem = NULL,
            span_start = NULL, span_end = NULL, recheck_at = NULL, edited_at = input.edited_at,
            lock_version = events.lock_version + 1, updated_at = $2, deleted_at = COALESCE(deleted_at, $2)
         FROM input WHERE events.id = input.id AND events.organization_id = $1";
    input.execute(tx, OPERATION, sql, values![organization, now]).await?;
    let of = |is_told: bool| {
        let some = deletions.iter().filter(|deletion| deletion.base.is_none() == is_told);
        Input::new().column("id", some.map(|deletion| deletion.row.id).collect::<Vec<_>>())
    };
    let statements = [
        (true, "DELETE FROM event_payloads WHERE"),
        (true, "DELETE FROM overrides WHERE"),
        (false, "DELETE FROM overrides WHERE provider_id IS NULL AND"),
        (false, "UPDATE overrides SET is_said = FALSE, body = NULL WHERE"),
    ];
    for (is_told, what) in statements {
        let sql =
            format!("WITH {{input}} {what} organization_id = $1 AND event_id IN (SELECT id FROM input)");
        of(is_told).execute(tx, OPERATION, &sql, values![organization]).await?;
    }
    Ok(())
}
