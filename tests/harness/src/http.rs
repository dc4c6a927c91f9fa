//! The few requests that set a CalDAV server up: one connection each, blocking, status only.
//!
//! Not the product's client: a fault in that must not hide in the preparation of its own test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A request to a server on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a str,
    /// For HTTP Basic.
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

/// Sends the request and gives the status of the answer.
pub(crate) fn send(port: u16, request: Request<'_>) -> anyhow::Result<u16> {
    let Request { method, path, content_type, body, user, password } = request;
    let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
         Authorization: Basic {credentials}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let status = line.split_whitespace().nth(1).with_context(|| format!("{method} {path} got no answer"))?;
    Ok(status.parse()?)
}
