//! Google's authorization server: consent, tokens, revocation, keys.

use http::header::{CACHE_CONTROL, LOCATION};
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Google;
use super::call::bearer;
use super::error::JSON;
use super::fields::set;
use crate::answer::Answer;
use crate::oauth::consent::{Decision, Page};
use crate::oauth::tokens::{Consent, Grant, Refused};
use crate::oauth::{field, form, jwt, with_query};

/// Live refresh tokens of one account and client; one more ends the oldest.
const MOST_REFRESH_TOKENS: usize = 100;

/// Life of refresh tokens of an application in testing, in milliseconds.
const TESTING_MS: i64 = 7 * 86_400_000;

/// Longest life of a service account's assertion, in seconds, with some room for clocks.
const ASSERTION_S: i64 = 3_600 + 300;

/// The audience that official clients name wherever they send an assertion.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";

/// The issuer that id tokens name.
fn issuer(url: &str) -> String {
    format!("{url}/google")
}

/// Answers a request of the authorization server.
pub(crate) fn answer(google: &mut Google, head: &Parts, body: &[u8], url: &str, now: i64) -> Answer {
    let path = head.uri.path().strip_prefix(super::ROOT).unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    match (&head.method, path) {
        (&Method::GET, ".well-known/openid-configuration") => document(&configuration(url)),
        (&Method::GET, "o/oauth2/v2/auth") => ask(google, query),
        (&Method::POST, "o/oauth2/v2/auth") => decide(google, body, query, url, now),
        (&Method::POST, "token") => match token(google, head, &form(body), url, now) {
            Ok(answer) => document(&answer).header(CACHE_CONTROL, "no-store"),
            Err(refusal) => refusal.answer(),
        },
        (&Method::POST, "revoke") => revoke(google, body, query),
        (&Method::GET, "oauth2/v3/certs") => {
            let keys: Vec<Value> = google.key.iter().map(|key| key.jwk()).collect();
            document(&json!({ "keys": keys })).header(CACHE_CONTROL, "public, max-age=3600")
        }
        (&Method::GET, "v1/userinfo" | "oauth2/v3/userinfo") => userinfo(google, head, now),
        _ => Answer::status(StatusCode::NOT_FOUND),
    }
}

fn document(value: &Value) -> Answer {
    Answer::status(StatusCode::OK).with_body(JSON, value.to_string())
}

fn configuration(url: &str) -> Value {
    let root = issuer(url);
    json!({
        "issuer": root,
        "authorization_endpoint": format!("{root}/o/oauth2/v2/auth"),
        "token_endpoint": format!("{root}/token"),
        "revocation_endpoint": format!("{root}/revoke"),
        "jwks_uri": format!("{root}/oauth2/v3/certs"),
        "userinfo_endpoint": format!("{root}/v1/userinfo"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "email", "profile"],
        "code_challenge_methods_supported": ["S256"],
        "grant_types_supported":
            ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
    })
}

/// A refusal of the token endpoint (RFC 6749 §5.2).
struct Refusal {
    code: u16,
    error: &'static str,
    description: &'static str,
}

impl Refusal {
    fn grant(description: &'static str) -> Self {
        Self { code: 400, error: "invalid_grant", description }
    }

    fn answer(&self) -> Answer {
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::BAD_REQUEST);
        let body = json!({ "error": self.error, "error_description": self.description });
        Answer::status(status).with_body(JSON, body.to_string()).header(CACHE_CONTROL, "no-store")
    }
}

/// What is wrong with an authorization request; such a request goes nowhere.
fn fault(request: &[(String, String)]) -> Option<&'static str> {
    let value = |name: &str| field(request, name).unwrap_or_default();
    if value("client_id").is_empty() || value("redirect_uri").is_empty() || value("scope").is_empty() {
        return Some("Error 400: invalid_request: client_id, redirect_uri and scope are required");
    }
    if value("response_type") != "code" {
        return Some("Error 400: unsupported_response_type");
    }
    if field(request, "code_challenge").is_some() && value("code_challenge_method") != "S256" {
        return Some("Error 400: invalid_request: code_challenge_method must be S256");
    }
    None
}

fn ask(google: &Google, query: &str) -> Answer {
    let request = form(query.as_bytes());
    if let Some(fault) = fault(&request) {
        return Answer::plain(StatusCode::BAD_REQUEST, fault);
    }
    let hint = field(&request, "login_hint").unwrap_or_default().to_lowercase();
    let mut accounts: Vec<String> = google.accounts.keys().cloned().collect();
    accounts.sort_by_key(|account| *account != hint);
    let scopes = field(&request, "scope").unwrap_or_default().split(' ').map(str::to_owned).collect();
    let client = field(&request, "client_id").unwrap_or_default();
    let page = Page { provider: "Google", client, request: query, accounts, scopes };
    Answer::status(StatusCode::OK).with_body("text/html; charset=utf-8", page.html())
}

