//! Reads a `multistatus` while it is still arriving.
//!
//! A listing of a hundred thousand members needs the memory of one. The answer is hostile until proven otherwise:
//! no DTD, bounded depth, number of elements and length of text ([`super::source`] has made it text that XML
//! allows). An answer counts as complete only when its root element was closed.

mod text;

use std::borrow::Cow;

use quick_xml::Error as QuickError;
use quick_xml::errors::{IllFormedError, SyntaxError};
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;
use tokio::io::AsyncBufReadExt as _;

use self::text::References;
use super::source::{ByteStream, Source};
use super::wire::{
    CalendarData, Element, Part, Principal, Privileges, Props, Reports, ResourceType, Response,
};
use crate::driver::DriverError;

/// Deeper than any answer that was ever seen (13).
const MAX_DEPTH: usize = 48;
/// A listing has about eight elements a member.
const MAX_ELEMENTS: u64 = 8_000_000;
/// Calendar data of most objects fit in.
const USUAL_OBJECT_BYTES: usize = 2 << 10;
/// Names, tags, addresses: everything but calendar data.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Why an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum XmlError {
    #[error("the answer broke off")]
    Truncated,
    #[error("the answer is a web page")]
    Html,
    #[error("the answer is no multistatus")]
    NotMultistatus,
    #[error("{0}")]
    Hostile(&'static str),
    #[error("the XML is malformed")]
    Malformed(#[source] Box<QuickError>),
    #[error("read the answer")]
    Body(#[source] Box<DriverError>),
}

impl From<QuickError> for XmlError {
    fn from(error: QuickError) -> Self {
        match error {
            QuickError::Syntax(
                SyntaxError::UnclosedTag
                | SyntaxError::UnclosedCData
                | SyntaxError::UnclosedComment
                | SyntaxError::UnclosedXmlDecl
                | SyntaxError::UnclosedPI
                | SyntaxError::UnclosedSingleQuotedAttributeValue
                | SyntaxError::UnclosedDoubleQuotedAttributeValue,
            )
            | QuickError::IllFormed(IllFormedError::MissingEndTag(_)) => Self::Truncated,
            other => Self::Malformed(Box::new(other)),
        }
    }
}

/// A multistatus being read.
pub(super) struct Multistatus {
    reader: NsReader<Source>,
    buffer: Vec<u8>,
    stack: Vec<Element>,
    text: String,
    is_over_limit: bool,
    max_object_bytes: usize,
    elements: u64,
    is_closed: bool,
    response: Response,
    found: Props,
    found_status: Option<u16>,
}

impl Multistatus {
    /// Reads from `stream`; calendar data above `max_object_bytes` is reported as too large.
    pub(super) fn new(stream: ByteStream, max_object_bytes: u64) -> Self {
        let mut reader = NsReader::from_reader(Source::new(stream));
        // Names with a bare ampersand are common, and harmless.
        reader.config_mut().allow_dangling_amp = true;
        Self {
            reader,
            buffer: Vec::with_capacity(4 << 10),
            stack: Vec::with_capacity(16),
            text: String::new(),
            is_over_limit: false,
            max_object_bytes: usize::try_from(max_object_bytes).unwrap_or(usize::MAX),
            elements: 0,
            is_closed: false,
            response: Response::default(),
            found: Props::default(),
            found_status: None,
        }
    }

    /// The next part; `None` once the root element was closed.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, XmlError> {
        loop {
            if self.is_closed {
                return Ok(None);
            }
            if self.stack.last() == Some(&Element::CalendarData) {
                self.read_data().await?;
            }
            // beside, so that a text can be taken from it as it stands
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            let event = self.reader.read_resolved_event_into_async(&mut buffer).await;
            let step = match event {
                Ok((namespace, event)) => Step::of(&namespace, event)?,
                Err(error) => {
                    return Err(match self.reader.get_mut().take_error() {
                        Some(cause) => XmlError::Body(Box::new(cause)),
                        None => error.into(),
                    });
                }
            };
            let part = self.take(step)?;
            self.buffer = buffer;
            if let Some(part) = part {
                return Ok(Some(part));
            }
        }
    }

    /// Takes calendar data from the source itself, up to the next markup.
    async fn read_data(&mut self) -> Result<(), XmlError> {
        let Self { reader, text, is_over_limit, max_object_bytes, .. } = self;
        let mut push = |piece: &str| {
            *is_over_limit |= text.len() + piece.len() > *max_object_bytes;
            if !*is_over_limit {
                text.push_str(piece);
            }
        };
        let (source, mut references) = (reader.get_mut(), References::default());
        loop {
            let Ok(piece) = source.fill_buf().await else {
                return Err(source
                    .take_error()
                    .map_or(XmlError::Truncated, |cause| XmlError::Body(Box::new(cause))));
            };
            let end = memchr::memchr(b'<', piece);
            let data = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            let (read_bytes, is_over) = (data.len(), end.is_some() || piece.is_empty());
            // the source gives out whole characters
            let data = str::from_utf8(data).map_err(|_| XmlError::Hostile("it is no UTF-8"))?;
            references.feed(data, &mut push)?;
            source.consume(read_bytes);
            if is_over {
                references.end(push);
                return Ok(());
            }
        }
    }

    fn take(&mut self, step: Step<'_>) -> Result<Option<Part>, XmlError> {
        match step {
            Step::Open(element) => self.open(element)?,
            Step::Close => return self.close(),
            Step::Leaf(element, name) => {
                self.open(element)?;
                self.component(element, name);
                return self.close();
            }
            Step::Component(name) => {
                self.open(Element::Component)?;
                self.component(Element::Component, Some(name));
            }
            Step::Text(text) => self.push_text(&text),
            Step::Character(character) => self.push_text(character.encode_utf8(&mut [0; 4])),
            Step::Skip => {}
            Step::End => return Err(XmlError::Truncated),
        }
        Ok(None)
    }

    fn open(&mut self, element: Element) -> Result<(), XmlError> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(XmlError::Hostile("it has too many elements"));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(XmlError::Hostile("it is nested too deeply"));
        }
        if self.stack.is_empty() {
            match element {
                Element::Multistatus => {}
                Element::Html => return Err(XmlError::Html),
                _ => return Err(XmlError::NotMultistatus),
            }
        }
        match element {
            Element::Response => self.response = Response::default(),
            Element::Propstat => {
                self.found = Props::default();
                self.found_status = None;
            }
            Element::ResourceType => self.found.resource_type = Some(ResourceType::default()),
            Element::PrivilegeSet => self.found.privileges = Some(Privileges::default()),
            Element::ReportSet => self.found.reports = Some(Reports::default()),
            Element::ComponentSet => self.found.components = Some(Vec::new()),
            _ => {}
        }
        self.text.clear();
        self.is_over_limit = false;
        self.stack.push(element);
        Ok(())
    }

    fn component(&mut self, element: Element, name: Option<String>) {
        if element == Element::Component
            && let (Some(components), Some(name)) = (&mut self.found.components, name)
            && components.len() < 16
        {
            components.push(name.to_ascii_uppercase());
        }
    }

    fn push_text(&mut self, text: &str) {
        let limit = match self.stack.last() {
            Some(Element::CalendarData) => self.max_object_bytes,
            Some(Element::Other) | None => return,
            Some(_) => MAX_TEXT_BYTES,
        };
        if self.text.len() + text.len() > limit {
            self.is_over_limit = true;
        } else {
            self.text.push_str(text);
        }
    }

    fn close(&mut self) -> Result<Option<Part>, XmlError> {
        let Some(element) = self.stack.pop() else { return Ok(None) };
        let parent = self.stack.last().copied();
        let is_data = element == Element::CalendarData && parent == Some(Element::Prop);
        if self.is_over_limit && !is_data {
            return Err(XmlError::Hostile("one of its texts is too long"));
        }
        match (parent, element) {
            (None, _) => self.is_closed = true,
            (Some(Element::Multistatus), Element::Response) => {
                return Ok(Some(Part::Response(Box::new(std::mem::take(&mut self.response)))));
            }
            (Some(Element::Multistatus), Element::SyncToken) => {
                return Ok(Some(Part::SyncToken(self.trimmed())));
            }
            (Some(Element::Response), Element::Href) => self.response.href = self.trimmed(),
            (Some(Element::Response), Element::Status) => self.response.status = status_code(&self.text),
            (Some(Element::Response), Element::Propstat) => {
                // Without a status the properties are there, so they count.
                if self.found_status.is_none_or(|status| (200..300).contains(&status)) {
                    self.response.props.merge(std::mem::take(&mut self.found));
                }
            }
            (Some(Element::Propstat), Element::Status) => self.found_status = status_code(&self.text),
            (Some(Element::Prop), property) => self.property(property),
            (Some(container), inner) => self.inner(container, inner),
        }
        Ok(None)
    }

    /// A property's own text.
    fn property(&mut self, property: Element) {
        if property == Element::CalendarData {
            self.found.calendar_data = Some(if std::mem::take(&mut self.is_over_limit) {
                CalendarData::TooLarge
            } else {
                // most objects are about this size
                let next = String::with_capacity(USUAL_OBJECT_BYTES);
                CalendarData::Text(std::mem::replace(&mut self.text, next))
            });
            return;
        }
        let slot = match property {
            Element::Etag => &mut self.found.etag,
            Element::ContentType => &mut self.found.content_type,
            Element::DisplayName => &mut self.found.display_name,
            Element::SyncToken => &mut self.found.sync_token,
            Element::Ctag => &mut self.found.ctag,
            Element::Color => &mut self.found.color,
            Element::Order => &mut self.found.order,
            Element::Description => &mut self.found.description,
            Element::TimeZone => &mut self.found.time_zone,
            _ => return,
        };
        let text = self.text.trim();
        *slot = (!text.is_empty()).then(|| text.to_owned());
    }

    /// Something inside a property.
    fn inner(&mut self, container: Element, inner: Element) {
        let found = &mut self.found;
        match (container, inner) {
            (Element::CurrentUserPrincipal, Element::Href) => {
                found.principal = Some(Principal::Href(self.text.trim().to_owned()));
            }
            (Element::CurrentUserPrincipal, Element::Unauthenticated) => {
                found.principal = Some(Principal::Unauthenticated);
            }
            (Element::HomeSet, Element::Href) if found.home_sets.len() < 16 => {
                found.home_sets.push(self.text.trim().to_owned());
            }
            (Element::Inbox, Element::Href) => found.inbox = Some(self.text.trim().to_owned()),
            (Element::DefaultCalendar, Element::Href) => {
                found.default_calendar = Some(self.text.trim().to_owned());
            }
            (Element::ResourceType, kind) => {
                if let Some(resource_type) = &mut found.resource_type {
                    resource_type.is_collection |= kind == Element::Collection;
                    resource_type.is_calendar |= kind == Element::Calendar;
                    resource_type.is_subscription |= kind == Element::Subscribed;
                }
            }
            (Element::Privilege, Element::Granted(privilege)) => {
                if let Some(privileges) = &mut found.privileges {
                    privileges.add(privilege);
                }
            }
            (_, report) => {
                if let Some(reports) = &mut found.reports {
                    reports.has_sync_collection |= report == Element::SyncCollection;
                    reports.has_multiget |= report == Element::Multiget;
                }
            }
        }
    }

    fn trimmed(&self) -> String {
        self.text.trim().to_owned()
    }
}

