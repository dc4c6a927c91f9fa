//! Descriptions that may be HTML → plain text with `\n`, which is all the model keeps.
//!
//! Whether a text is HTML nobody says: it is taken for it when it holds a tag that editors of descriptions write.
//! Anything else, `a < b & c` or `<https://example.com>`, is left as it is. A parser of the whole language would
//! answer nothing better here: no structure is kept, the raw payload holds the original.

use std::mem;

/// Tags that make a text HTML.
const TELLING: [&str; 22] = [
    "a",
    "b",
    "br",
    "body",
    "blockquote",
    "div",
    "em",
    "font",
    "h1",
    "h2",
    "h3",
    "html",
    "html-blob",
    "i",
    "img",
    "li",
    "ol",
    "p",
    "span",
    "strong",
    "u",
    "ul",
];

/// Elements whose content is nothing to read.
const SILENT: [&str; 4] = ["head", "script", "style", "title"];

/// Elements that stand on lines of their own.
const BLOCKS: [&str; 12] =
    ["blockquote", "div", "h1", "h2", "h3", "h4", "li", "ol", "p", "table", "tr", "ul"];

/// What line ends between tags mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnds {
    /// What they look like: a person wrote them.
    Meant,
    /// A blank, as HTML says: a program wrote them.
    Blank,
}

/// The text of what is said to be HTML, in the way a browser shows it. `None` when nothing is left.
pub(crate) fn read(text: &str) -> Option<String> {
    let text = strip(text, LineEnds::Blank);
    (!text.is_empty()).then_some(text)
}

/// The HTML that is read as this text.
pub(crate) fn write(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + text.len() / 8);
    let mut is_after_blank = true;
    for letter in text.chars() {
        match letter {
            '\n' => html.push_str("<br>"),
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            ' ' if is_after_blank => html.push_str("&nbsp;"),
            '\r' => continue,
            letter => html.push(letter),
        }
        is_after_blank = matches!(letter, ' ' | '\n');
    }
    html
}

/// The text without tags if it is HTML, else as it is; line ends become `\n`. `None` when nothing is left.
pub(crate) fn plain(text: &str) -> Option<String> {
    let text = if is_html(text) {
        strip(text, LineEnds::Meant)
    } else if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n")
    } else {
        text.to_owned()
    };
    (!text.trim().is_empty()).then_some(text)
}

fn is_html(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| {
        tag(text.get(at..).unwrap_or_default()).is_some_and(|tag| TELLING.contains(&tag.name.as_str()))
    })
}

struct Tag {
    /// Lower case.
    name: String,
    is_end: bool,
    /// Bytes from `<` to `>`, both included.
    bytes: usize,
}

/// Longest tag that is looked for; a style attribute has its length.
const MOST_TAG_BYTES: usize = 4096;

/// The tag at the beginning of `text`, if there is one.
fn tag(text: &str) -> Option<Tag> {
    let rest = text.strip_prefix('<')?;
    let (is_end, rest) = rest.strip_prefix('/').map_or((false, rest), |rest| (true, rest));
    let length = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')?;
    let name =
        rest.get(..length).filter(|name| name.starts_with(|letter: char| letter.is_ascii_alphabetic()))?;
    if name.len() > 12 || !rest.get(length..)?.starts_with([' ', '>', '/', '\n', '\r', '\t']) {
        return None;
    }
    let close = text.bytes().take(MOST_TAG_BYTES).position(|byte| byte == b'>')?;
    Some(Tag { name: name.to_ascii_lowercase(), is_end, bytes: close + 1 })
}

