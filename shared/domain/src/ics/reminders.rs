//! `VALARM` (RFC 5545 §3.6.6, RFC 9074): the alarms a person would recognise as such.

use super::component::Component;
use super::value::{self, Moment};
use crate::clock::Timestamp;
use crate::model::Reminder;

/// The reminders of an event, sorted, each once. How an alarm is shown or sounded stays in the raw text.
pub(crate) fn read(component: &Component<'_>) -> Vec<Reminder> {
    let alarms = component.parts.iter().filter(|part| part.name == "VALARM");
    let mut reminders: Vec<Reminder> = alarms.filter_map(reminder).collect();
    reminders.sort_unstable();
    reminders.dedup();
    reminders
}

/// What one alarm says, if it is one.
pub(crate) fn reminder(alarm: &Component<'_>) -> Option<Reminder> {
    // Apple marks "no alarm" by one that does nothing
    if alarm.line("ACTION").is_some_and(|action| action.value().trim().eq_ignore_ascii_case("NONE")) {
        return None;
    }
    // a snoozed alarm is the state of one device
    if alarm.lines.iter().any(|line| line.is("RELATED-TO") && line.says("RELTYPE", "SNOOZE")) {
        return None;
    }
    let trigger = alarm.line("TRIGGER")?;
    if let Some(length) = value::duration(trigger.value()) {
        let before = -length.seconds();
        return Some(if trigger.says("RELATED", "END") {
            Reminder::BeforeEnd(before)
        } else {
            Reminder::BeforeStart(before)
        });
    }
    match value::moment(trigger.value())? {
        Moment::Utc(instant) => Some(Reminder::At(Timestamp::from_utc(instant))),
        Moment::Wall(wall) => Some(Reminder::At(Timestamp::from_utc(wall.and_utc()))),
        Moment::Date(_) => None,
    }
}