fn decide(google: &mut Google, body: &[u8], query: &str, url: &str, now: i64) -> Answer {
    let decision = Decision::read(body);
    let request = if decision.request.is_empty() { query } else { &decision.request };
    let request = form(request.as_bytes());
    if let Some(fault) = fault(&request) {
        return Answer::plain(StatusCode::BAD_REQUEST, fault);
    }
    let value = |name: &str| field(&request, name).unwrap_or_default();
    let issuer = issuer(url);
    let back = |pairs: &[(&str, &str)]| {
        let mut all = vec![("state", value("state")), ("iss", issuer.as_str())];
        all.extend_from_slice(pairs);
        Answer::status(StatusCode::SEE_OTHER).header(LOCATION, &with_query(value("redirect_uri"), &all))
    };
    let account = decision.account.to_lowercase();
    if !decision.is_allowed || !google.accounts.contains_key(&account) {
        return back(&[("error", "access_denied")]);
    }
    let asked: Vec<&str> = value("scope").split(' ').collect();
    let is_basic = |scope: &&str| matches!(*scope, "openid" | "email" | "profile");
    let granted = asked
        .iter()
        .filter(|scope| is_basic(scope) || decision.scopes.iter().any(|ticked| ticked == **scope));
    let scopes: Vec<String> = granted.map(|scope| full_name(scope)).collect();
    let shown = scopes.join(" ");
    let is_first = !google.tokens.has_refresh(&account, value("client_id"));
    let is_offline = value("access_type") == "offline"
        && (is_first || value("prompt").split(' ').any(|prompt| prompt == "consent"));
    let consent = Consent {
        grant: Grant { client: value("client_id").to_owned(), account, scopes },
        redirect_uri: value("redirect_uri").to_owned(),
        challenge: field(&request, "code_challenge").map(str::to_owned),
        nonce: field(&request, "nonce").map(str::to_owned),
        is_offline,
    };
    let code = google.tokens.give_code("4/0A", consent, now);
    back(&[("code", &code), ("scope", &shown)])
}

/// Scopes are answered by their full names.
fn full_name(scope: &str) -> String {
    match scope {
        "email" | "profile" => format!("https://www.googleapis.com/auth/userinfo.{scope}"),
        other => other.to_owned(),
    }
}

fn token(
    google: &mut Google,
    head: &Parts,
    request: &[(String, String)],
    url: &str,
    now: i64,
) -> Result<Value, Refusal> {
    match field(request, "grant_type").unwrap_or_default() {
        "authorization_code" => {
            let client = client(google, head, request)?;
            exchange(google, &client, request, url, now)
        }
        "refresh_token" => {
            let client = client(google, head, request)?;
            let text = field(request, "refresh_token").unwrap_or_default();
            let grant = google.tokens.refresh(text, &client, now).map_err(|refused| match refused {
                Refused::Expired => Refusal::grant("Token has been expired or revoked."),
                Refused::WrongClient => {
                    Refusal { code: 401, error: "unauthorized_client", description: "Unauthorized" }
                }
                _ => Refusal::grant("Bad Request"),
            })?;
            let grant = grant.clone();
            Ok(access(google, grant, now))
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            assertion(google, field(request, "assertion").unwrap_or_default(), url, now)
        }
        _ => Err(Refusal { code: 400, error: "unsupported_grant_type", description: "Invalid grant_type" }),
    }
}

/// The client that asks, when its secret is right.
fn client(google: &Google, head: &Parts, request: &[(String, String)]) -> Result<String, Refusal> {
    use base64::Engine as _;
    let refusal = Refusal { code: 401, error: "invalid_client", description: "Unauthorized" };
    let header = head.headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let basic = header.and_then(|value| value.strip_prefix("Basic ")).and_then(|text| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((crate::caldav::decode(id), crate::caldav::decode(secret)))
    });
    let posted = || {
        let secret = field(request, "client_secret").unwrap_or_default();
        Some((field(request, "client_id")?.to_owned(), secret.to_owned()))
    };
    let Some((id, secret)) = basic.or_else(posted) else { return Err(refusal) };
    match &google.habits.client_secret {
        Some(right) if *right != secret => Err(refusal),
        _ => Ok(id),
    }
}

fn access(google: &mut Google, grant: Grant, now: i64) -> Value {
    let life_s = google.habits.access_token_s;
    let scope = grant.scopes.join(" ");
    let text = google.tokens.give_access("ya29.", grant, now + i64::from(life_s) * 1_000);
    json!({ "access_token": text, "expires_in": life_s, "scope": scope, "token_type": "Bearer" })
}

