//! Exchanges on behalf of one account: signs requests, answers challenges once, follows redirects by hand and
//! repeats a request that only reads once, if its connection was closed without an answer.
//!
//! Credentials go to origins that are trusted: the account's own, and those that [`Session::trust`] was told of,
//! which only discovery does. A redirect to any other place is refused, or followed without credentials.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use calfleet_domain::failure::FailureClass;
use http::header::{AUTHORIZATION, IF_MATCH, IF_NONE_MATCH};
use http::{Method, Request, StatusCode, Uri};
use url::{Origin, Url};

use super::auth::{AfterChallenge, Authenticator};
use super::redirect::{self, MAX_REDIRECTS, Permanence};
use super::{Allowance, Answer, HttpClient};
use crate::driver::{DriverError, Problem};
use crate::limit::Meter;

/// What is done about a redirect to an origin that is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// The request fails.
    Refuse,
    /// It is followed without credentials.
    Anonymous,
    /// It is followed, and the origin is trusted from then on: discovery by a well-known URI (RFC 6764 §5).
    Trust,
}

/// The exchanges of one account.
#[derive(Debug)]
pub struct Session {
    client: HttpClient,
    authenticator: Authenticator,
    trusted: Mutex<Vec<Origin>>,
    requests: AtomicU64,
    meter: Meter,
}

impl Session {
    /// For the account whose address is `home`.
    pub fn new(client: HttpClient, home: &Url, authenticator: Authenticator) -> Self {
        let trusted = Mutex::new(vec![home.origin()]);
        Self { client, authenticator, trusted, requests: AtomicU64::new(0), meter: Meter::unlimited() }
    }

    /// The same out of the account's budgets.
    #[must_use]
    pub fn metered(mut self, meter: Meter) -> Self {
        self.meter = meter;
        self
    }

    /// The guarded client.
    pub fn client(&self) -> &HttpClient {
        &self.client
    }

    /// How many requests were sent.
    pub fn requests_sent(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// From now on the origin of `url` gets the account's credentials, if it is as safe as the ones before it.
    pub fn trust(&self, url: &Url) {
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = url.origin();
        let all_secure = trusted.iter().all(|origin| !origin.ascii_serialization().starts_with("http:"));
        if !trusted.contains(&origin) && (url.scheme() == "https" || !all_secure) {
            trusted.push(origin);
        }
    }

    /// Whether the account's credentials may go to `url`.
    pub fn trusts(&self, url: &Url) -> bool {
        let trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        trusted.iter().any(|origin| redirect::keeps_origin(origin, url))
    }

    /// Sends a request, which may be repeated if it only reads, and returns the final answer: never a redirect that can be
    /// followed, and 401 only when the credentials were refused.
    ///
    /// # Errors
    /// As [`HttpClient::send`], and [`Problem::RedirectRefused`].
    pub async fn send(
        &self,
        operation: &'static str,
        mut request: Request<Bytes>,
        allowance: Allowance,
        crossing: Crossing,
    ) -> Result<Delivery, DriverError> {
        let mut moved = None;
        let mut is_permanent = true;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.exchange(operation, &request, allowance).await?;
            let refused = |problem| DriverError::new(operation, FailureClass::Permanent, problem);
            let Some((target, permanence)) = redirect::target(&answer).map_err(refused)? else {
                // It asks for what was kept from it, which says nothing about the credentials.
                let is_stranger = self.authenticator.has_credentials() && !self.trusts(&answer.url);
                if answer.status == StatusCode::UNAUTHORIZED && is_stranger {
                    return Err(refused(elsewhere(&answer.url)));
                }
                return Ok(Delivery { answer, moved });
            };
            if !self.trusts(&target) {
                match crossing {
                    Crossing::Refuse => return Err(refused(elsewhere(&target))),
                    Crossing::Anonymous => {}
                    Crossing::Trust => self.trust(&target),
                }
            }
            // Only an unbroken chain of permanent redirects is one.
            is_permanent &= permanence == Permanence::Permanent;
            moved = is_permanent.then(|| target.clone()).or(moved);
            *request.uri_mut() = Uri::try_from(target.as_str()).map_err(|error| {
                refused(Problem::InvalidUrl { reason: "a redirect cannot be read".to_owned() })
                    .caused_by(error)
            })?;
        }
        let reason = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(DriverError::new(operation, FailureClass::Permanent, Problem::RedirectRefused { reason }))
    }

