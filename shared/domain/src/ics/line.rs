//! Content lines (RFC 5545 §3.1): unfolding, and the parts `name;parameter=value:value`.
//!
//! Lines are unfolded as bytes, before they are decoded: writers fold inside of characters. CRLF, LF and a lone
//! CR end a line. Nothing here fails: a line that makes no sense has an empty value and is left to the raw text.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

/// The logical lines of a document with the bytes they were folded from.
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    at: usize,
}

/// One logical line.
#[derive(Debug, Clone)]
pub(crate) struct Unfolded<'a> {
    /// Without line ends and fold marks; borrowed where it was not folded.
    pub(crate) bytes: Cow<'a, [u8]>,
    /// Where it stands in the document, line end included.
    pub(crate) span: Range<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The lines of one part of a document.
    pub(crate) fn within(text: &'a [u8], span: &Range<usize>) -> Self {
        Self { text: text.get(..span.end).unwrap_or(text), at: span.start }
    }

    /// The next physical line: its content and where the one after it begins.
    fn physical(&self, at: usize) -> (&'a [u8], usize) {
        let rest = self.text.get(at..).unwrap_or_default();
        let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let content = rest.get(..end).unwrap_or_default();
        let mark = match rest.get(end..) {
            Some([b'\r', b'\n', ..]) => 2,
            // some writers double the carriage return
            Some([b'\r', b'\r', b'\n', ..]) => 3,
            Some([_, ..]) => 1,
            _ => 0,
        };
        (content, at + end + mark)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Unfolded<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let begin = self.at;
            if begin >= self.text.len() {
                return None;
            }
            let (content, mut next) = self.physical(begin);
            let mut bytes = Cow::Borrowed(content);
            while let Some(b' ' | b'\t') = self.text.get(next) {
                let (continued, after) = self.physical(next + 1);
                bytes.to_mut().extend_from_slice(continued);
                next = after;
            }
            self.at = next;
            if bytes.iter().any(|byte| !byte.is_ascii_whitespace() && *byte != 0) {
                return Some(Unfolded { bytes, span: begin..next });
            }
        }
    }
}

/// A content line.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    text: Cow<'a, str>,
    name_end: usize,
    value_start: usize,
    /// Whether bytes that are no UTF-8 had to be replaced.
    pub(crate) is_damaged: bool,
}

/// Properties whose value holds no colon, so that the last one is the separator: unquoted Outlook zone names
/// have colons (`TZID=(UTC+01:00) Paris`).
const TIMES: [&str; 5] = ["DTSTART", "DTEND", "RECURRENCE-ID", "EXDATE", "RDATE"];

impl<'a> Line<'a> {
    pub(crate) fn new(bytes: Cow<'a, [u8]>) -> Self {
        let (text, is_damaged) = decode(bytes);
        let name_end = memchr2(b';', b':', text.as_bytes()).unwrap_or(text.len());
        let name = text.get(..name_end).unwrap_or_default();
        let parameters = text.get(name_end..).unwrap_or_default();
        let colon = if TIMES.iter().any(|time| time.eq_ignore_ascii_case(name)) {
            parameters.rfind(':')
        } else {
            unquoted(parameters, b':').or_else(|| parameters.find(':'))
        };
        let value_start = colon.map_or(text.len() + 1, |colon| name_end + colon + 1);
        Self { text, name_end, value_start, is_damaged }
    }

    /// The name in upper case.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        let name = self.text.get(..self.name_end).unwrap_or_default().trim();
        if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
            Cow::Owned(name.to_ascii_uppercase())
        } else {
            Cow::Borrowed(name)
        }
    }

    /// Whether that is its name; `name` is in upper case.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.text.get(..self.name_end).is_some_and(|written| written.trim().eq_ignore_ascii_case(name))
    }

    /// The value as written, escapes and all.
    pub(crate) fn value(&self) -> &str {
        self.text.get(self.value_start..).unwrap_or_default()
    }

    /// The first value of a parameter, without quotes, `^` escapes (RFC 6868) undone.
    pub(crate) fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut rest = self.text.get(self.name_end..self.value_start.checked_sub(1)?)?;
        while let Some(after) = rest.strip_prefix(';') {
            let end = unquoted(after, b';').unwrap_or(after.len());
            let (parameter, following) = after.split_at_checked(end)?;
            rest = following;
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if key.trim().eq_ignore_ascii_case(name) {
                let value = value.trim();
                let value =
                    value.strip_prefix('"').map_or(value, |value| value.strip_suffix('"').unwrap_or(value));
                return Some(decode_parameter(value));
            }
        }
        None
    }

    /// Whether a parameter has that value, letters of any case.
    pub(crate) fn says(&self, name: &str, value: &str) -> bool {
        self.parameter(name).is_some_and(|found| found.eq_ignore_ascii_case(value))
    }
}

fn decode(bytes: Cow<'_, [u8]>) -> (Cow<'_, str>, bool) {
    match bytes {
        Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => (Cow::Borrowed(text), false),
            Err(_) => (Cow::Owned(String::from_utf8_lossy(bytes).into_owned()), true),
        },
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => (Cow::Owned(text), false),
            Err(error) => (Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()), true),
        },
    }
}

/// Where an ASCII letter stands outside of quotes.
fn unquoted(text: &str, wanted: u8) -> Option<usize> {
    let mut is_quoted = false;
    text.bytes().position(|byte| {
        is_quoted ^= byte == b'"';
        byte == wanted && !is_quoted
    })
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

    fn lines(text: &[u8]) -> Vec<String> {
        Lines::new(text).map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
    }

    #[test]
    fn lines_are_unfolded_as_bytes_whatever_ends_them() {
        let folded =
            [b"SUMMARY:caf\xc3".as_slice(), b"\r\n ", b"\xa9\n\tau lait\rUID:1\r\n\r\nEND:X\0"].concat();

        assert_eq!(lines(&folded), ["SUMMARY:caf\u{e9}au lait", "UID:1", "END:X\0"]);
    }

    #[test]
    fn a_line_is_name_parameters_and_value() {
        let line = |text: &'static str| Line::new(Cow::Borrowed(text.as_bytes()));

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
