//! OAuth 2.0 at a provider: where a person agrees, codes and refresh tokens for tokens, and the end of a grant.
//!
//! Requests go through the guarded client. Only an answer of the token endpoint itself, with status 400 and an error
//! of the `invalid_grant` class in JSON, is evidence that a person's authorization is over
//! ([`Problem::AccessRevoked`]); a proxy's page, a 5xx or a lost connection never is, and a client that the provider
//! does not know is the operator's affair.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use calfleet_domain::clock::Timestamp;
use calfleet_domain::failure::FailureClass;
use calfleet_domain::model::ProviderKind;
use http::{HeaderMap, Request, Response, StatusCode};
use oauth2::basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenType};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, StandardRevocableToken, StandardTokenIntrospectionResponse,
    StandardTokenResponse, TokenResponse, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::caldav::error::{self, Attempt};
use crate::driver::{DriverError, Problem};
use crate::http::{Allowance, HttpClient};
use crate::identity::{self, Expected, Identity};

const EXCHANGE: Attempt = Attempt { operation: "exchange the code", action: "finish the sign-in" };
const REFRESH: Attempt = Attempt { operation: "refresh the token", action: "refresh the authorization" };
const REVOKE: Attempt = Attempt { operation: "revoke the authorization", action: "revoke the authorization" };

/// Longest wait for a token: shorter than a lease, so that whoever refreshes still holds it afterwards.
const DEADLINE: Duration = Duration::from_secs(15);
/// Most bytes of an answer; tokens are a few kilobytes.
const MAX_BYTES: u64 = 256 << 10;
/// The life of an access token whose provider does not say: as short as any.
pub(crate) const UNSAID_LIFE: Duration = Duration::from_mins(30);

/// Where a provider's authorization server is, and who we are there.
#[derive(Debug, Clone)]
pub struct OauthSettings {
    /// Which provider.
    pub provider: ProviderKind,
    /// Our name there.
    pub client_id: String,
    /// Our secret there.
    pub client_secret: SecretString,
    /// Where a person agrees.
    pub authorize_url: Url,
    /// Where codes and refresh tokens become tokens.
    pub token_url: Url,
    /// Where a grant is ended; `None` where the provider has no such place.
    pub revoke_url: Option<Url>,
    /// Who signs the id tokens; `{tid}` stands for the tenant that a token names.
    pub issuer: String,
    /// Where the keys are that it signs with.
    pub jwks_url: Url,
    /// Where the person is sent back to; registered with the provider.
    pub redirect_url: Url,
    /// Further parameters of the consent page.
    pub extra: Vec<(String, String)>,
}

/// What a consent page is opened with. Kept until the person comes back.
#[derive(Debug)]
pub struct Consent {
    /// The page.
    pub url: Url,
    /// Proves that the code belongs to this attempt (RFC 7636).
    pub verifier: SecretString,
}

/// What a token endpoint gave.
#[derive(Debug)]
pub struct Grant {
    /// For requests.
    pub access_token: SecretString,
    /// For the next access token; `None` where the one before stays good.
    pub refresh_token: Option<SecretString>,
    /// How long the access token lives.
    pub expires_in: Duration,
    /// How long the refresh token lives, where the provider says.
    pub refresh_expires_in: Option<Duration>,
    /// What was granted; empty where the answer does not say, which means "as asked".
    pub scopes: BTreeSet<String>,
    /// Who agreed, as a signed token.
    pub id_token: Option<SecretString>,
}

/// Fields beyond RFC 6749.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Extra {
    id_token: Option<String>,
    refresh_token_expires_in: Option<u64>,
}

impl ExtraTokenFields for Extra {}

type Answer = StandardTokenResponse<Extra, BasicTokenType>;
type Client = oauth2::Client<
    BasicErrorResponse,
    Answer,
    StandardTokenIntrospectionResponse<Extra, BasicTokenType>,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// Our client at one provider's authorization server.
#[derive(Debug, Clone)]
pub struct OauthClient {
    settings: OauthSettings,
    client: Client,
    http: HttpClient,
}

