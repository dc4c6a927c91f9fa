//! Builds the one request of a feed.

use bytes::Bytes;
use calfleet_domain::failure::FailureClass;
use http::header::{ACCEPT, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::{Method, Request};
use url::Url;

use super::cursor::FeedCursor;
use crate::driver::{DriverError, Problem};

/// A GET; conditional where the last answer named a validator (RFC 9110 §13).
pub(super) fn get(
    operation: &'static str,
    url: &Url,
    last: Option<&FeedCursor>,
) -> Result<Request<Bytes>, DriverError> {
    let mut request =
        Request::builder().method(Method::GET).uri(url.as_str()).body(Bytes::new()).map_err(|error| {
            let problem =
                Problem::InvalidUrl { reason: "it contains characters that no address has".to_owned() };
            DriverError::new(operation, FailureClass::Permanent, problem).caused_by(error)
        })?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("text/calendar, */*;q=0.1"));
    if let Some(last) = last {
        for (name, value) in [(IF_NONE_MATCH, &last.etag), (IF_MODIFIED_SINCE, &last.modified)] {
            if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
    Ok(request)
}

/// `webcal` is a way of saying that an address is to be subscribed to; it is fetched over `https`.
pub(super) fn fetchable(url: &Url) -> Url {
    match (url.scheme(), url.as_str().split_once(':')) {
        ("webcal" | "webcals", Some((_, rest))) => {
            Url::parse(&format!("https:{rest}")).unwrap_or_else(|_| url.clone())
        }
        _ => url.clone(),
    }
}

/// An address with the user name and password of another.
pub(super) fn signed_like(signed: &Url, mut url: Url) -> Option<Url> {
    url.set_username(signed.username()).ok()?;
    url.set_password(signed.password()).ok()?;
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_fetched_over_tls() {
        let of = |url: &str| fetchable(&Url::parse(url).unwrap()).to_string();

        assert_eq!(of("webcal://www.example.com/a.ics?k=1"), "https://www.example.com/a.ics?k=1");
        assert_eq!(of("webcals://www.example.com:8443/a.ics"), "https://www.example.com:8443/a.ics");
        assert_eq!(of("http://www.example.com/a.ics"), "http://www.example.com/a.ics");
    }

    #[test]
    fn a_feed_that_has_moved_keeps_its_password() {
        let url = |text: &str| Url::parse(text).unwrap();

        let moved = signed_like(
            &url("https://ada%40x:p%3Aw@www.example.com/f"),
            url("https://www.example.com/f.ics"),
        );

        assert_eq!(moved, Some(url("https://ada%40x:p%3Aw@www.example.com/f.ics")));
    }
}
