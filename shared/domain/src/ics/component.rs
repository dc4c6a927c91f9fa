//! Components (RFC 5545 §3.4) as a tree of lines, and the search for those that matter in a document.

use std::borrow::Cow;
use std::ops::Range;

use super::fault::Fault;
use super::line::{Folded, Line, Lines, upper};
use super::{IcsError, Limits};

/// Components of a component inside each other; nobody means what is deeper, and dropping it would take a stack.
const DEEPEST: usize = 8;

/// A component with everything inside it.
#[derive(Debug)]
pub(crate) struct Component<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) lines: Vec<Line<'a>>,
    pub(crate) parts: Vec<Component<'a>>,
}

impl<'a> Component<'a> {
    /// Reads the component that stands at `span`.
    pub(crate) fn at(text: &'a str, span: &Range<usize>) -> Self {
        let mut open: Vec<Self> = Vec::new();
        let mut too_deep = 0_usize;
        for line in Lines::within(text, span) {
            if let Some(name) = marked(&line, "BEGIN") {
                if open.len() == DEEPEST {
                    too_deep += 1;
                    continue;
                }
                // as many as most events and most alarms have
                let lines = Vec::with_capacity(if open.is_empty() { 24 } else { 4 });
                open.push(Self { name, lines, parts: Vec::new() });
            } else if marked(&line, "END").is_some() {
                if too_deep > 0 {
                    too_deep -= 1;
                } else if let (Some(closed), Some(outer)) = (open.pop_if_inner(), open.last_mut()) {
                    outer.parts.push(closed);
                }
            } else if too_deep == 0
                && let Some(current) = open.last_mut()
            {
                current.lines.push(Line::new(line.unfolded()));
            }
        }
        // what was never closed belongs to what it stands in
        while let Some(closed) = open.pop_if_inner() {
            if let Some(outer) = open.last_mut() {
                outer.parts.push(closed);
            }
        }
        open.pop().unwrap_or(Self { name: Cow::default(), lines: Vec::new(), parts: Vec::new() })
    }

    /// The first line of that name.
    pub(crate) fn line(&self, name: &str) -> Option<&Line<'a>> {
        self.lines.iter().find(|line| line.is(name))
    }
}

/// The first line of that name in the component at `span` itself; the rest of it is not read.
pub(crate) fn line_of<'a>(text: &'a str, span: &Range<usize>, name: &str) -> Option<Line<'a>> {
    let mut depth = 0_usize;
    for line in Lines::within(text, span) {
        if marked(&line, "BEGIN").is_some() {
            depth += 1;
        } else if marked(&line, "END").is_some() {
            depth = depth.saturating_sub(1).max(1);
        } else if depth == 1 {
            let line = Line::new(line.unfolded());
            if line.is(name) {
                return Some(line);
            }
        }
    }
    None
}

trait PopInner<T> {
    /// The last element, unless it is the only one.
    fn pop_if_inner(&mut self) -> Option<T>;
}

impl<T> PopInner<T> for Vec<T> {
    fn pop_if_inner(&mut self) -> Option<T> {
        if self.len() > 1 { self.pop() } else { None }
    }
}

/// The name in a `BEGIN` or `END` line, in upper case.
fn marked<'a>(line: &Folded<'a>, mark: &str) -> Option<Cow<'a, str>> {
    if !line.is(mark) {
        return None;
    }
    match line.unfolded() {
        Cow::Borrowed(line) => name_after(line, mark),
        Cow::Owned(line) => name_after(&line, mark).map(|name| Cow::Owned(name.into_owned())),
    }
}

fn name_after<'a>(line: &'a str, mark: &str) -> Option<Cow<'a, str>> {
    line.get(mark.len()..)?.strip_prefix(':').map(str::trim).map(upper)
}

/// Where an event stands.
#[derive(Debug, Clone)]
pub(crate) struct EventSpan {
    /// From `BEGIN` to the end of the line with `END`.
    pub(crate) span: Range<usize>,
    /// `UID`, outer blanks dropped; `None` where there is none.
    pub(crate) uid: Option<String>,
    /// Which `VCALENDAR` it belongs to.
    pub(crate) calendar: usize,
    /// Why it cannot be read, as far as that shows from outside.
    pub(crate) fault: Option<Fault>,
}

/// One `VCALENDAR`, or what stands outside of any.
#[derive(Debug, Default)]
pub(crate) struct CalendarSpan<'a> {
    /// Its own properties that say something here, with where they stand.
    pub(crate) lines: Vec<(Line<'a>, Range<usize>)>,
    /// Its `VTIMEZONE`s.
    pub(crate) zones: Vec<Range<usize>>,
}

/// What a document holds and where.
#[derive(Debug, Default)]
pub(crate) struct Outline<'a> {
    pub(crate) calendars: Vec<CalendarSpan<'a>>,
    pub(crate) events: Vec<EventSpan>,
    /// Whether the text ends inside a component.
    pub(crate) is_truncated: bool,
}

/// The properties of a calendar itself that are kept, each where it stands first.
const HEADER: [&str; 9] = [
    "PRODID",
    "VERSION",
    "CALSCALE",
    "METHOD",
    "NAME",
    "REFRESH-INTERVAL",
    "X-PUBLISHED-TTL",
    "X-WR-CALNAME",
    "X-WR-TIMEZONE",
];

/// The longest of them as it is written, folds included: it stands in the text of every object.
const HEADER_LINE_BYTES: usize = 4096;

