//! Content lines (RFC 5545 §3.1): unfolding, and the parts `name;parameter=value:value`.
//!
//! CRLF, LF and a lone CR end a line. Nothing here fails: a line that makes no sense has an empty value and is left to
//! the raw text.

use std::borrow::Cow;
use std::iter;
use std::ops::Range;

use memchr::{memchr, memchr2};

/// Longest line in octets, its end not counted (RFC 5545 §3.1).
pub(crate) const LINE_OCTETS: usize = 75;

/// Adds a line to a text, folded between characters.
pub(crate) fn fold(line: &str, text: &mut String) {
    let mut room = LINE_OCTETS;
    for letter in line.chars() {
        if letter.len_utf8() > room {
            text.push_str("\r\n ");
            room = LINE_OCTETS - 1;
        }
        text.push(letter);
        room -= letter.len_utf8();
    }
    text.push_str("\r\n");
}

/// The logical lines of a document.
pub(crate) struct Lines<'a> {
    text: &'a str,
    at: usize,
}

/// One logical line, not yet unfolded: much of a document is only passed by.
#[derive(Debug, Clone)]
pub(crate) struct Folded<'a> {
    /// What stands before its parameters and its value, as written.
    pub(crate) name: Cow<'a, str>,
    /// Where it stands in the document, line end included.
    pub(crate) span: Range<usize>,
    /// Its first physical line.
    first: &'a str,
    /// All physical lines of it with their ends; empty where there is only the first.
    all: &'a str,
}

impl<'a> Folded<'a> {
    fn new(text: &'a str, first: &'a str, span: Range<usize>, is_folded: bool) -> Self {
        let all = text.get(span.clone()).filter(|_| is_folded).unwrap_or_default();
        let line = Self { name: Cow::Borrowed(first), span, first, all };
        let name = match (name_end(first), is_folded) {
            (Some(end), _) => Cow::Borrowed(first.get(..end).unwrap_or_default()),
            (None, false) => Cow::Borrowed(first),
            // folded inside of its name
            (None, true) => {
                let mut name = line.unfolded().into_owned();
                name.truncate(name_end(&name).unwrap_or(name.len()));
                Cow::Owned(name)
            }
        };
        Self { name, ..line }
    }

    /// Without line ends and fold marks; borrowed where it is not folded.
    pub(crate) fn unfolded(&self) -> Cow<'a, str> {
        if self.all.is_empty() {
            return Cow::Borrowed(self.first);
        }
        let mut unfolded = String::with_capacity(self.all.len());
        unfolded.extend(pieces(self.all.as_bytes()).filter_map(|piece| self.all.get(piece)));
        Cow::Owned(unfolded)
    }

    /// Whether that is its name, letters of any case.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether it has more bytes than that when it is unfolded.
    pub(crate) fn is_longer_than(&self, limit: usize) -> bool {
        self.span.len() > limit && self.unfolded().len() > limit
    }
}

/// Where the physical line at `at` ends, and where the next one begins.
fn physical(text: &[u8], at: usize) -> (usize, usize) {
    let rest = text.get(at..).unwrap_or_default();
    let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
    let mark = match rest.get(length..) {
        Some([b'\r', b'\n', ..]) => 2,
        // some writers double the carriage return
        Some([b'\r', b'\r', b'\n', ..]) => 3,
        Some([_, ..]) => 1,
        _ => 0,
    };
    (at + length, at + length + mark)
}

/// Where the first physical line of the logical one at `at` ends, where the next physical one begins, and where the
/// next logical one.
pub(super) fn logical(text: &[u8], at: usize) -> (usize, usize, usize) {
    let (end, second) = physical(text, at);
    let mut next = second;
    while let Some(b' ' | b'\t') = text.get(next) {
        (_, next) = physical(text, next + 1);
    }
    (end, second, next)
}

/// The pieces of one logical line between its fold marks.
pub(super) fn pieces(line: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = Some(0);
    iter::from_fn(move || {
        let begin = at?;
        let (end, next) = physical(line, begin);
        at = (next < line.len()).then_some(next + 1);
        Some(begin..end)
    })
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The lines of one part of a document.
    pub(crate) fn within(text: &'a str, span: &Range<usize>) -> Self {
        Self { text: text.get(..span.end).unwrap_or(text), at: span.start }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Folded<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let begin = self.at;
            if begin >= self.text.len() {
                return None;
            }
            let (end, second, next) = logical(self.text.as_bytes(), begin);
            self.at = next;
            let line = self.text.as_bytes().get(begin..next).unwrap_or_default();
            if !line.iter().all(u8::is_ascii_whitespace) {
                let first = self.text.get(begin..end).unwrap_or_default();
                return Some(Folded::new(self.text, first, begin..next, next > second));
            }
        }
    }
}

/// A content line.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    text: Cow<'a, str>,
    name: Range<usize>,
    parameters: Range<usize>,
}

/// Properties whose value holds no colon, so that the last one is the separator: unquoted Outlook zone names
/// have colons (`TZID=(UTC+01:00) Paris`).
const TIMES: [&str; 5] = ["DTSTART", "DTEND", "RECURRENCE-ID", "EXDATE", "RDATE"];

