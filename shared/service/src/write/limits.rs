//! How much an event may say, by provider. What is over a limit is refused by name before anything is stored, never
//! cut.

use calfleet_domain::model::ProviderKind;

/// Most letters of a title or a location. No provider documents one; ours, so that lists of events stay small.
pub(super) const LINE_CHARS: usize = 1_000;

/// Most letters of a link: what browsers and mail programs agree on.
pub(super) const URL_CHARS: usize = 2_048;

/// Most letters of a name or a comment.
pub(super) const NAME_CHARS: usize = 250;

/// Most bytes of a mail address (RFC 5321 §4.5.3.1.3, without the angle brackets), and of the part before the @.
pub(super) const ADDRESS_BYTES: (usize, usize) = (254, 64);

/// Most lines that say when a series recurs; providers keep one rule and a few exclusions.
pub(super) const RECURRENCE_LINES: usize = 100;

/// The years in which something may be planned: outside them zone data and providers disagree.
pub(super) const YEARS: std::ops::RangeInclusive<i32> = 1900..=2200;

/// What a provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Letters of a description.
    pub(super) description_chars: usize,
    /// Guests of one event.
    pub(super) guests: usize,
    /// Reminders of one event.
    pub(super) reminders: usize,
    /// Which reminders it can keep.
    pub(super) reminder_forms: ReminderForms,
    /// When a write can be asked to mail nobody.
    pub(super) silence: Silence,
    /// Whether a message can go along with the mail about what is called off.
    pub(super) carries_messages: bool,
    /// Whether we have to write down who organizes an event with guests.
    pub(super) names_organizer: bool,
}

/// When a provider can be asked to mail nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Always.
    Always,
    /// When a guest answers, or deletes the own copy; whoever organizes an event mails its guests with every change of
    /// it, be it of a reminder only.
    OfGuests,
    /// Never.
    Never,
}

/// Which reminders a provider can keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReminderForms {
    /// Whole minutes before the start, at most so many.
    MinutesBeforeStart(i64),
    /// Any that iCalendar has (RFC 5545 §3.8.6.3).
    Any,
}

impl Limits {
    /// Of a provider.
    pub(super) fn of(provider: ProviderKind) -> Self {
        match provider {
            // `Events` of the Calendar API v3: at most 5 overrides of 0 to 40320 minutes; answers of more than 200
            // guests are not passed on. A longer description is refused, which is observed and not documented.
            ProviderKind::Google => Self {
                description_chars: 8_192,
                guests: 200,
                reminders: 5,
                reminder_forms: ReminderForms::MinutesBeforeStart(40_320),
                silence: Silence::Always,
                carries_messages: false,
                names_organizer: false,
            },
            // `event` of Graph v1.0: one `reminderMinutesBeforeStart`, at most 500 attendees.
            ProviderKind::Microsoft => Self {
                description_chars: 32_768,
                guests: 500,
                reminders: 1,
                reminder_forms: ReminderForms::MinutesBeforeStart(i64::from(i32::MAX)),
                silence: Silence::OfGuests,
                carries_messages: true,
                names_organizer: false,
            },
            // No server documents any; ours, far above what people write.
            ProviderKind::Caldav | ProviderKind::Feed => Self {
                description_chars: 32_768,
                guests: 500,
                reminders: 10,
                reminder_forms: ReminderForms::Any,
                silence: Silence::Never,
                carries_messages: false,
                names_organizer: true,
            },
        }
    }
}