struct Open<'a> {
    name: Cow<'a, str>,
    begin: usize,
}

struct Scan<'a, 'l> {
    limits: &'l Limits,
    outline: Outline<'a>,
    open: Vec<Open<'a>>,
    components: usize,
    /// Of the event that is open.
    lines: usize,
    uid: Option<String>,
    fault: Option<Fault>,
}

/// Finds the events and zones of a document without reading them.
pub(crate) fn outline<'a>(text: &'a str, limits: &Limits) -> Result<Outline<'a>, IcsError> {
    let mut scan = Scan {
        limits,
        outline: Outline { calendars: vec![CalendarSpan::default()], ..Outline::default() },
        open: Vec::new(),
        components: 0,
        lines: 0,
        uid: None,
        fault: None,
    };
    for line in Lines::new(text) {
        if let Some(name) = marked(&line, "BEGIN") {
            scan.begin(name, &line)?;
        } else if let Some(name) = marked(&line, "END") {
            scan.end(&name, line.span.end);
        } else {
            scan.property(line);
        }
    }
    scan.outline.is_truncated = !scan.open.is_empty();
    if scan.inside("VEVENT") {
        scan.fault.get_or_insert(Fault::CutOff);
        scan.close_event(text.len());
    }
    if scan.components == 0 {
        return Err(IcsError::NotCalendar(text.trim().chars().take(40).collect()));
    }
    Ok(scan.outline)
}

impl<'a> Scan<'a, '_> {
    fn inside(&self, name: &str) -> bool {
        self.open.iter().any(|open| open.name == name)
    }

    fn begin(&mut self, name: Cow<'a, str>, line: &Folded<'_>) -> Result<(), IcsError> {
        self.components += 1;
        if self.components > self.limits.components {
            return Err(IcsError::TooManyComponents(self.limits.components));
        }
        if matches!(name.as_ref(), "VEVENT" | "VCALENDAR") && self.inside("VEVENT") {
            // the one before was never closed
            self.fault.get_or_insert(Fault::NotClosed);
            self.close_event(line.span.start);
        }
        if name == "VCALENDAR" {
            self.open.clear();
            self.outline.calendars.push(CalendarSpan::default());
        }
        if self.open.len() >= self.limits.nesting {
            if self.inside("VEVENT") {
                self.fault.get_or_insert(Fault::TooDeep(self.limits.nesting));
            }
            return Ok(());
        }
        self.open.push(Open { name, begin: line.span.start });
        Ok(())
    }

    fn end(&mut self, name: &str, at: usize) {
        let Some(position) = self.open.iter().rposition(|open| open.name == name) else { return };
        if self.open.iter().skip(position).any(|open| open.name == "VEVENT") {
            if name != "VEVENT" && self.open.get(position).is_some_and(|open| open.name == "VCALENDAR") {
                self.fault.get_or_insert(Fault::NotClosed);
            }
            self.close_event(at);
        } else if let Some(begin) =
            self.open.get(position).filter(|open| open.name == "VTIMEZONE").map(|open| open.begin)
            && let Some(calendar) = self.outline.calendars.last_mut()
        {
            calendar.zones.push(begin..at);
        }
        self.open.truncate(position);
        if name == "VCALENDAR" {
            // what follows belongs to no calendar
            self.outline.calendars.push(CalendarSpan::default());
        }
    }

    fn close_event(&mut self, end: usize) {
        let Some(position) = self.open.iter().position(|open| open.name == "VEVENT") else { return };
        let Some(begin) = self.open.get(position).map(|open| open.begin) else { return };
        self.open.truncate(position);
        self.lines = 0;
        self.outline.events.push(EventSpan {
            span: begin..end,
            uid: self.uid.take(),
            calendar: self.outline.calendars.len() - 1,
            fault: self.fault.take(),
        });
    }

    fn property(&mut self, line: Folded<'a>) {
        let is_long = line.is_longer_than(self.limits.line_bytes);
        if self.inside("VEVENT") {
            self.lines += 1;
            if self.lines > self.limits.lines {
                self.fault.get_or_insert(Fault::TooManyLines(self.limits.lines));
                return;
            }
        }
        match self.open.last().map(|open| open.name.as_ref()) {
            Some("VEVENT") => {
                if is_long {
                    self.say_long_line(&line);
                } else if self.uid.is_none() && line.is("UID") {
                    let line = Line::new(line.unfolded());
                    self.uid = Some(line.value().trim().to_owned()).filter(|uid| !uid.is_empty());
                }
            }
            Some("VCALENDAR") | None => {
                if let Some(name) = HEADER.iter().find(|name| line.is(name))
                    && let Some(calendar) = self.outline.calendars.last_mut()
                    && !calendar.lines.iter().any(|(kept, _)| kept.is(name))
                    && line.span.len() <= HEADER_LINE_BYTES
                {
                    calendar.lines.push((Line::new(line.unfolded()), line.span));
                }
            }
            Some(_) if is_long && self.inside("VEVENT") => self.say_long_line(&line),
            Some(_) => {}
        }
    }

    fn say_long_line(&mut self, line: &Folded<'_>) {
        let name = line.name.chars().take(40).collect();
        let (bytes, limit) = (line.unfolded().len(), self.limits.line_bytes);
        self.fault.get_or_insert(Fault::LineTooLong { name, bytes, limit });
    }
}
