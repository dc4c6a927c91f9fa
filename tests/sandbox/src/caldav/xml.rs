//! XML in: a small tree of a request's body. XML out: names under the prefixes a server likes.

use std::fmt::Write as _;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::profile::NamespaceStyle;

pub(crate) const DAV: &str = "DAV:";
pub(crate) const CALDAV: &str = "urn:ietf:params:xml:ns:caldav";
pub(crate) const CALENDAR_SERVER: &str = "http://calendarserver.org/ns/";
pub(crate) const APPLE: &str = "http://apple.com/ns/ical/";

/// Deepest nesting taken; real requests stay below ten.
const MAX_DEPTH: usize = 32;

/// A qualified name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) space: String,
    pub(crate) local: String,
}

impl Name {
    pub(crate) fn new(space: &str, local: &str) -> Self {
        Self { space: space.to_owned(), local: local.to_owned() }
    }

    pub(crate) fn is(&self, space: &str, local: &str) -> bool {
        self.space == space && self.local == local
    }
}

/// An element of a request.
#[derive(Debug, Clone)]
pub(crate) struct Element {
    pub(crate) name: Name,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Element>,
    pub(crate) text: String,
}

impl Element {
    pub(crate) fn child(&self, space: &str, local: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name.is(space, local))
    }

    pub(crate) fn attribute(&self, wanted: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    /// Names of the children of its `D:prop`, empty without one.
    pub(crate) fn prop(&self) -> Vec<Name> {
        let prop = self.child(DAV, "prop").map(|prop| prop.children.as_slice()).unwrap_or_default();
        prop.iter().map(|child| child.name.clone()).collect()
    }
}

/// The request's body is not XML that a server takes.
#[derive(Debug, thiserror::Error)]
#[error("read the XML of the request")]
pub(crate) struct BadXml;

/// Reads a request's body; a DOCTYPE, deep nesting and unbound prefixes are refused.
pub(crate) fn parse(body: &[u8]) -> Result<Element, BadXml> {
    let text = std::str::from_utf8(body).map_err(|_| BadXml)?;
    let mut reader = NsReader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    loop {
        let (space, event) = reader.read_resolved_event().map_err(|_| BadXml)?;
        let closed = match event {
            Event::Start(start) => {
                if open.len() >= MAX_DEPTH {
                    return Err(BadXml);
                }
                open.push(element(&space, &start)?);
                None
            }
            Event::Empty(start) => Some(element(&space, &start)?),
            Event::End(_) => Some(open.pop().ok_or(BadXml)?),
            Event::Text(text) => {
                append(&mut open, &text.xml_content(XmlVersion::Implicit1_0));
                None
            }
            Event::CData(text) => {
                append(&mut open, &text.xml_content(XmlVersion::Implicit1_0));
                None
            }
            Event::GeneralRef(reference) => {
                append(&mut open, &resolve(&reference)?);
                None
            }
            Event::DocType(_) | Event::Eof => return Err(BadXml),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => None,
        };
        if let Some(closed) = closed {
            match open.last_mut() {
                Some(parent) => parent.children.push(closed),
                None => return Ok(closed),
            }
        }
    }
}

fn append(open: &mut [Element], text: &str) {
    if let Some(last) = open.last_mut() {
        last.text.push_str(text);
    }
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, BadXml> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| BadXml)? {
        return Ok(character.to_string());
    }
    let text = match &**reference {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => return Err(BadXml),
    };
    Ok(text.to_owned())
}

fn element(space: &ResolveResult<'_>, start: &BytesStart<'_>) -> Result<Element, BadXml> {
    let space = match space {
        ResolveResult::Bound(space) => space.as_ref(),
        ResolveResult::Unbound => "",
        ResolveResult::Unknown(_) => return Err(BadXml),
    };
    let name = Name::new(space, start.local_name().as_ref());
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| BadXml)?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| BadXml)?;
        attributes.push((attribute.key.local_name().as_ref().to_owned(), value.into_owned()));
    }
    Ok(Element { name, attributes, children: Vec::new(), text: String::new() })
}

/// Escapes text for an element or an attribute in double quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = text.to_owned();
    // Text by far most often holds none of them, and looking for one character is cheap.
    for (character, entity) in [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;")] {
        if out.contains(character) {
            out = out.replace(character, entity);
        }
    }
    out
}

