//! Bodies as Exchange keeps them: always HTML in a frame of its own making, shown as HTML or as text.

use serde_json::{Map, Value, json};

use crate::oauth::consent::escaped;

/// Letters of `bodyPreview`.
const PREVIEW: usize = 255;

/// The line around the block of an online meeting.
const RULE: &str = "________________________________________________________________________________";

const HEAD: &str = "<html>\r\n<head>\r\n<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\">\r\n</head>\r\n<body>\r\n";
const TAIL: &str = "\r\n</body>\r\n</html>\r\n";

/// A body as it was sent, as HTML in Exchange's frame.
pub(crate) fn kept(content_type: &str, content: &str) -> String {
    let inner = if content_type.eq_ignore_ascii_case("html") {
        inner(content).to_owned()
    } else {
        let lines: Vec<String> = content.lines().map(escaped).collect();
        lines.join("<br>\r\n")
    };
    if inner.is_empty() { String::new() } else { format!("{HEAD}{inner}{TAIL}") }
}

/// What stands between the body tags.
fn inner(html: &str) -> &str {
    let start = html.find("<body").and_then(|at| html.get(at..)?.find('>').map(|end| at + end + 1));
    let after = start.and_then(|start| html.get(start..)).unwrap_or(html);
    let end = after.find("</body>").unwrap_or(after.len());
    after.get(..end).unwrap_or(after).trim()
}

/// HTML as text: breaks become lines, tags vanish.
pub(crate) fn text(html: &str) -> String {
    let mut out = String::new();
    let mut rest = inner(html);
    while let Some((before, after)) = rest.split_once('<') {
        out.push_str(&before.replace("\r\n", ""));
        let (tag, next) = after.split_once('>').unwrap_or((after, ""));
        let name: String = tag.chars().take_while(|letter| !letter.is_whitespace()).collect();
        if matches!(name.trim_end_matches('/').to_lowercase().as_str(), "br" | "/p" | "/div") {
            out.push_str("\r\n");
        }
        rest = next;
    }
    out.push_str(&rest.replace("\r\n", ""));
    let plain = out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    plain.replace("&nbsp;", " ").replace("&amp;", "&").trim_end().to_owned()
}

/// The body of an event as the API shows it, with its preview.
pub(crate) fn show(event: &mut Map<String, Value>, as_text: bool) {
    let html = event.get("body").and_then(|body| body.get("content")).and_then(Value::as_str);
    let html = html.unwrap_or_default().to_owned();
    let plain = text(&html);
    let preview: String = plain.chars().take(PREVIEW).collect();
    event.insert("bodyPreview".to_owned(), preview.into());
    let (kind, content) = if as_text { ("text", plain) } else { ("html", html) };
    event.insert("body".to_owned(), json!({ "contentType": kind, "content": content }));
}

/// A body with the block of an online meeting at its end.
pub(crate) fn with_join_block(html: &str, join_url: &str) -> String {
    let block = format!(
        "<div class=\"me-email-text\">{RULE}<br>\r\nMicrosoft Teams meeting<br>\r\n<a class=\"me-email-headline\" href=\"{0}\">Join the meeting now</a><br>\r\n{RULE}</div>",
        escaped(join_url)
    );
    format!("{HEAD}{}<br>\r\n{block}{TAIL}", inner(html))
}

/// Whether a body still has the block of that meeting.
pub(crate) fn has_join_block(html: &str, join_url: &str) -> bool {
    html.contains(join_url) || html.contains(&escaped(join_url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_goes_through_html_and_comes_back() {
        let html = kept("text", "a < b\nsecond & last");

        assert!(html.starts_with("<html>\r\n<head>"));
        assert_eq!(text(&html), "a < b\r\nsecond & last");
        assert_eq!(kept("html", &html), html);
        assert_eq!(kept("text", ""), "");
    }

    #[test]
    fn the_block_of_a_meeting_is_found_again() {
        let html = with_join_block(&kept("text", "Agenda"), "https://teams.example/l/1?a=b&c=d");

        assert!(has_join_block(&html, "https://teams.example/l/1?a=b&c=d"));
        assert!(!has_join_block(&kept("text", "Agenda"), "https://teams.example/l/1?a=b&c=d"));
        assert!(text(&html).starts_with("Agenda\r\n____"));
    }
}
