//! The nouns of the field, with constructors that keep their invariants and no policy of their own.

pub mod attendee;
pub mod calendar;
pub mod change;
pub mod connection;
pub mod event;
pub mod ids;
pub mod intent;
pub mod policy;
pub mod when;

pub use attendee::{Attendee, AttendeeKind, AttendeeRole, Organizer, ParticipationStatus};
pub use calendar::{Access, CalendarState, RemoteCalendar};
pub use change::{
    InstanceRef, Listing, Member, Parts, RemoteChange, RemoteEvent, RemoteInstance, StoredEvent,
};
pub use connection::{Authentication, ConnectionState, ProviderKind};
pub use event::{
    Body, Conference, ConferenceStatus, ConferenceType, DetailLevel, End, Event, Fields, Master,
    NominalDuration, Override, RecurrenceId, Reminder, Role, Rule, Series, Stamps, Status, Transparency,
    Visibility,
};
pub use ids::{
    ApiKeyId, CalendarId, ConflictId, ConnectionId, EventId, HistoryId, LeaseOwner, MeetingId,
    OrganizationId, OutboxId, ProviderId, Revision, RunId, SyncToken, Uid, UserId, Version, WatchId,
    WorkerId,
};
pub use intent::{EditScope, Notify, Operation};
pub use policy::ConflictPolicy;
pub use when::{CustomZone, Observance, When, Zone};
