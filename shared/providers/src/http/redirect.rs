//! Where a redirect leads, and whether we go there.

use http::header::LOCATION;
use url::{Origin, Url};

use super::Answer;
use crate::driver::Problem;

/// Redirects followed in a row.
pub const MAX_REDIRECTS: usize = 5;

/// Whether a redirect is to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permanence {
    /// 301, 308.
    Permanent,
    /// 302, 307.
    Temporary,
}

/// Where the answer sends us: `None` when it is no redirect that keeps method and body.
///
/// # Errors
/// When it names no place that we would go to: nowhere, or from `https` back to `http`.
pub fn target(answer: &Answer) -> Result<Option<(Url, Permanence)>, Problem> {
    let permanence = match answer.status.as_u16() {
        301 | 308 => Permanence::Permanent,
        302 | 307 => Permanence::Temporary,
        _ => return Ok(None),
    };
    let refused = |reason: &str| Problem::RedirectRefused { reason: reason.to_owned() };
    let location = answer.header(LOCATION).ok_or_else(|| refused("it does not say where to"))?;
    let mut url = answer.url.join(location).map_err(|_| refused("it is not a usable URL"))?;
    url.set_fragment(None);
    // What a stranger writes into the user part of a URL is no credential of ours.
    let cleaned = url.set_username("").and_then(|()| url.set_password(None));
    if cleaned.is_err() {
        return Err(refused("it is not a usable URL"));
    }
    if answer.url.scheme() == "https" && url.scheme() != "https" {
        return Err(refused("it leads from https to a connection that others can read"));
    }
    Ok(Some((url, permanence)))
}

/// Whether credentials for `from` may go to `to`: the same origin, or the same host stepping up to TLS.
pub fn keeps_origin(from: &Origin, to: &Url) -> bool {
    let to = to.origin();
    if *from == to {
        return true;
    }
    match (from, &to) {
        (Origin::Tuple(plain, host, 80), Origin::Tuple(secure, other, 443)) => {
            plain == "http" && secure == "https" && host == other
        }
        _ => false,
    }
}
