//! The references in a text: `&amp;`, `&#13;`.
//!
//! Servers write the line ends of calendar data as references, so most of an answer is text between them; taken
//! from the XML reader one by one they cost more than all else in it.

use std::borrow::Cow;

use quick_xml::events::BytesRef;

use super::XmlError;

/// Between an ampersand and its semicolon; a bare ampersand is common in names, and harmless. The longest in use is
/// `#x10FFFF`.
const LONGEST_REFERENCE_BYTES: usize = 32;

/// The character that a reference stands for; `None` for one that XML forbids.
pub(super) fn character(name: &str) -> Result<Option<char>, XmlError> {
    if let Ok(Some(character)) = BytesRef::new(name).resolve_char_ref() {
        return Ok((character >= ' ' || matches!(character, '\t' | '\n' | '\r')).then_some(character));
    }
    Ok(Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return Err(XmlError::Hostile("it uses an entity that XML does not define")),
    }))
}

/// Resolves the references of one text that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct References {
    /// From an ampersand on of which it is not known yet what it begins.
    pending: String,
}

/// What an ampersand begins.
enum Begins<'t> {
    Reference { name: &'t str, rest: &'t str },
    Nothing,
    Unknown,
}

impl References {
    /// Gives out what the next piece stands for.
    pub(super) fn feed(&mut self, piece: &str, mut take: impl FnMut(&str)) -> Result<(), XmlError> {
        let text = if self.pending.is_empty() {
            Cow::Borrowed(piece)
        } else {
            self.pending.push_str(piece);
            Cow::Owned(std::mem::take(&mut self.pending))
        };
        let mut rest = text.as_ref();
        while let Some((before, after)) =
            memchr::memchr(b'&', rest.as_bytes()).and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?)))
        {
            take(before);
            rest = match begun_by(after) {
                Begins::Reference { name, rest } => {
                    if let Some(character) = character(name)? {
                        take(character.encode_utf8(&mut [0; 4]));
                    }
                    rest
                }
                Begins::Nothing => {
                    take("&");
                    after
                }
                Begins::Unknown => {
                    self.pending = format!("&{after}");
                    return Ok(());
                }
            };
        }
        take(rest);
        Ok(())
    }

    /// Gives out what is left at the end of the text.
    pub(super) fn end(&mut self, mut take: impl FnMut(&str)) {
        if !self.pending.is_empty() {
            take(&std::mem::take(&mut self.pending));
        }
    }
}

fn begun_by(after: &str) -> Begins<'_> {
    let begin = after.as_bytes().get(..LONGEST_REFERENCE_BYTES).unwrap_or(after.as_bytes());
    let end = begin.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'#');
    match end.and_then(|end| after.split_at_checked(end)) {
        Some((name, rest)) => {
            rest.strip_prefix(';').map_or(Begins::Nothing, |rest| Begins::Reference { name, rest })
        }
        None if begin.len() == LONGEST_REFERENCE_BYTES => Begins::Nothing,
        None => Begins::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, piece: usize) -> Result<String, XmlError> {
        let (mut references, mut resolved) = (References::default(), String::new());
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(piece) {
            references.feed(&piece.iter().collect::<String>(), |text| resolved.push_str(text))?;
        }
        references.end(|text| resolved.push_str(text));
        Ok(resolved)
    }

    #[test]
    fn references_are_resolved_in_any_pieces_and_bare_ampersands_stay() {
        let text =
            "A&#13;\nB &amp;amp; &#x1F4C5;&#7; Q&A & R; ünd &ü; &aVeryLongNameWithoutAnyEndToBeSeen; &lt;&";
        for piece in [1, 2, 3, 5, 8, 200] {
            let got = resolved(text, piece).unwrap();
            let expected = "A\r\nB &amp; 📅 Q&A & R; ünd &ü; &aVeryLongNameWithoutAnyEndToBeSeen; <&";
            assert_eq!(got, expected, "in pieces of {piece}");
            assert!(resolved("R&D; &lol;", piece).is_err(), "a name that XML does not know");
        }
    }
}
