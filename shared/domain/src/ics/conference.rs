//! The link to join from afar, wherever a producer put it (RFC 7986 §5.11 and what came before it).

use super::component::Component;
use super::line::Line;
use super::value;
use crate::model::{Conference, ConferenceType};

/// Hosts whose links are meetings, with the part of the path that tells them from the vendor's other pages.
const HOSTS: [(&str, &str, ConferenceType); 10] = [
    ("meet.google.com", "/", ConferenceType::GoogleMeet),
    ("teams.microsoft.com", "/l/meetup-join", ConferenceType::MicrosoftTeams),
    ("teams.microsoft.com", "/meet/", ConferenceType::MicrosoftTeams),
    ("teams.live.com", "/meet", ConferenceType::MicrosoftTeams),
    ("zoom.us", "/j/", ConferenceType::Custom),
    ("zoom.us", "/my/", ConferenceType::Custom),
    ("webex.com", "/", ConferenceType::Custom),
    ("gotomeeting.com", "/join", ConferenceType::Custom),
    ("whereby.com", "/", ConferenceType::Custom),
    ("meet.jit.si", "/", ConferenceType::Custom),
];

/// Longest text that is searched for links.
const SEARCHED_BYTES: usize = 64 * 1024;

fn host_and_path(link: &str) -> Option<(&str, &str)> {
    let rest = link.strip_prefix("https://").or_else(|| link.strip_prefix("http://"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some((rest.get(..end)?, rest.get(end..)?))
}

/// Whose meeting a link leads to, when its host is known.
fn known(link: &str) -> Option<ConferenceType> {
    let (host, path) = host_and_path(link)?;
    let is_under = |domain: &str| {
        host.len() >= domain.len()
            && host.get(host.len() - domain.len()..).is_some_and(|end| end.eq_ignore_ascii_case(domain))
            && (host.len() == domain.len()
                || host.as_bytes().get(host.len() - domain.len() - 1) == Some(&b'.'))
    };
    let found =
        HOSTS.iter().find(|(domain, start, _)| is_under(domain) && path.starts_with(start) && path.len() > 1);
    found.map(|(_, _, kind)| *kind)
}

/// The conference behind a link that is known to lead to one.
pub fn conference(link: &str) -> Conference {
    let kind = known(link).unwrap_or(ConferenceType::Custom);
    Conference::ready(kind, link)
}

/// Finds the conference of an event: what is marked as one first, then links of known hosts in URL, location and
/// description. Telephone numbers and chat rooms do not count.
pub(crate) fn find(component: &Component<'_>, texts: [Option<&str>; 3]) -> Option<Conference> {
    let marked = |name: &'static str| component.lines.iter().filter(move |line| line.is(name));
    let link = |line: &Line<'_>| {
        let link = value::text(line.value().trim());
        (link.starts_with("https://") || link.starts_with("http://")).then_some(link)
    };
    let has_video = |line: &&Line<'_>| {
        line.parameter("FEATURE").is_some_and(|features| features.to_ascii_uppercase().contains("VIDEO"))
    };
    let is_marked = |line: &Line<'_>| {
        let name = line.name();
        name.starts_with("CONF") || name.starts_with("X-GOOGLE-C") || name.starts_with("X-MICROSOFT-")
    };
    if !component.lines.iter().any(is_marked) {
        return conference_in(texts);
    }
    let first = marked("CONFERENCE")
        .filter(has_video)
        .chain(marked("CONFERENCE"))
        .chain(marked("X-GOOGLE-CONFERENCE"))
        .chain(marked("X-MICROSOFT-SKYPETEAMSMEETINGURL"))
        .chain(marked("X-MICROSOFT-ONLINEMEETINGCONFLINK"))
        .find_map(link);
    if let Some(link) = first {
        return Some(conference(&link));
    }
    conference_in(texts)
}

/// The conference that the first link of a known host in these texts leads to: URL, location, description.
pub fn conference_in(texts: [Option<&str>; 3]) -> Option<Conference> {
    texts.into_iter().flatten().find_map(in_text)
}

/// The first link of a known host in a text.
fn in_text(text: &str) -> Option<Conference> {
    let end = (0..=text.len().min(SEARCHED_BYTES)).rev().find(|end| text.is_char_boundary(*end))?;
    let mut rest = text.get(..end)?;
    while let Some(at) = rest.find("http") {
        let from = rest.get(at..)?;
        let ends = |letter: char| {
            letter.is_whitespace() || matches!(letter, '<' | '>' | '"' | ')' | ']' | ',' | '|')
        };
        let link = from.get(..from.find(ends).unwrap_or(from.len()))?.trim_end_matches(['.', ';', '\'']);
        if known(link).is_some() {
            return Some(conference(link));
        }
        rest = from.get(4..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_known_hosts_are_found_in_text() {
        let found = |text| in_text(text).map(|found| (found.kind, found.link));

        assert_eq!(
            found("Join: <https://meet.google.com/abc-defg-hij>."),
            Some((ConferenceType::GoogleMeet, "https://meet.google.com/abc-defg-hij".to_owned()))
        );
        assert_eq!(
            found("see https://example.com and https://acme.zoom.us/j/123?pwd=x"),
            Some((ConferenceType::Custom, "https://acme.zoom.us/j/123?pwd=x".to_owned()))
        );
        assert_eq!(found("https://notzoom.us/j/1 https://zoom.us/pricing https://meet.google.com"), None);
    }
}
