//! The filter of a calendar-query: component, time-range, and properties by text (RFC 4791 §9.7).
//!
//! A series matches a time-range by the limits of its rule, not by its instances; see [`crate::ical`].

use super::calendar::Resource;
use super::xml::{CALDAV, Element};
use crate::ical;

/// What resources have to satisfy.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    kind: Option<String>,
    /// `[start, end)` in milliseconds.
    range: Option<(i64, i64)>,
    properties: Vec<PropertyFilter>,
}

#[derive(Debug)]
struct PropertyFilter {
    name: String,
    /// Text to be contained, and whether case counts; `None` asks whether the property is there.
    text: Option<(String, bool)>,
    negated: bool,
}

/// Reads a `C:filter`; `None` when it is none that we understand.
pub(crate) fn read(filter: &Element) -> Option<Filter> {
    let calendar = filter.child(CALDAV, "comp-filter")?;
    if calendar.attribute("name") != Some("VCALENDAR") {
        return None;
    }
    let Some(component) = calendar.child(CALDAV, "comp-filter") else {
        return Some(Filter::default());
    };
    let mut read = Filter { kind: Some(component.attribute("name")?.to_owned()), ..Filter::default() };
    if let Some(range) = component.child(CALDAV, "time-range") {
        let bound = |name: &str, open: i64| match range.attribute(name) {
            Some(value) => ical::utc_bound(value),
            None => Some(open),
        };
        read.range = Some((bound("start", i64::MIN)?, bound("end", i64::MAX)?));
    }
    for property in component.children.iter().filter(|child| child.name.is(CALDAV, "prop-filter")) {
        let text = property.child(CALDAV, "text-match");
        let exact = text.and_then(|text| text.attribute("collation")) == Some("i;octet");
        let negated = property.child(CALDAV, "is-not-defined").is_some()
            || text.and_then(|text| text.attribute("negate-condition")) == Some("yes");
        read.properties.push(PropertyFilter {
            name: property.attribute("name")?.to_owned(),
            text: text.map(|text| (text.text.clone(), exact)),
            negated,
        });
    }
    Some(read)
}

impl Filter {
    pub(crate) fn matches(&self, resource: &Resource) -> bool {
        if self.kind.as_ref().is_some_and(|kind| *kind != resource.facts.kind) {
            return false;
        }
        if let Some((from, to)) = self.range {
            let (start, end) = resource.facts.span;
            if start >= to || end.is_some_and(|end| end <= from) {
                return false;
            }
        }
        self.properties.is_empty() || self.properties_match(&resource.body)
    }

    fn properties_match(&self, body: &str) -> bool {
        let lines = ical::unfold(body);
        self.properties.iter().all(|filter| {
            let found =
                lines.iter().filter_map(|line| ical::split_line(line)).any(|line| filter.finds(&line));
            found != filter.negated
        })
    }
}

impl PropertyFilter {
    fn finds(&self, line: &ical::Line<'_>) -> bool {
        if !line.is(&self.name) {
            return false;
        }
        match &self.text {
            None => true,
            Some((text, true)) => line.value.contains(text.as_str()),
            Some((text, false)) => line.value.to_lowercase().contains(&text.to_lowercase()),
        }
    }
}