impl OauthClient {
    /// A client that asks through `http`.
    pub fn new(settings: OauthSettings, http: HttpClient) -> Self {
        let client = oauth2::Client::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(settings.client_secret.expose_secret().to_owned()))
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(AuthUrl::from_url(settings.authorize_url.clone()))
            .set_token_uri(TokenUrl::from_url(settings.token_url.clone()))
            .set_redirect_uri(RedirectUrl::from_url(settings.redirect_url.clone()));
        Self { settings, client, http }
    }

    /// The same place for another client of ours there.
    #[must_use]
    pub fn of(&self, client_id: &str, client_secret: SecretString) -> Self {
        let settings =
            OauthSettings { client_id: client_id.to_owned(), client_secret, ..self.settings.clone() };
        Self::new(settings, self.http.clone())
    }

    /// Where and who.
    pub fn settings(&self) -> &OauthSettings {
        &self.settings
    }

    /// The page on which a person agrees to `scopes`; `state` comes back with the person, `nonce` in the id token.
    pub fn consent(&self, state: &SecretString, nonce: &str, scopes: &[&str], hint: Option<&str>) -> Consent {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let state = state.expose_secret().to_owned();
        let mut request = self
            .client
            .authorize_url(|| CsrfToken::new(state))
            .add_scopes(scopes.iter().map(|scope| Scope::new((*scope).to_owned())))
            .set_pkce_challenge(challenge)
            .add_extra_param("nonce", nonce);
        for (name, value) in &self.settings.extra {
            request = request.add_extra_param(name, value);
        }
        if let Some(hint) = hint {
            request = request.add_extra_param("login_hint", hint);
        }
        let (url, _) = request.url();
        Consent { url, verifier: SecretString::from(verifier.into_secret()) }
    }

    /// Who agreed, from the id token of a grant; `nonce` is what the consent page was opened with.
    ///
    /// # Errors
    /// When there is no id token, or it does not prove what it says.
    pub async fn identify(
        &self,
        granted: &Grant,
        nonce: &str,
        now: Timestamp,
    ) -> Result<Identity, DriverError> {
        let token = granted.id_token.as_ref().ok_or_else(|| {
            let reason = "it does not say who signed in".to_owned();
            DriverError::new(
                EXCHANGE.operation,
                FailureClass::Permanent,
                Problem::UnreadableAnswer { reason },
            )
        })?;
        let OauthSettings { issuer, jwks_url, client_id, .. } = &self.settings;
        let expected = Expected { issuer, jwks_url, audience: client_id, nonce };
        identity::check(&self.http, token, &expected, now).await
    }

    /// Exchanges a code, once.
    ///
    /// # Errors
    /// [`Problem::AccessRevoked`] when the code is of no use (any more), and as [`Self::refresh`].
    pub async fn exchange(
        &self,
        code: &SecretString,
        verifier: &SecretString,
        now: Timestamp,
    ) -> Result<Grant, DriverError> {
        let adapter = Adapter { client: self, attempt: EXCHANGE, now };
        let answer = self
            .client
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()))
            .request_async(&adapter)
            .await;
        answer.map(|answer| granted(&answer)).map_err(|error| refused(EXCHANGE, error))
    }

    /// A fresh access token, and a fresh refresh token where the provider rotates them: the one that was sent may be
    /// dead from then on.
    ///
    /// # Errors
    /// [`FailureClass::Auth`] with [`Problem::AccessRevoked`] on the provider's evidence that the authorization is
    /// over, [`FailureClass::Permanent`] when the provider does not accept us as a client, and what the network does.
    pub async fn refresh(&self, token: &SecretString, now: Timestamp) -> Result<Grant, DriverError> {
        let adapter = Adapter { client: self, attempt: REFRESH, now };
        let token = RefreshToken::new(token.expose_secret().to_owned());
        let answer = self.client.exchange_refresh_token(&token).request_async(&adapter).await;
        answer.map(|answer| granted(&answer)).map_err(|error| refused(REFRESH, error))
    }

    /// Ends a grant at the provider (RFC 7009): for every token that the account granted to this client. A grant that
    /// has ended already is fine; so is a provider without a place for it.
    ///
    /// # Errors
    /// What the network does, and refusals other than "it is dead already".
    pub async fn revoke(&self, token: &SecretString, now: Timestamp) -> Result<(), DriverError> {
        let Some(url) = &self.settings.revoke_url else { return Ok(()) };
        let body: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token.expose_secret())
            .finish();
        let request = Request::post(url.as_str())
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.into_bytes());
        let request = request.map_err(|error| {
            let problem = Problem::InvalidUrl { reason: "the request cannot be written".to_owned() };
            DriverError::new(REVOKE.operation, FailureClass::Permanent, problem).caused_by(error)
        })?;
        let answer = self.send(REVOKE, request, now).await?;
        match answer.status() {
            status if status.is_success() && !is_html(answer.headers()) => Ok(()),
            // a page in between, such as the log-in of a network
            status if status.is_success() => {
                Err(DriverError::new(REVOKE.operation, FailureClass::Transient, Problem::HtmlAnswer))
            }
            // a proxy's 400 says nothing about the token
            StatusCode::BAD_REQUEST if error_code(answer.body()).as_deref() == Some("invalid_token") => {
                Ok(())
            }
            status => Err(error::of_status(REVOKE, status, &HeaderMap::new(), now)),
        }
    }
}