    /// One request with its challenge.
    async fn exchange(
        &self,
        operation: &'static str,
        request: &Request<Bytes>,
        allowance: Allowance,
    ) -> Result<Answer, DriverError> {
        let invalid = |error: url::ParseError| {
            let problem = Problem::InvalidUrl { reason: error.to_string() };
            DriverError::new(operation, FailureClass::Permanent, problem)
        };
        let url = Url::parse(&request.uri().to_string()).map_err(invalid)?;
        let is_trusted = self.trusts(&url);
        let mut asked_first = is_trusted && self.authenticator.wants_challenge(&url);
        // A server that wants Digest may need one answer to be asked and one for a nonce that is too old.
        let mut repeats_left = 2;
        loop {
            let mut signed = request.clone();
            signed.headers_mut().remove(AUTHORIZATION);
            let authorization =
                is_trusted.then(|| self.authenticator.authorization(request.method(), &url)).flatten();
            if let Some(value) = authorization.clone() {
                signed.headers_mut().insert(AUTHORIZATION, value);
            }
            let answer = self.send_again_if_closed(operation, signed, allowance).await?;
            if answer.status == StatusCode::UNAUTHORIZED && is_trusted {
                let after = self.authenticator.after_challenge(&answer.headers, authorization.as_ref());
                if after == AfterChallenge::Refused || repeats_left == 0 {
                    return Ok(answer);
                }
                asked_first = false;
                repeats_left -= 1;
                continue;
            }
            // It answered a stranger: what it shows him is not what it shows the account.
            if asked_first {
                self.authenticator.settle();
                asked_first = false;
                continue;
            }
            return Ok(answer);
        }
    }

    /// Some servers close a kept connection instead of answering. Only what reads is asked again: a write may have
    /// been carried out, and whoever sent it finds out.
    async fn send_again_if_closed(
        &self,
        operation: &'static str,
        request: Request<Bytes>,
        allowance: Allowance,
    ) -> Result<Answer, DriverError> {
        match self.send_metered(operation, request.clone(), allowance).await {
            Err(error) if error.problem == Problem::Truncated && may_be_repeated(&request) => {
                self.send_metered(operation, request, allowance).await
            }
            other => other,
        }
    }

    async fn send_metered(
        &self,
        operation: &'static str,
        request: Request<Bytes>,
        allowance: Allowance,
    ) -> Result<Answer, DriverError> {
        let pass = self.meter.admit(operation, request.method(), allowance.deadline).await?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut answer = self.client.send(operation, request, allowance).await?;
        answer.body.hold(pass);
        Ok(answer)
    }

    /// How many requests of these methods, the first ones, may travel as one: each of them costs what it would by
    /// itself. At least one.
    ///
    /// # Errors
    /// [`FailureClass::Throttled`] when not even one may: nothing was sent.
    pub async fn admitted(&self, operation: &'static str, methods: &[Method]) -> Result<usize, DriverError> {
        self.meter.admitted(operation, methods).await
    }

    /// Blocks the budget that a refusal speaks of: whoever reads a provider's refusals shows them here.
    pub async fn heed(&self, error: &DriverError) {
        if let FailureClass::Throttled { retry_after } = error.class {
            self.meter.refused(error.scope, retry_after).await;
        }
    }
}

/// Whether a request may arrive twice: it changes nothing (RFC 9110 §9.2.1, RFC 4918 §9.1, RFC 3253 §3.6), or only
/// under a precondition that its first arrival ends (RFC 9110 §13).
fn may_be_repeated(request: &Request<Bytes>) -> bool {
    let (method, headers) = (request.method(), request.headers());
    let only_reads = method.is_safe() || matches!(method.as_str(), "PROPFIND" | "REPORT");
    only_reads || headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH)
}

/// An answer, and whether its place has changed for good.
#[derive(Debug)]
pub struct Delivery {
    /// The answer.
    pub answer: Answer,
    /// Where permanent redirects led.
    pub moved: Option<Url>,
}

fn elsewhere(url: &Url) -> Problem {
    let reason = format!("it leads to another server, {}", url.host_str().unwrap_or("of no name"));
    Problem::RedirectRefused { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_one_effect_however_often_it_arrives_is_sent_again_by_itself() {
        let request = |name: &str, header: Option<&str>| {
            let mut request = Request::builder().method(name).uri("https://example.com/");
            if let Some(header) = header {
                request = request.header(header, "\"a\"");
            }
            request.body(Bytes::new()).unwrap()
        };

        for name in ["GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT"] {
            assert!(may_be_repeated(&request(name, None)), "{name}");
        }
        for name in ["POST", "PUT", "PATCH", "DELETE", "PROPPATCH", "MKCALENDAR", "MOVE", "LOCK"] {
            assert!(!may_be_repeated(&request(name, None)), "{name}");
        }
        assert!(may_be_repeated(&request("PATCH", Some("if-match"))));
        assert!(may_be_repeated(&request("PUT", Some("if-none-match"))));
    }
}