/// Writes elements under the prefixes of one style.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer(pub(crate) NamespaceStyle);

impl Writer {
    /// Prefix with colon; `None` for namespaces that the root does not declare.
    fn prefix(self, space: &str) -> Option<&'static str> {
        let [dav, caldav, server, apple] = match self.0 {
            NamespaceStyle::Upper => ["D:", "C:", "CS:", "A:"],
            NamespaceStyle::Lower => ["d:", "cal:", "cs:", "x1:"],
            NamespaceStyle::DefaultDav => ["", "C:", "CS:", "ICAL:"],
            NamespaceStyle::Numbered => ["ns0:", "ns1:", "ns2:", "ns3:"],
        };
        match space {
            DAV => Some(dav),
            CALDAV => Some(caldav),
            CALENDAR_SERVER => Some(server),
            APPLE => Some(apple),
            _ => None,
        }
    }

    /// The declarations that the root element carries.
    pub(crate) fn declarations(self) -> String {
        let mut out = String::new();
        for space in [DAV, CALDAV, CALENDAR_SERVER, APPLE] {
            let prefix = self.prefix(space).unwrap_or_default().trim_end_matches(':');
            let colon = if prefix.is_empty() { "" } else { ":" };
            write_to(&mut out, format_args!(" xmlns{colon}{prefix}=\"{space}\""));
        }
        out
    }

    /// `<name>inner</name>`, with `inner` as it is.
    pub(crate) fn wrap(self, space: &str, local: &str, inner: &str) -> String {
        let mut out = String::with_capacity(inner.len() + 32);
        self.wrap_to(&mut out, space, local, inner);
        out
    }

    pub(crate) fn wrap_to(self, out: &mut String, space: &str, local: &str, inner: &str) {
        let (prefix, declared) = match self.prefix(space) {
            Some(prefix) => (prefix, String::new()),
            None => ("x:", format!(" xmlns:x=\"{}\"", escape(space))),
        };
        if inner.is_empty() {
            write_to(out, format_args!("<{prefix}{local}{declared}/>"));
        } else {
            write_to(out, format_args!("<{prefix}{local}{declared}>{inner}</{prefix}{local}>"));
        }
    }

    /// `<name attribute="value"/>`, for names of declared namespaces.
    pub(crate) fn wrap_attribute(self, space: &str, local: &str, attribute: &str, value: &str) -> String {
        let prefix = self.prefix(space).unwrap_or_default();
        format!("<{prefix}{local} {attribute}=\"{}\"/>", escape(value))
    }

    /// `<name>text</name>`, with the text escaped.
    pub(crate) fn text(self, space: &str, local: &str, text: &str) -> String {
        self.wrap(space, local, &escape(text))
    }

    pub(crate) fn empty(self, space: &str, local: &str) -> String {
        self.wrap(space, local, "")
    }

    /// A whole document with one root of the DAV namespace.
    pub(crate) fn document(self, local: &str, inner: &str) -> String {
        let (head, tail) = self.frame(local);
        format!("{head}{inner}{tail}")
    }

    /// Begin and end of a document with one root of the DAV namespace.
    pub(crate) fn frame(self, local: &str) -> (String, String) {
        let prefix = self.prefix(DAV).unwrap_or_default();
        let head =
            format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<{prefix}{local}{}>", self.declarations());
        (head, format!("</{prefix}{local}>\n"))
    }
}

/// Writing to a `String` cannot fail.
pub(crate) fn write_to(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_by_namespace_and_entities_resolved() {
        let body = br#"<x:propfind xmlns:x="DAV:"><x:prop><q xmlns="urn:q"/></x:prop><x:href>a&amp;b&#65;</x:href></x:propfind>"#;

        let root = parse(body).unwrap();

        assert!(root.name.is(DAV, "propfind"));
        assert_eq!(root.prop(), [Name::new("urn:q", "q")]);
        assert_eq!(root.child(DAV, "href").unwrap().text, "a&bA");
    }

    #[test]
    fn a_doctype_and_an_unclosed_element_are_refused() {
        assert!(parse(b"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>").is_err());
        assert!(parse(b"<a><b></b>").is_err());
    }
}
