//! Meetings: what joins the copies of one UID in an organization.
//!
//! A meeting's id follows from organization and UID, so two syncs that see it at the same time write the same
//! row and neither has to ask.

use std::collections::BTreeMap;

use calfleet_domain::clock::Timestamp;
use calfleet_domain::model::{MeetingId, Uid};

use crate::bulk::Input;
use crate::error::StoreError;
use crate::transaction::{Tx, values};

/// Makes the meetings that are not there yet, in the order of their ids, so that two pages never wait for one
/// another in a circle.
pub(crate) async fn ensure(
    tx: &Tx,
    meetings: &BTreeMap<MeetingId, &Uid>,
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "make meetings";
    let organization = tx.organization(OPERATION)?;
    let input = Input::new()
        .column("id", meetings.keys().copied())
        .column("uid", meetings.values().map(|uid| uid.normalised()));
    let sql = "WITH {input} INSERT INTO meetings (organization_id, id, uid, created_at)
         SELECT $1, id, uid, $2 FROM input WHERE TRUE ORDER BY id ON CONFLICT DO NOTHING";
    input.execute(tx, OPERATION, sql, values![organization, now]).await?;
    Ok(())
}
