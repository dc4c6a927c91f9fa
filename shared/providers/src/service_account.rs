//! Service accounts of Google with domain-wide delegation: an administrator has agreed for everybody of a domain, and an
//! assertion signed with the account's key takes the place of a person's consent (RFC 7523; Google, "Using OAuth 2.0
//! for Server to Server Applications").
//!
//! Nothing that a key file says decides where anything is sent: the token endpoint is the operator's. A refusal is
//! evidence against the person's account only where it names the person; everything else is about the key, the
//! delegation or the clock, and so the operator's affair.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use http::{HeaderMap, Request};
use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::caldav::error::{self, Attempt};
use crate::driver::{DriverError, Problem};
use crate::oauth::{Grant, OauthClient, short};

const MINT: Attempt =
    Attempt { operation: "ask for a token of a service account", action: "act for this person" };

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Longest life of an assertion, in seconds.
const LIFE_S: i64 = 3_600;
/// So much older than it is an assertion is said to be, for clocks that are behind ours.
const SKEW_S: i64 = 30;

/// A service account with its key.
pub struct ServiceAccount {
    email: String,
    key_id: String,
    pair: KeyPair,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("email", &self.email).finish_non_exhaustive()
    }
}

/// A key file that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It is no JSON, or lacks a field.
    #[error("the key file is not the JSON that Google's console gives out")]
    Unreadable,
    /// It is a key of another kind, such as an OAuth client's.
    #[error("the key file is not of a service account")]
    OtherKind,
    /// The private key in it cannot be used.
    #[error("the private key in the key file cannot be used")]
    Key,
}

#[derive(Deserialize)]
struct KeyFile {
    r#type: String,
    client_email: String,
    private_key_id: String,
    private_key: String,
}

impl ServiceAccount {
    /// Reads a key file (JSON, with the key as PKCS #8 in PEM).
    ///
    /// # Errors
    /// When it is not a service account's, or its key cannot be used.
    pub fn read(file: &SecretString) -> Result<Self, KeyFileError> {
        let mut file: KeyFile =
            serde_json::from_str(file.expose_secret()).map_err(|_| KeyFileError::Unreadable)?;
        let pair = key(&file.private_key);
        file.private_key.zeroize();
        if file.r#type != "service_account" || !file.client_email.contains('@') {
            return Err(KeyFileError::OtherKind);
        }
        let pair = pair.ok_or(KeyFileError::Key)?;
        Ok(Self { email: file.client_email, key_id: file.private_key_id, pair })
    }

    /// Its address, which is its name.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// The account's signed word that it acts for `subject`.
    fn assertion(&self, subject: &str, scopes: &[&str], audience: &str, now: Timestamp) -> Option<String> {
        let issued = now.0 / 1_000 - SKEW_S;
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id });
        let claims = json!({
            "iss": self.email, "sub": subject, "scope": scopes.join(" "), "aud": audience,
            "iat": issued, "exp": issued + LIFE_S,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&head), part(&claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).ok()?;
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The key of a PEM text (RFC 7468 §10).
fn key(pem: &str) -> Option<KeyPair> {
    let body = pem.split_once("-----BEGIN PRIVATE KEY-----")?.1.split_once("-----END PRIVATE KEY-----")?.0;
    let mut body: String = body.split_whitespace().collect();
    let der = STANDARD.decode(&body);
    body.zeroize();
    let mut der = der.ok()?;
    let pair = KeyPair::from_pkcs8(&der).ok();
    der.zeroize();
    pair
}

/// What the token endpoint answers.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    expires_in: Option<u64>,
    scope: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl OauthClient {
    /// An access token with which `account` acts for the person of that address. There is no refresh token: the next
    /// one is asked for in the same way.
    ///
    /// # Errors
    /// [`FailureClass::Auth`] with [`Problem::AccessRevoked`] when the provider says that there is no such person,
    /// [`FailureClass::Permanent`] with [`Problem::ClientRefused`] when it does not accept the account, its key or
    /// its delegation, and what the network does.
    pub async fn act_for(
        &self,
        account: &ServiceAccount,
        subject: &str,
        scopes: &[&str],
        now: Timestamp,
    ) -> Result<Grant, DriverError> {
        let url = &self.settings().token_url;
        let assertion = account.assertion(subject, scopes, url.as_str(), now);
        let assertion = assertion.ok_or_else(|| refused("the service account's key cannot sign"))?;
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT_TYPE)
            .append_pair("assertion", &assertion)
            .finish();
        let request = Request::post(url.as_str())
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.into_bytes())
            .map_err(|error| refused("the request cannot be written").caused_by(error))?;
        let answer = self.send(MINT, request, now).await?;
        let status = answer.status();
        let Ok(said) = serde_json::from_slice::<Answer>(answer.body()) else {
            if !status.is_success() {
                return Err(error::of_status(MINT, status, &HeaderMap::new(), now));
            }
            let reason = "it is not the answer of an authorization server".to_owned();
            let problem = Problem::UnreadableAnswer { reason };
            return Err(DriverError::new(MINT.operation, FailureClass::Transient, problem));
        };
        match said {
            Answer { access_token: Some(token), expires_in, scope, .. } if status.is_success() => Ok(Grant {
                access_token: SecretString::from(token),
                refresh_token: None,
                expires_in: expires_in.map_or(crate::oauth::UNSAID_LIFE, std::time::Duration::from_secs),
                refresh_expires_in: None,
                scopes: scope.unwrap_or_default().split_whitespace().map(short).collect(),
                id_token: None,
            }),
            said => Err(judged(&said, scopes)),
        }
    }
}

