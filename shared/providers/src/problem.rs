//! What can go wrong with a provider, in words for people.

use serde::{Deserialize, Serialize};

use crate::limit::Scope;

/// What went wrong with a provider: `Display` is one clear sentence that says what to do. It never contains a
/// secret, nor a part of an answer's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum Problem {
    /// The URL cannot be used at all.
    #[error("The address is not a usable URL ({reason}); enter one such as https://dav.example.com/.")]
    InvalidUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// Not `https`, and the operator does not allow `http`.
    #[error(
        "The address uses plain http, which would send the password readable to everyone on the way; use https, or ask the operator to allow http for this network."
    )]
    InsecureUrl,
    /// The host has no address.
    #[error("No server with the name {host} could be found; check the address for typing errors.")]
    UnknownHost {
        /// The host's name.
        host: String,
    },
    /// The host's address is private, and the operator has not allowed its network.
    #[error(
        "The server {host} has an address inside a private network, which is not allowed; ask the operator to add its network to providers.http.allowed_networks."
    )]
    AddressNotAllowed {
        /// The host's name.
        host: String,
    },
    /// The port is not among those allowed.
    #[error(
        "Port {port} is not allowed; use 443 or 8443, or ask the operator to add it to providers.http.allowed_ports."
    )]
    PortNotAllowed {
        /// The port.
        port: u16,
    },
    /// Nothing answers there.
    #[error(
        "The server {host} does not accept connections; check the address, or try again when the server is up."
    )]
    ConnectFailed {
        /// The host's name.
        host: String,
    },
    /// The certificate is not trusted.
    #[error(
        "The certificate of {host} is not valid; the owner of the server has to renew it, or the operator has to install its authority."
    )]
    CertificateInvalid {
        /// The host's name.
        host: String,
    },
    /// No answer in time.
    #[error("The server {host} took too long to answer; it is tried again by itself.")]
    Timeout {
        /// The host's name.
        host: String,
    },
    /// 401, or no valid credentials.
    #[error(
        "The server refused the user name or the password; enter them again (many providers want an app-specific password here)."
    )]
    WrongCredentials,
    /// 401 of a provider that is asked by OAuth.
    #[error("The provider no longer accepts our permission to see this account; connect it again.")]
    AccessRevoked,
    /// The authorization server does not accept us as a client.
    #[error(
        "The provider does not accept this installation ({reason}); its operator has to look at the client id and secret."
    )]
    ClientRefused {
        /// The provider's error code, such as `invalid_client`.
        reason: String,
    },
    /// The person did not allow all that is needed.
    #[error(
        "This account was connected without the permission to see its calendars; connect it again and leave every permission ticked."
    )]
    MissingScope,
    /// The deployment's project may not use the API.
    #[error(
        "The calendar API is not enabled for this installation's project at the provider; its operator has to enable it there."
    )]
    ApiNotEnabled,
    /// The account's organization forbids it.
    #[error(
        "The administrator of this account's organization does not let applications see its calendars; ask them to allow this one."
    )]
    BlockedByAdministrator,
    /// The account is known, and has no calendars in the provider's cloud.
    #[error(
        "This account has no mailbox in Microsoft's cloud, or one without a licence; connect another account, or ask its administrator."
    )]
    NoMailbox,
    /// A share for hours or a day is used up.
    #[error(
        "The provider's limit for this account or this installation is used up for now; it is tried again by itself, and if this stays the operator has to ask the provider for a higher one."
    )]
    QuotaUsedUp,
    /// The provider does not want to send notifications to our address.
    #[error(
        "The provider refuses to send notifications to this installation's address; its operator has to give it a public https address with a valid certificate."
    )]
    CallbackRefused,
    /// 403.
    #[error(
        "The server does not allow this account to {action}; ask the owner of the calendar for the permission."
    )]
    Forbidden {
        /// What was attempted, as a verb: "list this calendar".
        action: String,
    },
    /// 404 or 410 of the collection or feed.
    #[error("There is nothing at this address (any more); check it, or connect the calendar again.")]
    NotFound,
    /// The server answers, but knows no calendars here.
    #[error(
        "There is a server at this address, but no calendar; enter the CalDAV address from your provider's help page."
    )]
    NotACalendar,
    /// A web page instead of calendar data.
    #[error(
        "The server answered with a web page instead of calendar data; the address is probably that of a login page: enter the CalDAV or .ics address."
    )]
    HtmlAnswer,
    /// The answer cannot be read.
    #[error(
        "The server's answer could not be read ({reason}); it is tried again by itself, and if this stays the server's owner has to look at it."
    )]
    UnreadableAnswer {
        /// What about it.
        reason: String,
    },
    /// The answer ended too early.
    #[error(
        "The server's answer broke off in the middle; nothing was changed and it is tried again by itself."
    )]
    Truncated,
    /// The answer is over a limit.
    #[error(
        "The server's answer is larger than {limit_bytes} bytes; the operator can raise providers.http.{setting}."
    )]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
        /// The name of the setting.
        setting: String,
    },
    /// A redirect to where we do not go.
    #[error(
        "The server redirects to an address that is not allowed ({reason}); enter the final address instead."
    )]
    RedirectRefused {
        /// Why not.
        reason: String,
    },
    /// 429, 503 with `Retry-After`.
    #[error("The server asks us to slow down; it is tried again when the server's waiting time is over.")]
    Throttled,
    /// We have asked so often that the next request would be over the provider's limit.
    #[error(
        "So much was asked of the provider that the limit {} is used up for the moment; it goes on by itself.",
        match budget {
            Scope::Project => "of this installation",
            Scope::Account => "of this account",
        }
    )]
    BudgetUsedUp {
        /// Which limit.
        budget: Scope,
    },
    /// 5xx.
    #[error("The server has a problem of its own (status {status}); it is tried again by itself.")]
    ServerError {
        /// The status.
        status: u16,
    },
    /// 409, 412: the write was made against another state than the provider's.
    #[error(
        "The event was changed at the provider in the meantime; it is read and the change is made again by itself."
    )]
    ChangedMeanwhile,
    /// What only the organizer may change.
    #[error(
        "Only the organizer can change this event; on this copy you can change your own answer, reminders and colour."
    )]
    NotOrganizer,
    /// The account has no right to write in the calendar.
    #[error("This account may only read this calendar; ask its owner for the permission to change events.")]
    ReadOnlyCalendar,
    /// The provider does not take an event as it is.
    #[error("The provider does not accept this event ({reason}); change that and save it again.")]
    EventRefused {
        /// What about it.
        reason: String,
    },
    /// Any other status.
    #[error("The server refused the request (status {status}); nothing can be done about it here.")]
    Refused {
        /// The status.
        status: u16,
    },
    /// The cursor is no longer known.
    #[error("The server no longer knows where we stopped; the calendar is listed again in full by itself.")]
    CursorExpired,
    /// The driver cannot do this for this account.
    #[error("This provider cannot {action}.")]
    Unsupported {
        /// What, as a verb.
        action: String,
    },
}

