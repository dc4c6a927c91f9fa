//! The mail that providers would have sent: who would have been told of what, and nothing is sent.

use serde::{Deserialize, Serialize};

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailKind {
    /// A guest is asked to come.
    Invitation,
    /// Something that a guest was asked to has changed.
    Update,
    /// It does not take place, or the guest is no longer wanted.
    Cancellation,
    /// A guest has answered; goes to the organizer.
    Response,
}

/// One mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// When, on the sandbox's clock, milliseconds since 1970 UTC.
    pub at: i64,
    /// `google` or `microsoft`.
    pub provider: String,
    /// The sender's address.
    pub from: String,
    /// The receiver's address.
    pub to: String,
    /// What it is about.
    pub kind: MailKind,
    /// The event's id at the provider, in the sender's calendar.
    pub event: String,
    /// The event's title.
    pub subject: String,
    /// What the sender says with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// All mail since the start or the last `clear`, oldest first.
#[derive(Debug, Default)]
pub(crate) struct MailSink {
    mails: Vec<Mail>,
}

impl MailSink {
    pub(crate) fn put(&mut self, mail: Mail) {
        self.mails.push(mail);
    }

    pub(crate) fn all(&self) -> &[Mail] {
        &self.mails
    }

    pub(crate) fn clear(&mut self) {
        self.mails.clear();
    }
}
