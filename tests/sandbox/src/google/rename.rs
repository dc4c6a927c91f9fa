//! An account whose primary address is changed by its administrator.
//!
//! The person stays who it is (`sub`, grants, events, roles); the primary calendar goes by the new address. What Google
//! does with the old id is nowhere promised: the old address becomes an alias for mail, which the administrator may
//! remove. Here the old id is `404` at once, which is the harder case: a client that lives through it does not depend on
//! an alias. Its sync tokens are dead, and channels that were opened under it say nothing any more.

use serde_json::{Map, Value};

use super::{Google, guests};
use crate::error::SandboxError;

/// Puts what stands under the old key under the new one.
fn rekey<T>(map: &mut std::collections::BTreeMap<String, T>, old: &str, new: &str) {
    if let Some(value) = map.remove(old) {
        map.insert(new.to_owned(), value);
    }
}

/// Gives a person in an event the new address; whether it was that person.
fn readdress(person: Option<&mut Value>, old: &str, new: &str) -> bool {
    let email = person.and_then(|person| person.get_mut("email"));
    let own = email.filter(|email| email.as_str().is_some_and(|email| email.eq_ignore_ascii_case(old)));
    own.map(|email| *email = new.into()).is_some()
}

/// Gives a person the new address wherever an event names it; whether it does.
fn readdress_all(event: &mut Map<String, Value>, old: &str, new: &str) -> bool {
    let mut is_named = readdress(event.get_mut("organizer"), old, new);
    is_named |= readdress(event.get_mut("creator"), old, new);
    let guests = event.get_mut("attendees").and_then(Value::as_array_mut);
    for guest in guests.into_iter().flatten() {
        is_named |= readdress(Some(guest), old, new);
    }
    is_named
}

impl Google {
    /// Changes the address of an account, and with it the id of its primary calendar.
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
        self.rename_channels(&old, &new);
        rekey(&mut self.calendars, &old, &new);
        for calendar in self.calendars.values_mut() {
            rekey(&mut calendar.roles, &old, &new);
            if calendar.data_owner == old {
                calendar.data_owner.clone_from(&new);
            }
        }
        let era = self.next_revision();
        if let Some(primary) = self.calendars.get_mut(&new) {
            primary.era = era;
            if primary.own.get("summary").is_some_and(|summary| *summary == *old) {
                primary.own.insert("summary".to_owned(), new.as_str().into());
            }
        }
        self.relist(&old, &new);
        self.readdress_events(&old, &new, now);
        Ok(())
    }

    /// The primary calendar stands under its new id on all lists, and the old one leaves them.
    fn relist(&mut self, old: &str, new: &str) {
        let seeing: Vec<String> = self.accounts.keys().cloned().collect();
        for who in seeing {
            let account = self.accounts.get_mut(&who);
            let Some(entry) = account.and_then(|account| account.list.remove(old)) else { continue };
            self.change_entry(&who, old, |left| left.is_deleted = true);
            self.change_entry(&who, new, |moved| *moved = entry);
        }
    }

    fn readdress_events(&mut self, old: &str, new: &str, now: i64) {
        let ids: Vec<String> = self.calendars.keys().cloned().collect();
        for id in ids {
            let Some(calendar) = self.calendars.get(&id) else { continue };
            let mut named: Vec<Map<String, Value>> = calendar.all().map(|(_, stored)| stored.map()).collect();
            named.retain_mut(|event| readdress_all(event, old, new));
            for mut event in named {
                guests::mark(&mut event, &id);
                self.put(&id, event, now);
            }
        }
    }
}
