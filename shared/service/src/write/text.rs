//! Texts, links and mail addresses of a request: cleaned of what no calendar shows, and refused when they are too long
//! or are not what they claim to be.

use url::Url;

use super::findings::Findings;
use super::input::Given;
use super::limits::{ADDRESS_BYTES, URL_CHARS};

/// Schemes that a link of an event may have; others (`javascript`, `file`, `data`) do something in a reader's program.
const LINK_SCHEMES: [&str; 4] = ["http", "https", "mailto", "tel"];

/// Schemes of a link that is joined by.
const CONFERENCE_SCHEMES: [&str; 2] = ["http", "https"];

/// How many lines a text may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// One: line ends become blanks.
    One,
    /// Any number.
    Many,
}

/// Takes a text over where it is mentioned.
pub(super) fn apply(
    given: &Given<String>,
    field: &'static str,
    (lines, most): (Lines, usize),
    to: &mut Option<String>,
    findings: &mut Findings,
) {
    match given {
        Given::Absent => {}
        Given::Cleared => *to = None,
        Given::Value(text) => {
            let text = clean(text, lines);
            if text.chars().count() > most {
                findings.refuse(field, "too_long", format!("Give at most {most} letters."));
            }
            *to = (!text.is_empty()).then_some(text);
        }
    }
}

/// The text without control characters and without blanks around it; line ends are `\n`.
pub(super) fn clean(text: &str, lines: Lines) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let kept = text.chars().filter_map(|letter| match (letter, lines) {
        ('\n', Lines::Many) => Some('\n'),
        ('\n' | '\t', _) => Some(if letter == '\t' && lines == Lines::Many { '\t' } else { ' ' }),
        (letter, _) => (!letter.is_control()).then_some(letter),
    });
    kept.collect::<String>().trim().to_owned()
}

/// Which links are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// To anything that belongs to the event.
    Any,
    /// To join by.
    Conference,
}

/// A link, if it is one.
pub(super) fn link(text: &str, field: &'static str, kind: Link, findings: &mut Findings) -> Option<String> {
    let schemes: &[&str] = match kind {
        Link::Any => &LINK_SCHEMES,
        Link::Conference => &CONFERENCE_SCHEMES,
    };
    let text = clean(text, Lines::One);
    let url = Url::parse(&text).ok().filter(|url| schemes.contains(&url.scheme()));
    let url = url.filter(|url| url.cannot_be_a_base() || url.has_host());
    if url.is_none() {
        let schemes = schemes.join(", ");
        findings.refuse(field, "not_a_link", format!("Give a link that begins with one of {schemes}."));
        return None;
    }
    if text.chars().count() > URL_CHARS {
        findings.refuse(field, "too_long", format!("Give a link of at most {URL_CHARS} letters."));
        return None;
    }
    Some(text)
}

/// A mail address in lower case, without `mailto:`; `None` for what is none.
///
/// What calendars and mail servers agree on, not all of RFC 5322: no quotes, no comments, no blanks.
pub(super) fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let bare = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("mailto:"));
    let text = bare.and_then(|_| text.get(7..)).unwrap_or(text).to_lowercase();
    let (local, host) = text.rsplit_once('@')?;
    let is_odd =
        |letter: char| letter.is_whitespace() || letter.is_control() || r#"@<>()[],;:\""#.contains(letter);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|letter| letter.is_alphanumeric() || letter == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_local = !local.is_empty() && local.len() <= ADDRESS_BYTES.1 && !local.contains(is_odd);
    let is_host = host.split('.').all(is_label);
    (is_local && is_host && text.len() <= ADDRESS_BYTES.0).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_vanish_and_line_ends_are_one_kind() {
        assert_eq!(clean(" a\u{0}b\u{1b}[31m\r\nc\rd ", Lines::Many), "ab[31m\nc\nd");
        assert_eq!(clean("a\nb\tc", Lines::One), "a b c");
    }

    #[test]
    fn only_mail_addresses_are_addresses() {
        for (text, read) in [
            ("Ada@Example.com", Some("ada@example.com")),
            ("mailto:ada@example.com", Some("ada@example.com")),
            ("ada+x@sub.example.com", Some("ada+x@sub.example.com")),
            ("ada@localhost", Some("ada@localhost")),
            ("jürgen@exämple.com", Some("jürgen@exämple.com")),
            ("ada", None),
            ("@example.com", None),
            ("ada@", None),
            ("ada@exa mple.com", None),
            ("ada@example..com", None),
            ("ada@-example.com", None),
            ("ada@b@example.com", None),
            ("ada,bob@example.com", None),
            ("Ada <ada@example.com>", None),
            ("", None),
        ] {
            assert_eq!(address(text).as_deref(), read, "{text}");
        }
        assert_eq!(address(&format!("{}@example.com", "a".repeat(65))), None);
    }

    #[test]
    fn links_that_do_something_else_are_refused() {
        for (text, kind, is_link) in [
            ("https://example.com/x", Link::Any, true),
            ("mailto:ada@example.com", Link::Any, true),
            ("tel:+33123", Link::Any, true),
            ("javascript:alert(1)", Link::Any, false),
            ("java\nscript:alert(1)", Link::Any, false),
            ("data:text/html,x", Link::Any, false),
            ("example.com", Link::Any, false),
            ("tel:+33123", Link::Conference, false),
            ("https://example.com/x", Link::Conference, true),
        ] {
            let mut findings = Findings::default();
            assert_eq!(link(text, "url", kind, &mut findings).is_some(), is_link, "{text}");
            assert_eq!(findings.invalid.len(), usize::from(!is_link), "{text}");
        }
    }
}