impl Problem {
    /// The name of the problem in API and logs, such as `wrong_credentials`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidUrl { .. } => "invalid_url",
            Self::InsecureUrl => "insecure_url",
            Self::UnknownHost { .. } => "unknown_host",
            Self::AddressNotAllowed { .. } => "address_not_allowed",
            Self::PortNotAllowed { .. } => "port_not_allowed",
            Self::ConnectFailed { .. } => "connect_failed",
            Self::CertificateInvalid { .. } => "certificate_invalid",
            Self::Timeout { .. } => "timeout",
            Self::WrongCredentials => "wrong_credentials",
            Self::AccessRevoked => "access_revoked",
            Self::ClientRefused { .. } => "client_refused",
            Self::MissingScope => "missing_scope",
            Self::ApiNotEnabled => "api_not_enabled",
            Self::BlockedByAdministrator => "blocked_by_administrator",
            Self::NoMailbox => "no_mailbox",
            Self::QuotaUsedUp => "quota_used_up",
            Self::CallbackRefused => "callback_refused",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound => "not_found",
            Self::NotACalendar => "not_a_calendar",
            Self::HtmlAnswer => "html_answer",
            Self::UnreadableAnswer { .. } => "unreadable_answer",
            Self::Truncated => "truncated",
            Self::TooLarge { .. } => "too_large",
            Self::RedirectRefused { .. } => "redirect_refused",
            Self::Throttled => "throttled",
            Self::BudgetUsedUp { .. } => "budget_used_up",
            Self::ServerError { .. } => "server_error",
            Self::ChangedMeanwhile => "changed_meanwhile",
            Self::NotOrganizer => "not_organizer",
            Self::ReadOnlyCalendar => "read_only_calendar",
            Self::EventRefused { .. } => "event_refused",
            Self::Refused { .. } => "refused",
            Self::CursorExpired => "cursor_expired",
            Self::Unsupported { .. } => "unsupported",
        }
    }
}