/// What one event of the reader means.
enum Step<'e> {
    Open(Element),
    Component(String),
    Leaf(Element, Option<String>),
    Close,
    Text(Cow<'e, str>),
    Character(char),
    Skip,
    End,
}

impl<'e> Step<'e> {
    fn of(namespace: &ResolveResult<'_>, event: Event<'e>) -> Result<Self, XmlError> {
        Ok(match event {
            Event::Start(start) => match (element_of(namespace, &start), component_name(&start)) {
                (Element::Component, Some(name)) => Self::Component(name),
                (element, _) => Self::Open(element),
            },
            Event::Empty(start) => {
                let element = element_of(namespace, &start);
                let name = (element == Element::Component).then(|| component_name(&start)).flatten();
                Self::Leaf(element, name)
            }
            Event::End(_) => Self::Close,
            Event::Text(text) => Self::Text(text.into_inner()),
            Event::CData(text) => Self::Text(text.into_inner()),
            Event::GeneralRef(reference) => {
                text::character(reference.as_ref())?.map_or(Self::Skip, Self::Character)
            }
            Event::DocType(declaration) => {
                let name = declaration.as_ref().trim_start();
                return Err(if name.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("html")) {
                    XmlError::Html
                } else {
                    XmlError::Hostile("it declares a document type")
                });
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => Self::Skip,
            Event::Eof => Self::End,
        })
    }
}

