//! `[queue]`: what carries hints from the scheduler to the workers.

use serde::Deserialize;

use super::{Complaint, server_address, unreadable_address};

/// What carries hints.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// `redis://…`, or empty for one process; may hold a password, and is therefore never printed.
    pub url: String,
    /// What every key in Redis begins with.
    pub prefix: String,
}

impl std::fmt::Debug for QueueConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueConfig").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl QueueConfig {
    /// Whether hints travel through Redis.
    pub fn is_redis(&self) -> bool {
        !self.url.is_empty()
    }

    pub(super) fn check(&self, complaints: &mut Vec<Complaint>) {
        if self.is_redis() && !self.url.starts_with("redis://") && !self.url.starts_with("rediss://") {
            let advice = "begins neither with redis:// nor with rediss://; leave it empty for one process.";
            complaints.push(Complaint { key: "queue.url", advice: advice.to_owned() });
        } else if self.is_redis() && server_address(&self.url).is_none() {
            complaints.push(Complaint { key: "queue.url", advice: unreadable_address() });
        }
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        if self.prefix.is_empty() || self.prefix.len() > 40 || !self.prefix.chars().all(is_plain) {
            let advice = "use 1 to 40 letters, digits, - and _.".to_owned();
            complaints.push(Complaint { key: "queue.prefix", advice });
        }
    }
}
