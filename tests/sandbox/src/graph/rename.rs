//! An account whose primary address is changed by its administrator.
//!
//! The person stays who it is (`oid`, grants, subscriptions), and so do the ids of calendars and events: they belong to
//! the mailbox and not to its address. The address changes wherever it is shown: the owner of calendars, organizers,
//! attendees.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Graph;
use super::calendar::fields;
use crate::error::SandboxError;

/// Gives a person the new address wherever a document names it; whether it does.
fn readdress(document: &mut Value, old: &str, new: &str) -> bool {
    match document {
        Value::Object(fields) => fields.iter_mut().fold(false, |is_named, (name, value)| {
            let is_own = value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(old));
            if is_own && (name == "address" || name == "name") {
                *value = new.into();
                return true;
            }
            readdress(value, old, new) || is_named
        }),
        Value::Array(items) => {
            items.iter_mut().filter_map(|item| readdress(item, old, new).then_some(())).count() > 0
        }
        _ => false,
    }
}

/// The same in stored fields; `None` where nobody is named.
fn readdressed(own: &str, old: &str, new: &str) -> Option<Arc<str>> {
    let known: Map<String, Value> = fields(own);
    let mut document = Value::Object(known);
    readdress(&mut document, old, new).then(|| document.to_string().into())
}

impl Graph {
    /// Changes the address of an account.
    pub(crate) fn rename_account(&mut self, old: &str, new: &str, now: i64) -> Result<(), SandboxError> {
        let (old, new) = (old.to_lowercase(), new.to_lowercase());
        if self.accounts.contains_key(&new) {
            return Err(SandboxError::Exists(new));
        }
        let mut account =
            self.accounts.remove(&old).ok_or_else(|| SandboxError::UnknownAccount(old.clone()))?;
        account.spec.email.clone_from(&new);
        self.accounts.insert(new.clone(), account);
        self.tokens.rename_account(&old, &new);
        self.rename_subscribers(&old, &new);
        for calendar in self.calendars.values_mut() {
            if calendar.owner == old {
                calendar.owner.clone_from(&new);
            }
            if let Some(can_edit) = calendar.roles.remove(&old) {
                calendar.roles.insert(new.clone(), can_edit);
            }
        }
        self.readdress_events(&old, &new, now);
        Ok(())
    }

    fn readdress_events(&mut self, old: &str, new: &str, now: i64) {
        let ids: Vec<String> = self.calendars.keys().cloned().collect();
        for id in ids {
            let Some(calendar) = self.calendars.get(&id) else { continue };
            let mut named = Vec::new();
            for stored in calendar.all() {
                let mut after = stored.clone();
                let own = readdressed(&stored.own, old, new);
                let mut is_named = own.is_some();
                after.own = own.unwrap_or(after.own);
                for exception in after.series.iter_mut().flat_map(|series| series.exceptions.values_mut()) {
                    if let Some(own) = readdressed(&exception.own, old, new) {
                        exception.own = own;
                        is_named = true;
                    }
                }
                named.extend(is_named.then_some(after));
            }
            for stored in named {
                self.put(&id, stored, now);
            }
        }
    }
}
