//! Addresses inside answers: how they are resolved, compared, and turned into ids.
//!
//! The id of a member is its href as received, so that requests repeat the server's own spelling; only scheme and
//! host are cut, because some servers write them on some entries and not on others. Comparison is by canonical
//! path: percent-encoding is undone and done again in one way.

use std::borrow::Cow;

use calfleet_domain::model::ProviderId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode};
use url::Url;

/// Longest path of a member, in bytes: a longer one would not fit into an index.
const LONGEST_NAME: usize = 2_000;

/// The URL that an href means in an answer from `base`.
pub(super) fn resolve(base: &Url, href: &str) -> Option<Url> {
    let href = href.trim();
    let mut url = base.join(&unambiguous(href)).ok()?;
    url.set_fragment(None);
    url.set_query(None);
    Some(url)
}

/// `a:b.ics` is a name, not a URL of scheme `a`.
fn unambiguous(href: &str) -> Cow<'_, str> {
    let colon = href.find(':');
    let slash = href.find('/');
    match (colon, slash) {
        (Some(colon), slash) if slash.is_none_or(|slash| colon < slash) && !href.contains("://") => {
            Cow::Owned(format!("./{href}"))
        }
        _ => Cow::Borrowed(href),
    }
}

/// What stands for itself in a segment of a canonical path; everything else is encoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'@').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// The form in which paths are compared.
pub(super) fn canonical(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return utf8_percent_encode(path, PATH).into();
    }
    let mut canonical = String::with_capacity(path.len() + 8);
    for (place, segment) in path.split('/').enumerate() {
        if place > 0 {
            canonical.push('/');
        }
        // an encoded slash is part of a name
        let name: Cow<'_, [u8]> = percent_decode_str(segment).into();
        canonical.extend(percent_encode(&name, SEGMENT));
    }
    Cow::Owned(canonical)
}

/// A collection whose members are listed.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    /// Its address, with the slash at the end.
    pub(super) url: Url,
    path: String,
}

impl Collection {
    /// The collection at `url`.
    pub(super) fn new(mut url: Url) -> Self {
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        url.set_query(None);
        url.set_fragment(None);
        let path = canonical(url.path()).into_owned();
        Self { url, path }
    }

    /// Whether an href means the collection itself.
    pub(super) fn is(&self, href: &str) -> bool {
        let path = path_of(&self.url, href);
        canonical(&path).trim_end_matches('/') == self.path.trim_end_matches('/')
    }

    /// The id of a member; `None` for the collection itself, for collections in it, and for what lies outside.
    pub(super) fn member(&self, href: &str) -> Option<ProviderId> {
        let path = path_of(&self.url, href);
        if path.len() > LONGEST_NAME {
            tracing::warn!(bytes = path.len(), "a member's name is too long to be kept; it is left out");
            return None;
        }
        if path.ends_with('/') || path.split('/').any(|part| part == "." || part == "..") {
            return None;
        }
        let name = canonical(&path);
        let is_inside = name.strip_prefix(self.path.as_str()).is_some_and(|name| !name.is_empty());
        is_inside.then(|| ProviderId(path.into_owned()))
    }

    /// Whether an href means an object that does not lie in the collection.
    pub(super) fn is_elsewhere(&self, href: &str) -> bool {
        let path = path_of(&self.url, href);
        !path.ends_with('/') && !self.is(href) && !canonical(&path).starts_with(self.path.as_str())
    }

    /// The address of a member.
    pub(super) fn url_of(&self, member: &ProviderId) -> Option<Url> {
        let path = path_of(&self.url, member.as_str());
        let url = self.url.join(&path).ok()?;
        (url.origin() == self.url.origin()).then_some(url)
    }
}

/// The path of an href, in its own spelling.
fn path_of<'a>(base: &Url, href: &'a str) -> Cow<'a, str> {
    let href = href.trim();
    // Two slashes would begin a host.
    if href.starts_with('/') && !href.starts_with("//") {
        return Cow::Borrowed(href);
    }
    if let Some((scheme, rest)) = href.split_once("://")
        && !scheme.contains('/')
    {
        return match rest.find('/') {
            Some(at) => Cow::Borrowed(rest.get(at..).unwrap_or("/")),
            None => Cow::Borrowed("/"),
        };
    }
    resolve(base, href).map_or(Cow::Borrowed("/"), |url| Cow::Owned(url.path().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection() -> Collection {
        Collection::new(Url::parse("https://dav.example.com/cal/ada%40example.com/work").unwrap())
    }

    #[test]
    fn members_keep_their_spelling_but_for_the_host() {
        let work = collection();
        let id = |href: &str| work.member(href).map(|id| id.0);

        assert_eq!(id("/cal/ada@example.com/work/a%20b.ics").unwrap(), "/cal/ada@example.com/work/a%20b.ics");
        assert_eq!(
            id("https://other.example.com:8443/cal/ada%40example.com/work/1.ics").unwrap(),
            "/cal/ada%40example.com/work/1.ics"
        );
        assert_eq!(id("a:b.ics").unwrap(), "/cal/ada%40example.com/work/a:b.ics");
        assert_eq!(id("c.ics").unwrap(), "/cal/ada%40example.com/work/c.ics");
    }

    #[test]
    fn the_collection_itself_and_what_lies_outside_are_no_members() {
        let work = collection();

        for href in [
            "/cal/ada@example.com/work/",
            "/cal/ada@example.com/work",
            "/cal/ada@example.com/work/inner/",
            "/cal/ada@example.com/home/1.ics",
            "/cal/ada@example.com/work/../home/1.ics",
            "/cal/ada@example.com/workshop/1.ics",
            "//evil.example/x",
            "",
        ] {
            assert_eq!(work.member(href), None, "{href}");
        }
        assert!(work.is("/cal/ada%40example.com/work/"));
        assert!(work.is("https://dav.example.com/cal/ada@example.com/work"));
    }

    #[test]
    fn what_lies_in_another_collection_is_elsewhere_and_collections_are_nowhere() {
        let work = collection();

        for href in ["/cal/ada@example.com/home/1.ics", "/dav/cal/ada%40example.com/work/1.ics"] {
            assert!(work.is_elsewhere(href), "{href}");
        }
        for href in ["1.ics", "/cal/ada@example.com/work", "/cal/ada@example.com/work/1.ics", "/cal/", ""] {
            assert!(!work.is_elsewhere(href), "{href}");
        }
    }

    #[test]
    fn a_member_is_asked_for_where_its_collection_is() {
        let work = collection();

        assert_eq!(
            work.url_of(&ProviderId::from("/cal/ada@example.com/work/ä b.ics")).unwrap().as_str(),
            "https://dav.example.com/cal/ada@example.com/work/%C3%A4%20b.ics"
        );
        assert!(
            work.url_of(&ProviderId::from("//evil.example/x"))
                .is_none_or(|url| url.host_str() == Some("dav.example.com"))
        );
    }

    #[test]
    fn spellings_of_one_path_compare_equal_and_an_encoded_slash_stays() {
        assert_eq!(canonical("/a%40b/%7Ec"), canonical("/a@b/~c"));
        assert_eq!(canonical("/%e4"), "/%E4");
        assert_eq!(canonical("/ä%zz"), "/%C3%A4%25zz");
        assert_ne!(canonical("/a%2Fb"), canonical("/a/b"));
    }
}
