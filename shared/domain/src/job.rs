//! Kinds of work, lanes, states, and the hint that travels through the queue.
//!
//! The numbers stand in the table `work` and in queues of running fleets: they are fixed and never reused.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::model::ids::{ConnectionId, LeaseOwner, OrganizationId};

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $code:literal $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$item])* $variant),* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number in the table.
            pub fn code(self) -> i16 {
                match self { $(Self::$variant => $code),* }
            }

            /// The one with that number.
            pub fn from_code(code: i16) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The name used in logs, measures, API and command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The one with that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

numbered! {
    /// What is to be done; together with its target the key of a row of `work`.
    Kind {
        /// Bring the calendars of a connection up to date. Target: the connection.
        Sync = 1 "sync",
        /// Write a connection's outbox to its provider. Target: the connection.
        Push = 2 "push",
        /// Renew a connection's token. Target: the connection.
        Refresh = 3 "refresh",
        /// Renew a calendar's watch. Target: the calendar.
        Watch = 4 "watch",
        /// Deliver webhooks to an endpoint. Target: the endpoint.
        Deliver = 5 "deliver",
        /// Send reminders of a meeting. Target: the meeting.
        Remind = 6 "remind",
        /// Remove what has outlived its retention. Target: the organization.
        Purge = 7 "purge",
        /// Tell a provider that a connection has ended, and erase what is left of it. Target: the connection.
        Revoke = 8 "revoke",
    }
}

numbered! {
    /// How urgent it is; a smaller number overtakes a larger one.
    Lane {
        /// A person is waiting.
        Interactive = 0 "interactive",
        /// An application is waiting for a webhook.
        Delivery = 1 "delivery",
        /// Background sync.
        Sync = 2 "sync",
        /// Whatever can wait.
        Upkeep = 3 "upkeep",
    }
}

numbered! {
    /// Whether a row of `work` takes part.
    WorkState {
        /// Runs when due.
        Active = 0 "active",
        /// Waits for something other than time, such as new credentials.
        Held = 1 "held",
        /// Stopped by a person.
        Paused = 2 "paused",
        /// Given up, with its reason.
        Dead = 3 "dead",
    }
}

impl Kind {
    /// The lane of work that nobody asked for.
    pub fn default_lane(self) -> Lane {
        match self {
            Self::Sync => Lane::Sync,
            Self::Push => Lane::Interactive,
            Self::Deliver | Self::Remind => Lane::Delivery,
            Self::Refresh | Self::Watch | Self::Purge | Self::Revoke => Lane::Upkeep,
        }
    }

    /// Whether failures never set the row aside: what keeps calendars fresh backs off, but goes on.
    pub fn never_dies(self) -> bool {
        matches!(self, Self::Sync | Self::Refresh | Self::Watch | Self::Purge | Self::Revoke)
    }
}

/// What a row of `work` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkKey {
    /// What is to be done.
    pub kind: Kind,
    /// For whom: an id of the kind's own table.
    pub target: Uuid,
}

/// A request to look at something: the only way in which anything ever gets done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// What, for whom.
    pub key: WorkKey,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// The connection it belongs to, if any.
    pub connection_id: Option<ConnectionId>,
    /// How urgent it is.
    pub lane: Lane,
    /// When it is wanted; in the past means now.
    pub at: Timestamp,
    /// Who asks: a person may wake what machines may not.
    pub asker: Asker,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A program: does not shorten a backoff and does not wake a dead, held or paused row.
    Machine,
    /// A person: shortens a backoff (never a throttle) and wakes a dead or held row.
    Person,
}

/// A row that was claimed: the right to work on it, until the lease runs out or the fence moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What, for whom.
    pub key: WorkKey,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// The connection it belongs to, if any.
    pub connection_id: Option<ConnectionId>,
    /// Random per claim call; checked with the fence in every transaction of the job.
    pub owner: LeaseOwner,
    /// Rises with every claim.
    pub fence: i64,
    /// How often it had been asked for when it was claimed; the finish reports it as served.
    pub asked: i64,
    /// Failures in a row before this run.
    pub attempt: u32,
    /// Claims, this one included, since a page was last committed.
    pub deliveries: u32,
    /// The lane it was claimed from.
    pub lane: Lane,
}

/// What travels through the queue: a hint that a row may be ready. It may be lost, doubled or late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// What is to be done.
    #[serde(rename = "k")]
    pub kind: i16,
    /// For whom.
    #[serde(rename = "t")]
    pub target: Uuid,
    /// Whose it is; a hint that names another organization than the row is dropped and counted.
    #[serde(rename = "o")]
    pub organization_id: OrganizationId,
    /// The W3C `traceparent` of what asked, if it was traced.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// What a handler says came of a run; the frame makes a finish of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// When to look again, asks made meanwhile notwithstanding; [`Timestamp::NEVER`] for "when asked".
    pub next: Timestamp,
    /// Before when no ask by a machine may run it: backoff or `Retry-After`.
    pub not_before: Timestamp,
    /// Failures in a row, this run included; zero after a success.
    pub attempt: u32,
    /// The class of this run's failure.
    pub class: Option<crate::failure::FailureClass>,
    /// The failure in words for people, free of secrets, titles and addresses.
    pub error: Option<String>,
    /// What becomes of the row.
    pub state: WorkState,
}

impl Finish {
    /// All is well; look again at `next`.
    pub fn done(next: Timestamp) -> Self {
        Self {
            next,
            not_before: Timestamp::ZERO,
            attempt: 0,
            class: None,
            error: None,
            state: WorkState::Active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_what_they_stand_for() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.code()), Some(*kind));
            assert_eq!(Kind::from_name(kind.as_str()), Some(*kind));
        }
        assert!(Lane::Interactive.code() < Lane::Sync.code());
        assert_eq!(WorkState::from_code(9), None);
    }
}
