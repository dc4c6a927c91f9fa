//! Bodies of events: HTML that Exchange keeps, and in it the block by which people join an online meeting.
//!
//! That block is Exchange's: an online meeting whose body loses it is no online meeting any more (`Update event`). So
//! it is no part of a description, and a description is written around it. It is found by the link in it, between
//! two lines of underscores.

use std::ops::Range;

use serde_json::{Value, json};

use super::wire::{Event, ItemBody};
use crate::html;

/// What lines around the block begin and end with; they are some eighty long.
const RULE: &str = "____________________";

/// Elements that may stand around a line of the block.
const WRAPPERS: [&str; 6] = ["div", "span", "p", "font", "b", "a"];

/// A body whose block is nowhere to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclear;

/// What people wrote into the body of an event, as text.
pub(super) fn description(event: &Event) -> Option<String> {
    let ItemBody { content_type, content } = event.body.as_ref()?;
    let content = content.as_deref()?;
    if content_type.as_deref() == Some("text") {
        let plain = content.replace("\r\n", "\n").replace('\r', "\n");
        return (!plain.trim().is_empty()).then_some(plain);
    }
    match join_url(event).and_then(|url| block(content, url).ok().flatten()) {
        Some(block) => {
            let around =
                [content.get(..block.start), content.get(block.end..)].map(Option::unwrap_or_default);
            html::read(&around.concat())
        }
        None => html::read(content),
    }
}

/// The body that says `text`, with the block of the held one.
pub(super) fn with_text(held: &Event, text: Option<&str>) -> Result<Value, Unclear> {
    let mut content = html::write(text.unwrap_or_default());
    if let (Some(url), Some(ItemBody { content: Some(html), .. })) = (join_url(held), &held.body)
        && let Some(block) = block(html, url)?.and_then(|block| html.get(block))
    {
        content.push_str("<br>");
        content.push_str(block);
    }
    Ok(json!({ "contentType": "html", "content": content }))
}

/// The link of Graph's own meeting.
pub(super) fn join_url(event: &Event) -> Option<&str> {
    event.online_meeting.as_ref()?.join_url.as_deref().filter(|url| !url.is_empty())
}

/// Where the block with that link is; nowhere in a body without the link.
fn block(html: &str, url: &str) -> Result<Option<Range<usize>>, Unclear> {
    let escaped = url.replace('&', "&amp;");
    let Some(at) = html.find(url).or_else(|| html.find(&escaped)) else { return Ok(None) };
    let (before, after) = html.split_at_checked(at).ok_or(Unclear)?;
    let rule = before.rfind(RULE).and_then(|rule| before.get(..rule)).ok_or(Unclear)?;
    let start = rule.trim_end_matches('_').len();
    let rule = after.find(RULE).ok_or(Unclear)?;
    let rest = after.get(rule..).unwrap_or_default().trim_start_matches('_');
    Ok(Some(wrapped(html, start..html.len() - rest.len())))
}

/// The same with the elements that begin and end with it.
fn wrapped(html: &str, inner: Range<usize>) -> Range<usize> {
    let mut outer = inner;
    loop {
        let before = html.get(..outer.start).unwrap_or_default().trim_end();
        let after = html.get(outer.end..).unwrap_or_default();
        let opening = before.rfind('<').filter(|_| before.ends_with('>'));
        let opens = opening.filter(|at| before.get(at + 1..).is_some_and(is_wrapper));
        let closing = after.trim_start();
        let closes = closing.find('>').filter(|_| closing.strip_prefix("</").is_some_and(is_wrapper));
        let (Some(start), Some(end)) = (opens, closes) else { return outer };
        outer = start..html.len() - closing.len() + end + 1;
    }
}

fn is_wrapper(tag: &str) -> bool {
    let name = tag.find(|letter: char| !letter.is_ascii_alphanumeric()).and_then(|end| tag.get(..end));
    name.is_some_and(|name| WRAPPERS.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://teams.microsoft.com/l/1?a=b&c=d";
    const BLOCK: &str = "<div class=\"me\"><span>________________________________</span><br>\r\nMicrosoft Teams <b>meeting</b><br>\r\n\
        <a href=\"https://teams.microsoft.com/l/1?a=b&amp;c=d\">Join</a><br><span>________________________________</span></div>";

    fn event(content: &str) -> Event {
        let event = json!({ "body": { "contentType": "html", "content": content }, "onlineMeeting": { "joinUrl": URL } });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn the_block_of_a_meeting_is_no_part_of_a_description_and_survives_another_one() {
        let held = event(&format!(
            "<html>\r\n<body>\r\n<div>Old _____ text</div>{BLOCK}\r\n<i>after</i></body></html>"
        ));

        assert_eq!(description(&held).as_deref(), Some("Old _____ text\nafter"));
        let after = with_text(&held, Some("New\n<text>")).unwrap();
        assert_eq!(after["content"], format!("New<br>&lt;text&gt;<br>{BLOCK}"));
        assert_eq!(description(&event(after["content"].as_str().unwrap())).as_deref(), Some("New\n<text>"));
        assert_eq!(with_text(&held, None).unwrap()["content"], format!("<br>{BLOCK}"));
    }

    #[test]
    fn a_body_without_the_link_has_no_block_and_one_with_it_in_another_form_is_left_alone() {
        let bare = with_text(&event("<p>Nothing ____________________</p>"), Some("a")).unwrap();
        assert_eq!(bare["content"], "a");
        for unclear in [format!("Join <a href=\"{URL}\">here</a>"), format!("____________________ {URL}")] {
            assert_eq!(with_text(&event(&unclear), Some("a")), Err(Unclear), "{unclear}");
        }
        let text = json!({ "body": { "contentType": "text", "content": "a\r\n b" } });
        assert_eq!(description(&serde_json::from_value(text).unwrap()).as_deref(), Some("a\n b"));
    }
}
