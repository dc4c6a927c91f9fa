//! How a request proves on whose behalf it is sent: Basic (RFC 7617), Digest (RFC 7616) or Bearer (RFC 6750).
//!
//! Basic is sent unasked over TLS: some servers answer anonymously instead of asking, and then show an empty
//! account. Over plain `http` the server is asked first, because it may offer Digest. What a server wants is
//! remembered for the process in a [`SchemeMemory`], a Digest nonce with its counter included, so that a poll
//! stays one request.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calfleet_domain::clock::Rng;
use calfleet_domain::model::Authentication;
use digest_auth::{AuthContext, HttpMethod, WwwAuthenticateHeader};
use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use url::Url;

/// Accounts remembered before all are forgotten; forgetting costs one request each.
const MEMORY_ENTRIES: usize = 50_000;

/// What a server is known to want from an account.
#[derive(Debug, Clone, Default)]
enum Scheme {
    /// Nothing is known.
    #[default]
    Unknown,
    Basic,
    Digest(Box<WwwAuthenticateHeader>),
}

/// What servers are known to want, shared by all drivers of a process.
#[derive(Debug, Default)]
pub struct SchemeMemory {
    known: Mutex<HashMap<[u8; 32], Arc<Mutex<Scheme>>>>,
}

impl SchemeMemory {
    fn entry(&self, key: [u8; 32]) -> Arc<Mutex<Scheme>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MEMORY_ENTRIES {
            known.clear();
        }
        known.entry(key).or_default().clone()
    }
}

/// What follows from a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterChallenge {
    /// Another way was found, or a fresh nonce: the same request may be sent again.
    Retry,
    /// What was sent was refused, or there is nothing to send.
    Refused,
}

/// Signs the requests of one account.
pub struct Authenticator {
    kind: Authentication,
    username: String,
    secret: Option<SecretString>,
    scheme: Arc<Mutex<Scheme>>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// For the account at `url`.
    pub fn new(
        url: &Url,
        kind: Authentication,
        username: Option<&str>,
        secret: Option<SecretString>,
        memory: &SchemeMemory,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let username = username.unwrap_or_default().to_owned();
        let mut key = Sha256::new();
        let password = secret.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        for part in [url.origin().ascii_serialization().as_str(), username.as_str(), password] {
            key.update(part.len().to_be_bytes());
            key.update(part.as_bytes());
        }
        let scheme = memory.entry(key.finalize().into());
        Self { kind, username, secret, scheme, rng }
    }

    /// Whether there is anything to sign with.
    pub fn has_credentials(&self) -> bool {
        self.kind != Authentication::None && self.secret.is_some()
    }

    /// Whether it is worth asking the server first which way it wants.
    pub fn wants_challenge(&self, url: &Url) -> bool {
        self.kind == Authentication::Password
            && url.scheme() == "http"
            && matches!(*self.scheme.lock().unwrap_or_else(PoisonError::into_inner), Scheme::Unknown)
    }