fn element_of(namespace: &ResolveResult<'_>, start: &BytesStart<'_>) -> Element {
    let namespace = match namespace {
        ResolveResult::Bound(namespace) => namespace.as_ref(),
        _ => "",
    };
    Element::of(namespace, start.local_name().as_ref())
}

fn component_name(start: &BytesStart<'_>) -> Option<String> {
    if start.local_name().as_ref() != "comp" {
        return None;
    }
    let name = start.try_get_attribute("name").ok().flatten()?;
    Some(name.value.into_owned())
}

/// `HTTP/1.1 200 OK`, and what servers write instead: `200 OK`, `200`.
fn status_code(line: &str) -> Option<u16> {
    line.split_ascii_whitespace()
        .filter(|word| !word.starts_with("HTTP/"))
        .find_map(|word| word.parse().ok().filter(|code| (100..600).contains(code)))
}

/// The conditions named in the `error` body of a refusal (RFC 4918 §16); empty where it holds none.
pub(super) fn conditions(body: &[u8]) -> Vec<Element> {
    let mut reader = NsReader::from_reader(body);
    let (mut buffer, mut found) = (Vec::new(), Vec::new());
    for _ in 0..1_000 {
        buffer.clear();
        match reader.read_resolved_event_into(&mut buffer) {
            Ok((namespace, Event::Start(start) | Event::Empty(start))) => {
                found.push(element_of(&namespace, &start));
            }
            Ok((_, Event::Eof | Event::DocType(_))) | Err(_) => break,
            Ok(_) => {}
        }
    }
    if found.contains(&Element::Error) { found } else { Vec::new() }
}

#[cfg(test)]
mod tests;