fn strip(text: &str, line_ends: LineEnds) -> String {
    let mut plain = Plain { text: String::with_capacity(text.len()), breaks: 0, is_blank: false, line_ends };
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let taken = match letter {
            '<' => match tag(rest) {
                Some(tag) => plain.tag(&tag, rest),
                None if rest.starts_with("<!--") => rest.find("-->").map_or(rest.len(), |end| end + 3),
                None => plain.put('<'),
            },
            '&' => match entity(rest) {
                Some((decoded, bytes)) => {
                    plain.put(decoded);
                    bytes
                }
                None => plain.put('&'),
            },
            letter if letter.is_ascii_whitespace() => {
                plain.space(letter);
                letter.len_utf8()
            }
            letter => plain.put(letter),
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    plain.text.trim().to_owned()
}

struct Plain {
    text: String,
    /// Line ends at the end of `text`.
    breaks: usize,
    /// Whether it ends with a blank that another one adds nothing to.
    is_blank: bool,
    line_ends: LineEnds,
}

impl Plain {
    /// Writes a letter and says how many bytes it had where it stood.
    fn put(&mut self, letter: char) -> usize {
        // a space that cannot be broken is one that a person sees
        self.text.push(if letter == '\u{a0}' { ' ' } else { letter });
        (self.breaks, self.is_blank) = (0, false);
        letter.len_utf8()
    }

    /// Line ends are kept where editors mean what they write without tags.
    fn space(&mut self, letter: char) {
        if self.line_ends == LineEnds::Blank {
            if !self.text.is_empty() && !self.text.ends_with('\n') && !self.is_blank {
                self.text.push(' ');
                self.is_blank = true;
            }
        } else if letter == '\n' {
            self.line_end(2);
        } else if self.breaks == 0 && letter != '\r' {
            self.text.push(' ');
        }
    }

    fn line_end(&mut self, most: usize) {
        if mem::take(&mut self.is_blank) {
            self.text.pop();
        }
        if !self.text.is_empty() && self.breaks < most {
            self.text.push('\n');
            self.breaks += 1;
        }
    }

    fn tag(&mut self, tag: &Tag, rest: &str) -> usize {
        let name = tag.name.as_str();
        if SILENT.contains(&name) && !tag.is_end {
            return silent(name, rest);
        }
        if name == "br" {
            self.line_end(2);
        } else if name == "p" && tag.is_end {
            self.line_end(2);
            self.line_end(2);
        } else if BLOCKS.contains(&name) {
            self.line_end(1);
            if name == "li" && !tag.is_end {
                self.text.push_str("- ");
                (self.breaks, self.is_blank) = (0, self.line_ends == LineEnds::Blank);
            }
        }
        tag.bytes
    }
}

/// How far an element goes whose content is left out.
fn silent(name: &str, rest: &str) -> usize {
    let end = format!("</{name}");
    let at =
        rest.as_bytes().windows(end.len()).position(|window| window.eq_ignore_ascii_case(end.as_bytes()));
    at.and_then(|at| Some(at + rest.get(at..)?.find('>')? + 1)).unwrap_or(rest.len())
}

/// A character reference at the beginning of `text`, and its length in bytes.
fn entity(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(12).position(|byte| byte == b';')?;
    let name = text.get(1..end)?;
    let decoded = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "bull" => '•',
        "euro" => '€',
        "copy" => '©',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t'))?
        }
    };
    Some((decoded, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        plain(text).unwrap_or_default()
    }

    #[test]
    fn html_becomes_the_text_a_person_reads() {
        assert_eq!(of("<b>Agenda</b><br>Tom &amp; Ada<br/><br>1 &lt; 2"), "Agenda\nTom & Ada\n\n1 < 2");
        assert_eq!(
            of("<p>One</p><p>Two&nbsp;&#8211; <a href=\"https://example.com\">here</a></p>"),
            "One\n\nTwo – here"
        );
        assert_eq!(of("<ul><li>a</li><li>b</li></ul>end"), "- a\n- b\nend");
        assert_eq!(of("<style>p { x }</style><p>Hello<!-- no --></p>"), "Hello");
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        for text in
            ["a < b & c", "see <https://example.com/?a&amp;b>", "x<y>z", "Tom &amp; Ada", " two\n\n\n lines "]
        {
            assert_eq!(of(text), text);
        }
        assert_eq!(of("a\r\nb\rc"), "a\nb\nc");
        assert_eq!(plain("<br>"), None);
        assert_eq!(plain(" "), None);
    }

    #[test]
    fn line_ends_that_a_program_wrote_are_blanks() {
        let exchange = "<html>\r\n<head>\r\n<meta content=\"text/html\">\r\n<style>p {}</style></head>\r\n<body>\r\n\
             <div>Tom &amp;\r\nAda </div>\r\n<div>Room 4<br>\r\nBring&nbsp; coffee</div>\r\n</body>\r\n</html>\r\n";

        assert_eq!(read(exchange).as_deref(), Some("Tom & Ada\nRoom 4\nBring  coffee"));
        assert_eq!(read("a &lt; b").as_deref(), Some("a < b"));
        assert_eq!(read("<html><body>\r\n</body></html>"), None);
    }

    #[test]
    fn a_text_that_is_written_is_read_again() {
        for text in ["Agenda:\n  1 < 2 & <b>\n\nTom  \"Ada\" & Bob", "&nbsp; &amp;lt;", "a\n    b\nc"] {
            assert_eq!(read(&write(text)).as_deref(), Some(text));
        }
        assert_eq!(write(" <a href=\"x\">"), "&nbsp;&lt;a href=&quot;x&quot;&gt;");
    }

    #[test]
    fn what_is_broken_ends_somewhere() {
        for text in ["<b>x<", "<b>x&", "<b>&#xffffffff;", "<p><script>", "<b <b <b", "<br>&#55296;é<é"] {
            of(text);
        }
        assert_eq!(of("<b>&#55296;é<é"), "&#55296;é<é");
    }
}