    /// Settles for Basic where the server did not ask for anything.
    pub fn settle(&self) {
        let mut scheme = self.scheme.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*scheme, Scheme::Unknown) {
            *scheme = Scheme::Basic;
        }
    }

    /// The `Authorization` of a request; `None` where nothing is sent.
    pub fn authorization(&self, method: &http::Method, url: &Url) -> Option<HeaderValue> {
        let secret = self.secret.as_ref()?.expose_secret();
        let text = match self.kind {
            Authentication::None => return None,
            Authentication::Bearer | Authentication::Oauth => format!("Bearer {secret}"),
            Authentication::Password => {
                let mut scheme = self.scheme.lock().unwrap_or_else(PoisonError::into_inner);
                match &mut *scheme {
                    Scheme::Digest(prompt) => self.digest(prompt, method, url, secret)?,
                    Scheme::Unknown if url.scheme() == "http" => return None,
                    Scheme::Unknown | Scheme::Basic => {
                        format!("Basic {}", STANDARD.encode(format!("{}:{secret}", self.username)))
                    }
                }
            }
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn digest(
        &self,
        prompt: &mut WwwAuthenticateHeader,
        method: &http::Method,
        url: &Url,
        secret: &str,
    ) -> Option<String> {
        let uri =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let method = HttpMethod::from(method.as_str());
        let mut context =
            AuthContext::new_with_method(self.username.as_str(), secret, uri, None::<&[u8]>, method);
        context.set_custom_cnonce(format!("{:016x}{:016x}", self.rng.next_u64(), self.rng.next_u64()));
        prompt.respond(&context).ok().map(|header| header.to_header_string())
    }

    /// Reads the challenges of a 401 that answered a request signed with `sent`.
    pub fn after_challenge(&self, headers: &HeaderMap, sent: Option<&HeaderValue>) -> AfterChallenge {
        if self.kind != Authentication::Password || self.secret.is_none() {
            return AfterChallenge::Refused;
        }
        let offers = Offers::of(headers);
        let mut scheme = self.scheme.lock().unwrap_or_else(PoisonError::into_inner);
        let sent_scheme =
            sent.and_then(|value| value.to_str().ok()).and_then(|value| value.split(' ').next());
        match (sent_scheme, offers.digest) {
            // A nonce that is too old is answered with a fresh one; the one that was sent again is a refusal.
            (Some("Digest"), Some(fresh)) if sent_nonce(sent) == Some(fresh.nonce.as_str()) => {
                AfterChallenge::Refused
            }
            (Some("Digest"), Some(fresh)) => {
                // Another request may have brought it already: its uses are counted on.
                if !matches!(&*scheme, Scheme::Digest(known) if known.nonce == fresh.nonce) {
                    *scheme = Scheme::Digest(Box::new(fresh));
                }
                AfterChallenge::Retry
            }
            (Some("Basic"), Some(digest)) if !offers.basic => {
                *scheme = Scheme::Digest(Box::new(digest));
                AfterChallenge::Retry
            }
            (Some(_), _) => AfterChallenge::Refused,
            (None, Some(digest)) => {
                *scheme = Scheme::Digest(Box::new(digest));
                AfterChallenge::Retry
            }
            // Without any offer too: some servers send 401 and say nothing.
            (None, None) => {
                *scheme = Scheme::Basic;
                AfterChallenge::Retry
            }
        }
    }
}

fn sent_nonce(sent: Option<&HeaderValue>) -> Option<&str> {
    sent?.to_str().ok()?.split("nonce=\"").nth(1)?.split('"').next()
}

/// What a 401 offers, of what we can do.
struct Offers {
    basic: bool,
    digest: Option<WwwAuthenticateHeader>,
}

impl Offers {
    fn of(headers: &HeaderMap) -> Self {
        let mut offers = Self { basic: false, digest: None };
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(value) = value.to_str() else { continue };
            for challenge in split_challenges(value) {
                let (scheme, _) = challenge.split_once(' ').unwrap_or((challenge, ""));
                if scheme.eq_ignore_ascii_case("basic") {
                    offers.basic = true;
                } else if scheme.eq_ignore_ascii_case("digest")
                    && let Ok(prompt) = digest_auth::parse(challenge)
                    // The first that is understood is the server's favourite (RFC 7616 §3.7).
                    && offers.digest.is_none()
                {
                    offers.digest = Some(prompt);
                }
            }
        }
        offers
    }
}

