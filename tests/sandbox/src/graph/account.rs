//! People with a mailbox, and what is known of their directory entry.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::id::guid;

/// The tenant of all personal accounts.
pub(crate) const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// An account as it is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MicrosoftAccountSpec {
    /// Its address and user principal name.
    pub email: String,
    /// The mailbox's zone, a Windows or IANA name.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The person's name; the address when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// The tenant; made from the address's domain when absent.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The object id in the tenant; made from the address when absent.
    #[serde(default)]
    pub object_id: Option<String>,
    /// A personal account (outlook.com): no Teams, no getSchedule.
    #[serde(default)]
    pub is_personal: bool,
    /// Its mailbox is not in the cloud: every call for it is refused.
    #[serde(default)]
    pub has_no_mailbox: bool,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl MicrosoftAccountSpec {
    /// A work account in UTC.
    pub fn new(email: &str) -> Self {
        Self {
            email: email.to_owned(),
            time_zone: utc(),
            name: None,
            tenant: None,
            object_id: None,
            is_personal: false,
            has_no_mailbox: false,
        }
    }

    /// In that zone, a Windows or IANA name.
    #[must_use]
    pub fn zone(mut self, zone: &str) -> Self {
        zone.clone_into(&mut self.time_zone);
        self
    }

    /// A personal account.
    #[must_use]
    pub fn personal(mut self) -> Self {
        self.is_personal = true;
        self
    }

    /// Without a mailbox in the cloud.
    #[must_use]
    pub fn without_mailbox(mut self) -> Self {
        self.has_no_mailbox = true;
        self
    }
}

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) spec: MicrosoftAccountSpec,
    pub(crate) tenant: String,
    pub(crate) object_id: String,
    /// Id of the default calendar.
    pub(crate) default_calendar: String,
    /// Ids of all calendars it sees, its own first.
    pub(crate) calendars: Vec<String>,
    /// Numbers of the events that were made under a transaction id.
    pub(crate) transactions: HashMap<String, u64>,
    /// Starts of requests within the last ten minutes, milliseconds.
    pub(crate) recent: VecDeque<i64>,
    /// The AADSTS number with which the token endpoint refuses.
    pub(crate) refusal: Option<u32>,
}

impl Account {
    pub(crate) fn new(spec: MicrosoftAccountSpec, default_calendar: String) -> Self {
        let domain = spec.email.split_once('@').map_or("", |(_, domain)| domain);
        let made = if spec.is_personal { CONSUMERS.to_owned() } else { guid(&format!("tenant {domain}")) };
        Self {
            tenant: spec.tenant.clone().unwrap_or(made),
            object_id: spec.object_id.clone().unwrap_or_else(|| guid(&format!("person {}", spec.email))),
            calendars: vec![default_calendar.clone()],
            default_calendar,
            transactions: HashMap::new(),
            recent: VecDeque::new(),
            refusal: None,
            spec,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.spec.name.as_deref().unwrap_or(&self.spec.email)
    }
}
