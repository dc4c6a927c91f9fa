//! Bytes as text, before anything is read.
//!
//! Writers fold inside of characters, so that the two halves of one are no text by themselves: such lines are put
//! together again. What is no UTF-8 even then is replaced by U+FFFD. No text of a database holds a NUL, and none belongs
//! here (RFC 5545 §3.1).

use std::borrow::Cow;

use super::line::{logical, pieces};

/// The text of a document; every line that is text stays as it is.
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let text = str::from_utf8(bytes).map_or_else(|_| Cow::Owned(put_together(bytes)), Cow::Borrowed);
    if text.contains('\0') { Cow::Owned(text.replace('\0', " ")) } else { text }
}

fn put_together(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (_, _, end) = logical(rest, 0);
        let (line, following) = rest.split_at(end);
        rest = following;
        if let Ok(line) = str::from_utf8(line) {
            text.push_str(line);
        } else {
            let unfolded: Vec<u8> =
                pieces(line).filter_map(|piece| line.get(piece)).flatten().copied().collect();
            // a blank in front would fold it to the line before
            text.push_str(String::from_utf8_lossy(&unfolded).trim_start());
            text.push_str("\r\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_were_cut_are_whole_and_other_lines_stay_as_they_are() {
        let cut = b"UID:1\n 2\nSUMMARY:caf\xc3\r\n \xa9\n\t au lait\rX:\xff\0\n\n  Z\xff\nY:\xc3\xa9\n";

        let expected = "UID:1\n 2\nSUMMARY:café au lait\r\nX:\u{fffd} \r\nZ\u{fffd}\r\nY:é\n";
        assert_eq!(decode(cut), expected);
    }
}