/// One header line may hold several challenges: `Basic realm="a", Digest realm="b", nonce="c"`.
fn split_challenges(line: &str) -> Vec<&str> {
    let mut challenges = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                let rest = line.get(at + 1..).unwrap_or_default().trim_start();
                // A challenge begins with a word that is followed by a space; a parameter has `=` there.
                let word = rest.split([' ', '=', ',']).next().unwrap_or_default();
                if rest.as_bytes().get(word.len()) == Some(&b' ') {
                    challenges.push(line.get(start..at).unwrap_or_default().trim());
                    start = at + 1;
                }
            }
            _ => {}
        }
    }
    challenges.push(line.get(start..).unwrap_or_default().trim());
    challenges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed;

    impl Rng for Fixed {
        fn next_u64(&self) -> u64 {
            7
        }
    }

    fn authenticator(url: &str, memory: &SchemeMemory) -> (Url, Authenticator) {
        let url = Url::parse(url).unwrap();
        let ada = Authenticator::new(
            &url,
            Authentication::Password,
            Some("ada"),
            Some("s3cret".into()),
            memory,
            Arc::new(Fixed),
        );
        (url, ada)
    }

    fn challenge(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (WWW_AUTHENTICATE, HeaderValue::from_static(line))).collect()
    }

    fn signed(ada: &Authenticator, url: &Url) -> Option<String> {
        ada.authorization(&http::Method::GET, url).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn basic_is_sent_unasked_over_tls_only() {
        let memory = SchemeMemory::default();
        let (url, ada) = authenticator("https://dav.example.com/", &memory);
        assert_eq!(signed(&ada, &url).as_deref(), Some("Basic YWRhOnMzY3JldA=="));

        let (url, ada) = authenticator("http://dav.example.com/", &memory);
        assert!(ada.wants_challenge(&url));
        assert_eq!(signed(&ada, &url), None);
    }

    #[test]
    fn digest_is_preferred_where_it_is_offered_and_its_nonce_is_used_again() {
        let memory = SchemeMemory::default();
        let (url, ada) = authenticator("http://dav.example.com/cal/", &memory);
        let offer = challenge(&[
            r#"Basic realm="x, y", Digest realm="x", qop="auth", nonce="n1", algorithm=SHA-256"#,
        ]);

        assert_eq!(ada.after_challenge(&offer, None), AfterChallenge::Retry);

        let first = signed(&ada, &url).unwrap();
        assert!(first.starts_with("Digest ") && first.contains("nc=00000001"), "{first}");
        // Another driver of the same account goes on counting.
        let (url, again) = authenticator("http://dav.example.com/cal/", &memory);
        let second = signed(&again, &url).unwrap();
        assert!(second.contains("nc=00000002") && second.contains("nonce=\"n1\""), "{second}");
    }

    #[test]
    fn a_stale_nonce_is_replaced_and_a_refusal_is_a_refusal() {
        let memory = SchemeMemory::default();
        let (url, ada) = authenticator("http://dav.example.com/cal/", &memory);
        ada.after_challenge(&challenge(&[r#"Digest realm="x", qop="auth", nonce="n1""#]), None);
        let sent = ada.authorization(&http::Method::GET, &url);

        let fresh = challenge(&[r#"Digest realm="x", qop="auth", nonce="n2", stale=true"#]);
        assert_eq!(ada.after_challenge(&fresh, sent.as_ref()), AfterChallenge::Retry);

        let sent = ada.authorization(&http::Method::GET, &url);
        assert_eq!(ada.after_challenge(&fresh, sent.as_ref()), AfterChallenge::Refused);
    }

    #[test]
    fn two_requests_that_meet_one_stale_nonce_both_get_another_chance() {
        let memory = SchemeMemory::default();
        let (url, ada) = authenticator("http://dav.example.com/cal/", &memory);
        ada.after_challenge(&challenge(&[r#"Digest realm="x", qop="auth", nonce="n1""#]), None);
        let first = ada.authorization(&http::Method::GET, &url);
        let second = ada.authorization(&http::Method::GET, &url);
        let fresh = challenge(&[r#"Digest realm="x", qop="auth", nonce="n2", stale=true"#]);

        assert_eq!(ada.after_challenge(&fresh, first.as_ref()), AfterChallenge::Retry);
        let first = signed(&ada, &url).unwrap();
        assert_eq!(ada.after_challenge(&fresh, second.as_ref()), AfterChallenge::Retry);
        let second = signed(&ada, &url).unwrap();

        // a nonce is counted on: the same count twice would be a replay
        assert!(first.contains("nonce=\"n2\"") && first.contains("nc=00000001"), "{first}");
        assert!(second.contains("nonce=\"n2\"") && second.contains("nc=00000002"), "{second}");
    }

    #[test]
    fn a_refused_password_is_not_sent_twice_and_silence_means_basic() {
        let memory = SchemeMemory::default();
        let (url, ada) = authenticator("https://dav.example.com/", &memory);
        let sent = ada.authorization(&http::Method::GET, &url);
        assert_eq!(
            ada.after_challenge(&challenge(&["Basic realm=x"]), sent.as_ref()),
            AfterChallenge::Refused
        );
        assert_eq!(ada.after_challenge(&HeaderMap::new(), None), AfterChallenge::Retry);
    }
}
