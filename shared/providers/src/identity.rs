//! Who agreed: the id token of an `OpenID` Connect provider, checked against its published keys.
//!
//! The account is known by the provider's own stable id (`sub`, or `tid` with `oid`), never by an address: those
//! change and can be taken over.

use std::time::Duration;

use bytes::Bytes;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use http::Request;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::caldav::error::{self, Attempt};
use crate::driver::{DriverError, Problem};
use crate::http::{Allowance, HttpClient};

const KEYS: Attempt = Attempt { operation: "read the provider's keys", action: "read its keys" };
const CHECK: &str = "check who signed in";

/// How far the provider's clock may be from ours.
const SKEW: Duration = Duration::from_mins(5);
/// Most bytes of a key set; real ones are two kilobytes.
const MAX_BYTES: u64 = 256 << 10;

/// Who agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider's stable id of the account.
    pub account: String,
    /// A name for people, usually a mail address; says nothing about who it is.
    pub label: Option<String>,
}

/// What an id token has to say.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// Who issues; `{tid}` stands for the tenant that the token names.
    pub issuer: &'a str,
    /// Where its keys are.
    pub jwks_url: &'a Url,
    /// For whom: our client id.
    pub audience: &'a str,
    /// What the consent page was opened with.
    pub nonce: &'a str,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: i64,
    iat: i64,
    nonce: Option<String>,
    email: Option<String>,
    preferred_username: Option<String>,
    tid: Option<String>,
    oid: Option<String>,
}

/// Checks an id token: signature, issuer, audience, nonce and times.
///
/// # Errors
/// [`FailureClass::Permanent`] when it does not prove what it says, and what the network does to its keys.
pub async fn check(
    http: &HttpClient,
    token: &SecretString,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Identity, DriverError> {
    let token = token.expose_secret();
    let header = decode_header(token).map_err(|_| doubtful("it is no signed token"))?;
    let keys = keys(http, expected.jwks_url, now).await?;
    let key = match &header.kid {
        Some(kid) => keys.find(kid),
        None => keys.keys.first(),
    };
    let key = key.ok_or_else(|| doubtful("it is signed with a key that the provider does not publish"))?;
    let key = DecodingKey::from_jwk(key).map_err(|_| doubtful("its key cannot be used"))?;
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&[expected.audience]);
    // our clock decides, below
    rules.validate_exp = false;
    rules.set_required_spec_claims(&["aud"]);
    let claims = decode::<Claims>(token, &key, &rules)
        .map_err(|_| doubtful("its signature or audience is wrong"))?
        .claims;
    judge(claims, expected, now)
}

fn judge(claims: Claims, expected: &Expected<'_>, now: Timestamp) -> Result<Identity, DriverError> {
    let issuer = expected.issuer.replace("{tid}", claims.tid.as_deref().unwrap_or_default());
    let bare = |issuer: &str| issuer.trim_start_matches("https://").to_owned();
    if bare(&claims.iss) != bare(&issuer) {
        return Err(doubtful("somebody else issued it"));
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(doubtful("it belongs to another sign-in"));
    }
    let (now, skew) = (now.0 / 1000, i64::try_from(SKEW.as_secs()).unwrap_or_default());
    if claims.exp.saturating_add(skew) < now || claims.iat.saturating_sub(skew) > now {
        return Err(doubtful("it is of another time"));
    }
    let account = match (claims.tid, claims.oid) {
        (Some(tid), Some(oid)) => format!("{tid}/{oid}"),
        _ => claims.sub,
    };
    Ok(Identity { account, label: claims.email.or(claims.preferred_username) })
}

async fn keys(http: &HttpClient, url: &Url, now: Timestamp) -> Result<JwkSet, DriverError> {
    let deadline = http.settings().total_timeout;
    let allowance =
        Allowance { max_bytes: MAX_BYTES, setting: "max_listing_bytes", deadline, patience: deadline };
    let request = Request::get(url.as_str()).body(Bytes::new()).map_err(|error| {
        let problem = Problem::InvalidUrl { reason: "the address of its keys cannot be used".to_owned() };
        DriverError::new(KEYS.operation, FailureClass::Permanent, problem).caused_by(error)
    })?;
    let answer = http.send(KEYS.operation, request, allowance).await?;
    if !answer.status.is_success() {
        return Err(error::of_status(KEYS, answer.status, &answer.headers, now));
    }
    let body = answer.body.all().await?;
    serde_json::from_slice(&body).map_err(|error| {
        let problem = Problem::UnreadableAnswer { reason: "it is no set of keys".to_owned() };
        DriverError::new(KEYS.operation, FailureClass::Transient, problem).caused_by(error)
    })
}

fn doubtful(reason: &str) -> DriverError {
    let reason = format!("the proof of who signed in does not hold: {reason}");
    DriverError::new(CHECK, FailureClass::Permanent, Problem::UnreadableAnswer { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            iss: "https://accounts.google.com".to_owned(),
            sub: "1234".to_owned(),
            exp: 2_000,
            iat: 1_000,
            nonce: Some("n".to_owned()),
            email: Some("ada@example.com".to_owned()),
            preferred_username: None,
            tid: None,
            oid: None,
        }
    }

    fn judged(claims: Claims, now: i64) -> Result<Identity, DriverError> {
        let jwks_url = Url::parse("https://example.com/keys").unwrap();
        let issuer = "https://accounts.google.com";
        let expected = Expected { issuer, jwks_url: &jwks_url, audience: "us", nonce: "n" };
        judge(claims, &expected, Timestamp(now * 1000))
    }

    #[test]
    fn an_account_is_known_by_its_stable_id() {
        assert_eq!(judged(claims(), 1_500).unwrap().account, "1234");
        let bare = Claims { iss: "accounts.google.com".to_owned(), ..claims() };
        assert!(judged(bare, 1_500).is_ok());
    }

    #[test]
    fn a_token_of_another_sign_in_issuer_or_time_proves_nothing() {
        for (odd, now) in [
            (Claims { nonce: Some("other".to_owned()), ..claims() }, 1_500),
            (Claims { nonce: None, ..claims() }, 1_500),
            (Claims { iss: "https://evil.example".to_owned(), ..claims() }, 1_500),
            (claims(), 2_000 + 301),
            (claims(), 1_000 - 301),
        ] {
            assert!(judged(odd, now).is_err());
        }
    }
}