impl OauthClient {
    /// Sends a request of ours that the library does not know.
    pub(crate) async fn send(
        &self,
        attempt: Attempt,
        request: Request<Vec<u8>>,
        now: Timestamp,
    ) -> Result<Response<Vec<u8>>, DriverError> {
        Adapter { client: self, attempt, now }.send(request).await
    }
}

fn is_html(headers: &HeaderMap) -> bool {
    let media_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media_type.is_some_and(|media_type| media_type.starts_with("text/html"))
}

/// The error of an authorization server's answer, if it is one.
fn error_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    serde_json::from_slice::<Refusal>(body).ok().map(|refusal| refusal.error)
}

/// The library's requests through our client.
struct Adapter<'a> {
    client: &'a OauthClient,
    attempt: Attempt,
    now: Timestamp,
}

impl<'c> AsyncHttpClient<'c> for Adapter<'_> {
    type Error = DriverError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, DriverError>> + Send + 'c>>;

    fn call(&'c self, request: Request<Vec<u8>>) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl Adapter<'_> {
    /// Sends; whatever is no answer of a token endpoint ends here and is never read as one.
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, DriverError> {
        let allowance = Allowance {
            max_bytes: MAX_BYTES,
            setting: "max_listing_bytes",
            deadline: DEADLINE,
            patience: DEADLINE,
        };
        let answer =
            self.client.http.send(self.attempt.operation, request.map(Bytes::from), allowance).await?;
        let (status, headers) = (answer.status, answer.headers.clone());
        let is_said = status.is_success()
            || matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if !is_said {
            return Err(error::of_status(self.attempt, status, &headers, self.now));
        }
        let mut response = Response::new(answer.body.all().await?.to_vec());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn granted(answer: &Answer) -> Grant {
    let secret = |text: &str| SecretString::from(text.to_owned());
    let extra = answer.extra_fields();
    Grant {
        access_token: secret(answer.access_token().secret()),
        refresh_token: answer.refresh_token().map(|token| secret(token.secret())),
        expires_in: answer.expires_in().unwrap_or(UNSAID_LIFE),
        refresh_expires_in: extra.refresh_token_expires_in.map(Duration::from_secs),
        scopes: answer.scopes().into_iter().flatten().map(|scope| short(scope)).collect(),
        id_token: extra.id_token.as_deref().map(secret),
    }
}

/// A scope without the address of its resource: both providers spell them either way.
pub fn short(scope: &str) -> String {
    let known = ["https://graph.microsoft.com/", "https://www.googleapis.com/auth/"];
    known.iter().find_map(|resource| scope.strip_prefix(resource)).unwrap_or(scope).to_ascii_lowercase()
}

/// What a failure means (RFC 6749 §5.2 and what the providers make of it).
fn refused(attempt: Attempt, error: RequestTokenError<DriverError, BasicErrorResponse>) -> DriverError {
    let new = |class, problem| DriverError::new(attempt.operation, class, problem);
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(response) => match response.error().as_ref() {
            "invalid_grant" | "interaction_required" | "consent_required" | "login_required" => {
                new(FailureClass::Auth, Problem::AccessRevoked)
            }
            "temporarily_unavailable" | "server_error" => {
                new(FailureClass::Transient, Problem::ServerError { status: 503 })
            }
            "slow_down" => new(FailureClass::Throttled { retry_after: None }, Problem::Throttled),
            // the text comes from outside: what is no code is not repeated
            code => {
                let is_code =
                    code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                let reason = if is_code { code } else { "refused" }.to_owned();
                new(FailureClass::Permanent, Problem::ClientRefused { reason })
            }
        },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            let reason = "it is not the answer of an authorization server".to_owned();
            new(FailureClass::Transient, Problem::UnreadableAnswer { reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_compared_without_their_resource() {
        assert_eq!(short("https://graph.microsoft.com/Calendars.Read"), short("Calendars.Read"));
        assert_eq!(short("https://www.googleapis.com/auth/calendar.readonly"), "calendar.readonly");
    }
}