impl<'a> Line<'a> {
    pub(crate) fn new(text: Cow<'a, str>) -> Self {
        let name_end = name_end(&text).unwrap_or(text.len());
        let written = text.get(..name_end).unwrap_or_default();
        let name = written.trim_start();
        let name_start = written.len() - name.len();
        let name = name.trim_end();
        let rest = text.get(name_end..).unwrap_or_default();
        let colon = if rest.starts_with(':') {
            Some(0)
        } else if TIMES.iter().any(|time| time.eq_ignore_ascii_case(name)) {
            rest.rfind(':')
        } else {
            unquoted(rest, b':').or_else(|| rest.find(':'))
        };
        let parameters = name_end..colon.map_or(text.len(), |colon| name_end + colon);
        let name = name_start..name_start + name.len();
        Self { text, name, parameters }
    }

    fn written_name(&self) -> &str {
        self.text.get(self.name.clone()).unwrap_or_default()
    }

    /// The name in upper case.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        upper(self.written_name())
    }

    /// Whether that is its name, letters of any case.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.written_name().eq_ignore_ascii_case(name)
    }

    /// The value as written, escapes and all.
    pub(crate) fn value(&self) -> &str {
        self.text.get(self.parameters.end + 1..).unwrap_or_default()
    }

    /// Whether it holds a letter that could not be read.
    pub(crate) fn is_damaged(&self) -> bool {
        self.text.contains(char::REPLACEMENT_CHARACTER)
    }

    /// Its parameters by their names, each as written.
    fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = self.text.get(self.parameters.clone()).unwrap_or_default();
        iter::from_fn(move || {
            let after = rest.strip_prefix(';')?;
            let (parameter, following) = after.split_at(unquoted(after, b';').unwrap_or(after.len()));
            rest = following;
            let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
            Some((name.trim(), parameter))
        })
    }

    /// The first value of a parameter, without quotes, `^` escapes (RFC 6868) undone.
    pub(crate) fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, written) = self.parameters().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        let value = written.split_once('=').map_or("", |(_, value)| value).trim();
        let value = value.strip_prefix('"').map_or(value, |value| value.strip_suffix('"').unwrap_or(value));
        Some(decode_parameter(value))
    }

    /// The line, unfolded, with those parameters as `from` has them; where it has none, without them.
    pub(crate) fn with_parameters(&self, names: &[&str], from: &Line<'_>) -> String {
        let is_named = |key: &str| names.iter().any(|name| name.eq_ignore_ascii_case(key));
        let mut text = self.text.get(..self.parameters.start).unwrap_or_default().to_owned();
        let kept = self.parameters().filter(|(key, _)| !is_named(key));
        let taken = from.parameters().filter(|(key, _)| is_named(key));
        for (_, parameter) in kept.chain(taken) {
            text.push(';');
            text.push_str(parameter);
        }
        text.push_str(self.text.get(self.parameters.end..).unwrap_or_default());
        text
    }

    /// Whether a parameter has that value, letters of any case.
    pub(crate) fn says(&self, name: &str, value: &str) -> bool {
        self.parameter(name).is_some_and(|found| found.eq_ignore_ascii_case(value))
    }
}

/// A name in upper case.
pub(super) fn upper(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        Cow::Owned(name.to_ascii_uppercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn name_end(line: &str) -> Option<usize> {
    memchr2(b';', b':', line.as_bytes())
}

/// Where an ASCII letter stands outside of quotes.
fn unquoted(text: &str, wanted: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = from + memchr2(b'"', wanted, bytes.get(from..)?)?;
        if bytes.get(at) != Some(&b'"') {
            return Some(at);
        }
        from = at + 1;
        from += memchr(b'"', bytes.get(from..)?)? + 1;
    }
}

fn decode_parameter(text: &str) -> Cow<'_, str> {
    if !text.contains('^') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let replaced = match (letter, letters.peek()) {
            ('^', Some('n')) => '\n',
            ('^', Some('^')) => '^',
            ('^', Some('\'')) => '"',
            _ => {
                decoded.push(letter);
                continue;
            }
        };
        letters.next();
        decoded.push(replaced);
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_unfolded_whatever_ends_them() {
        let folded = "SUMM\r\n ARY;X=1:caf\n\té\r\r\n  au lait\rUID:1\r\n\r\n \t\r\nEND:X";

        let lines: Vec<_> = Lines::new(folded).map(|line| (line.unfolded(), line.name)).collect();

        let expected = [("SUMMARY;X=1:café au lait", "SUMMARY"), ("UID:1", "UID"), ("END:X", "END")];
        assert_eq!(lines, expected.map(|(line, name)| (line.into(), name.into())));
    }

    #[test]
    fn a_line_is_name_parameters_and_value() {
        let line = |text: &'static str| Line::new(Cow::Borrowed(text));

        let quoted = line("attendee;CN=\"Doe; Jane: x\";X=^'a^^^n^':mailto:jane@example.com");
        assert_eq!((quoted.name().as_ref(), quoted.value()), ("ATTENDEE", "mailto:jane@example.com"));
        assert_eq!(quoted.parameter("cn").as_deref(), Some("Doe; Jane: x"));
        assert_eq!(quoted.parameter("X").as_deref(), Some("\"a^\n\""));

        let outlook = line("DTSTART;TZID=(UTC+01:00) Brussels, Paris:20260101T090000");
        assert_eq!(outlook.parameter("TZID").as_deref(), Some("(UTC+01:00) Brussels, Paris"));
        assert_eq!(outlook.value(), "20260101T090000");

        let broken = line("X-NOTHING;CN=Sixt");
        assert_eq!((broken.value(), broken.parameter("CN").as_deref()), ("", Some("Sixt")));
    }
}