/// What a refusal is about.
fn judged(said: &Answer, scopes: &[&str]) -> DriverError {
    let description = said.error_description.as_deref().unwrap_or_default();
    match said.error.as_deref() {
        Some("invalid_grant") if description.contains("Invalid email or User ID") => {
            DriverError::new(MINT.operation, FailureClass::Auth, Problem::AccessRevoked)
        }
        Some("invalid_grant") if description.contains("short-lived") => refused("our clock is wrong"),
        Some("invalid_grant") => refused("the service account or its key is not known there"),
        Some("unauthorized_client" | "access_denied") => {
            let scopes: Vec<String> = scopes.iter().map(|scope| short(scope)).collect();
            let scopes = scopes.join(", ");
            refused(&format!("domain-wide delegation of {scopes} to the service account is missing"))
        }
        _ => refused("the request of the service account was not understood"),
    }
}

fn refused(reason: &str) -> DriverError {
    let problem = Problem::ClientRefused { reason: reason.to_owned() };
    DriverError::new(MINT.operation, FailureClass::Permanent, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_accounts_key_file_is_read() {
        let read = |text: &str| ServiceAccount::read(&SecretString::from(text)).map(drop);
        let file = |kind: &str, key: &str| {
            json!({ "type": kind, "client_email": "robot@example.com", "private_key_id": "k", "private_key": key })
                .to_string()
        };

        assert_eq!(read("{}"), Err(KeyFileError::Unreadable));
        assert_eq!(read(&file("authorized_user", "")), Err(KeyFileError::OtherKind));
        for key in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "é-----BEGIN"] {
            assert_eq!(read(&file("service_account", key)), Err(KeyFileError::Key), "{key:?}");
        }
    }

    #[test]
    fn only_a_refusal_that_names_the_person_is_about_the_person() {
        let class = |error: &str, description: &str| {
            let said = Answer {
                access_token: None,
                expires_in: None,
                scope: None,
                error: Some(error.to_owned()),
                error_description: Some(description.to_owned()),
            };
            judged(&said, &["https://www.googleapis.com/auth/calendar.readonly"]).class
        };

        assert_eq!(class("invalid_grant", "Invalid email or User ID"), FailureClass::Auth);
        for (error, description) in [
            ("invalid_grant", "Invalid JWT Signature."),
            ("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes)"),
            ("unauthorized_client", "Client is unauthorized"),
            ("invalid_request", ""),
        ] {
            assert_eq!(class(error, description), FailureClass::Permanent, "{error}: {description}");
        }
    }
}