fn exchange(
    google: &mut Google,
    client: &str,
    request: &[(String, String)],
    url: &str,
    now: i64,
) -> Result<Value, Refusal> {
    let value = |name: &str| field(request, name).unwrap_or_default();
    let verifier = field(request, "code_verifier");
    let consent = google.tokens.redeem(value("code"), (client, value("redirect_uri")), verifier, now);
    let consent = consent.map_err(|refused| match refused {
        Refused::WrongRedirect => {
            Refusal { code: 400, error: "redirect_uri_mismatch", description: "Bad Request" }
        }
        Refused::WrongVerifier => Refusal::grant("Invalid code verifier."),
        _ => Refusal::grant("Malformed auth code."),
    })?;
    let grant = consent.grant.clone();
    let mut answer = access(google, grant.clone(), now);
    if consent.is_offline {
        let until = google.habits.testing.then_some(now + TESTING_MS);
        set(
            &mut answer,
            "refresh_token",
            json!(google.tokens.give_refresh("1//0", grant.clone(), until, MOST_REFRESH_TOKENS)),
        );
        if google.habits.testing {
            set(&mut answer, "refresh_token_expires_in", json!(TESTING_MS / 1_000));
        }
    }
    if grant.scopes.iter().any(|scope| scope == "openid") {
        let claims = claims(google, &grant, consent.nonce.as_deref(), url, now);
        set(&mut answer, "id_token", json!(google.key.as_ref().and_then(|key| key.sign(&claims))));
    }
    Ok(answer)
}

fn claims(google: &Google, grant: &Grant, nonce: Option<&str>, url: &str, now: i64) -> Value {
    let sub = google.accounts.get(&grant.account).map(|account| account.sub.clone());
    let mut claims = json!({
        "iss": issuer(url),
        "aud": grant.client,
        "azp": grant.client,
        "sub": sub,
        "iat": now / 1_000,
        "exp": now / 1_000 + 3_600,
    });
    if grant.scopes.iter().any(|scope| scope.ends_with("userinfo.email")) {
        set(&mut claims, "email", json!(grant.account));
        set(&mut claims, "email_verified", json!(true));
    }
    if let Some(nonce) = nonce {
        set(&mut claims, "nonce", json!(nonce));
    }
    claims
}

/// A service account's own word (RFC 7523), for itself or for the person it stands in for.
fn assertion(google: &mut Google, text: &str, url: &str, now: i64) -> Result<Value, Refusal> {
    let unsigned = jwt::unverified_claims(text).ok_or(Refusal::grant("Invalid JWT."))?;
    let name = unsigned.get("iss").and_then(Value::as_str).unwrap_or_default().to_owned();
    let account =
        google.service_accounts.get(&name).ok_or(Refusal::grant("Invalid grant: account not found"))?;
    let claims = account.key.verify(text).ok_or(Refusal::grant("Invalid JWT Signature."))?;
    let number = |claim: &str| claims.get(claim).and_then(Value::as_i64).unwrap_or(0);
    let now_s = now / 1_000;
    if number("exp") <= now_s || number("exp") - number("iat") > ASSERTION_S || number("iat") > now_s + 300 {
        return Err(Refusal::grant(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
        ));
    }
    let audience = claims.get("aud").and_then(Value::as_str).unwrap_or_default();
    if audience != format!("{}/token", issuer(url)) && audience != AUDIENCE {
        return Err(Refusal::grant("Invalid JWT: Failed audience check."));
    }
    let scopes: Vec<String> = claims
        .get("scope")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .split(' ')
        .map(str::to_owned)
        .collect();
    let person =
        claims.get("sub").and_then(Value::as_str).filter(|person| *person != name).map(str::to_lowercase);
    if person.is_some() && !scopes.iter().all(|scope| account.scopes.contains(scope)) {
        return Err(Refusal {
            code: 401,
            error: "unauthorized_client",
            description: "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
        });
    }
    let person = person.unwrap_or_else(|| name.clone());
    if !google.accounts.contains_key(&person) {
        return Err(Refusal::grant("Invalid email or User ID"));
    }
    Ok(access(google, Grant { client: name, account: person, scopes }, now))
}

fn revoke(google: &mut Google, body: &[u8], query: &str) -> Answer {
    let (posted, asked) = (form(body), form(query.as_bytes()));
    let text = field(&posted, "token").or_else(|| field(&asked, "token")).unwrap_or_default();
    if google.tokens.revoke(text) {
        return document(&json!({}));
    }
    Refusal { code: 400, error: "invalid_token", description: "Token expired or revoked" }.answer()
}

fn userinfo(google: &Google, head: &Parts, now: i64) -> Answer {
    let grant = bearer(&head.headers).and_then(|token| google.tokens.access(token, now).ok());
    let Some((grant, account)) = grant.and_then(|grant| Some((grant, google.accounts.get(&grant.account)?)))
    else {
        return Refusal { code: 401, error: "invalid_request", description: "Invalid Credentials" }.answer();
    };
    document(&json!({ "sub": account.sub, "email": grant.account, "email_verified": true }))
}
