//! Addresses: which path names what, and how a place is written as an href.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::profile::{HrefForm, Profile};

/// The context root.
pub(crate) const ROOT: &str = "/dav/";

/// What a path names; segments are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    WellKnown,
    Root,
    Principal { account: String },
    Home { account: String },
    Calendar { account: String, slug: String },
    Resource { account: String, slug: String, name: String },
    Nowhere,
}

impl Place {
    pub(crate) fn of(path: &str) -> Self {
        let segments: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            [".well-known", "caldav"] => Self::WellKnown,
            [] | ["dav"] | ["dav", "principals" | "calendars"] => Self::Root,
            ["dav", "principals", account] => Self::Principal { account: (*account).to_owned() },
            ["dav", "calendars", account] => Self::Home { account: (*account).to_owned() },
            ["dav", "calendars", account, slug] => {
                Self::Calendar { account: (*account).to_owned(), slug: (*slug).to_owned() }
            }
            ["dav", "calendars", account, slug, name] => Self::Resource {
                account: (*account).to_owned(),
                slug: (*slug).to_owned(),
                name: (*name).to_owned(),
            },
            _ => Self::Nowhere,
        }
    }

    /// The account whose place it is.
    pub(crate) fn account(&self) -> Option<&str> {
        match self {
            Self::WellKnown | Self::Root | Self::Nowhere => None,
            Self::Principal { account }
            | Self::Home { account }
            | Self::Calendar { account, .. }
            | Self::Resource { account, .. } => Some(account),
        }
    }

    /// The name of the resource, when it is one.
    pub(crate) fn resource_name(&self) -> Option<&str> {
        match self {
            Self::Resource { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The percent-encoded path.
    pub(crate) fn path(&self, profile: &Profile) -> String {
        let slash = if profile.collections_without_slash { "" } else { "/" };
        match self {
            Self::WellKnown => "/.well-known/caldav".to_owned(),
            Self::Root | Self::Nowhere => ROOT.to_owned(),
            Self::Principal { account } => format!("{ROOT}principals/{}{slash}", encode(account)),
            Self::Home { account } => format!("{ROOT}calendars/{}{slash}", encode(account)),
            Self::Calendar { account, slug } => {
                format!("{ROOT}calendars/{}/{}{slash}", encode(account), encode(slug))
            }
            Self::Resource { account, slug, name } => {
                format!("{ROOT}calendars/{}/{}/{}", encode(account), encode(slug), encode(name))
            }
        }
    }
}

/// Writes the hrefs of one calendar's members; made once per answer, as listings are long.
#[derive(Debug, Clone)]
pub(crate) struct MemberHrefs {
    origin: String,
    folder: String,
}

impl MemberHrefs {
    /// `origin` is scheme and authority, such as `http://127.0.0.1:8080`.
    pub(crate) fn new(account: &str, slug: &str, origin: &str) -> Self {
        let folder = format!("{ROOT}calendars/{}/{}/", encode(account), encode(slug));
        Self { origin: origin.to_owned(), folder }
    }

    /// Percent-encoded, so it needs no XML escape.
    pub(crate) fn of(&self, name: &str, form: HrefForm) -> String {
        let name = encode(name);
        match form {
            HrefForm::Path => format!("{}{name}", self.folder),
            HrefForm::Url => format!("{}{}{name}", self.origin, self.folder),
            HrefForm::Relative => name,
        }
    }

    /// The member's name, when the href lies in this calendar; takes every form of href.
    pub(crate) fn name(&self, href: &str) -> Option<String> {
        let href = href.trim();
        let path = match href.split_once("://") {
            Some((_, rest)) => rest.split_at_checked(rest.find('/')?)?.1,
            None => href,
        };
        if !path.contains('/') {
            return Some(decode(path));
        }
        let folder = decode(&self.folder);
        let name = decode(path).strip_prefix(&folder)?.to_owned();
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }
}

/// What stands for itself in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@');

/// Decodes `%41`; what is no escape stays as it is.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Encodes a path segment, leaving unreserved characters and `@`.
pub(crate) fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_every_form_of_href() {
        let hrefs = MemberHrefs::new("ada@example.com", "work", "http://127.0.0.1:1");
        let name = "a b&ü%.ics";

        for form in [HrefForm::Path, HrefForm::Url, HrefForm::Relative] {
            assert_eq!(hrefs.name(&hrefs.of(name, form)).as_deref(), Some(name));
        }
        assert_eq!(hrefs.name("/dav/calendars/eve/work/a.ics"), None);
    }

    #[test]
    fn a_path_is_written_as_it_was_read() {
        let place = Place::of("/dav/calendars/ada%40example.com/my%20work/");

        assert_eq!(place.path(&Profile::standard()), "/dav/calendars/ada@example.com/my%20work/");
    }
}
