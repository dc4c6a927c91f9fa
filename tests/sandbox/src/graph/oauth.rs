//! Microsoft's authorization server: consent, codes, rotating tokens, keys (Microsoft identity platform v2.0).
//!
//! The tenant in an address is a hint, as `common` is; an id token names the account's own tenant as issuer.
//! A refresh hands out a new refresh token every time, and the old one lives on unless
//! [`super::GraphHabits::strict_rotation`] says otherwise.

use http::header::{CACHE_CONTROL, LOCATION};
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::RESOURCE;
use super::{Graph, set};
use crate::answer::Answer;
use crate::oauth::consent::{Decision, Page};
use crate::oauth::tokens::{Consent, Grant, Refused};
use crate::oauth::{field, form, with_query};

/// Content type of the token endpoint.
const JSON: &str = "application/json; charset=utf-8";

/// Life of a refresh token, in milliseconds: 90 days from its last use.
const REFRESH_MS: i64 = 90 * 86_400_000;

/// Answers a request of the authorization server.
pub(crate) fn answer(graph: &mut Graph, head: &Parts, body: &[u8], url: &str, now: i64) -> Answer {
    let path = head.uri.path().strip_prefix(super::ROOT).unwrap_or_default();
    let (tenant, rest) = path.split_once('/').unwrap_or((path, ""));
    let query = head.uri.query().unwrap_or_default();
    match (&head.method, rest) {
        (&Method::GET, "v2.0/.well-known/openid-configuration") => document(&configuration(url, tenant)),
        (&Method::GET, "oauth2/v2.0/authorize") => ask(graph, query),
        (&Method::POST, "oauth2/v2.0/authorize") => decide(graph, body, query, now),
        (&Method::POST, "oauth2/v2.0/token") => match token(graph, head, &form(body), url, now) {
            Ok(answer) => document(&answer).header(CACHE_CONTROL, "no-store"),
            Err(refusal) => refusal.answer(),
        },
        (&Method::GET, "discovery/v2.0/keys") => {
            let keys: Vec<Value> = graph.key.iter().map(|key| key.jwk()).collect();
            document(&json!({ "keys": keys })).header(CACHE_CONTROL, "public, max-age=86400")
        }
        _ => Answer::status(StatusCode::NOT_FOUND),
    }
}

fn document(value: &Value) -> Answer {
    Answer::status(StatusCode::OK).with_body(JSON, value.to_string())
}

fn configuration(url: &str, tenant: &str) -> Value {
    let root = format!("{url}/microsoft/{tenant}");
    let issuer = match tenant {
        "common" | "organizations" => format!("{url}/microsoft/{{tenantid}}/v2.0"),
        _ => format!("{root}/v2.0"),
    };
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{root}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{root}/oauth2/v2.0/token"),
        "jwks_uri": format!("{root}/discovery/v2.0/keys"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "tenant_region_scope": null,
    })
}

/// A refusal of the token endpoint, with its AADSTS number.
struct Refusal {
    status: u16,
    error: &'static str,
    number: u32,
    description: &'static str,
    suberror: Option<&'static str>,
}

impl Refusal {
    fn new(status: u16, error: &'static str, number: u32, description: &'static str) -> Self {
        Self { status, error, number, description, suberror: None }
    }

    fn because(mut self, suberror: &'static str) -> Self {
        self.suberror = Some(suberror);
        self
    }

    /// The refusal of a number.
    fn of(number: u32) -> Self {
        match number {
            50_034 => Self::new(400, "invalid_grant", number, "The user account does not exist in the directory."),
            50_057 => Self::new(400, "invalid_grant", number, "The user account is disabled."),
            50_076 => Self::new(
                400,
                "interaction_required",
                number,
                "Due to a configuration change made by your administrator, you must use multi-factor authentication.",
            )
            .because("basic_action"),
            50_079 => Self::new(400, "interaction_required", number, "The user is required to enroll in multi-factor authentication.")
                .because("basic_action"),
            50_173 => Self::new(400, "invalid_grant", number, "The provided grant has expired due to it being revoked.")
                .because("bad_token"),
            53_003 => Self::new(400, "interaction_required", number, "Access has been blocked by Conditional Access policies.")
                .because("message_only"),
            65_001 => Self::new(400, "invalid_grant", number, "The user or administrator has not consented to use the application.")
                .because("consent_required"),
            700_016 => Self::new(400, "unauthorized_client", number, "Application with identifier was not found in the directory."),
            700_082 => Self::new(400, "invalid_grant", number, "The refresh token has expired due to inactivity.")
                .because("token_expired"),
            7_000_215 => Self::new(401, "invalid_client", number, "Invalid client secret provided."),
            7_000_222 => Self::new(401, "invalid_client", number, "The provided client secret keys are expired."),
            90_033 => Self::new(503, "temporarily_unavailable", number, "A transient error has occurred. Please try again."),
            _ => Self::new(400, "invalid_grant", number, "The provided grant is of no use."),
        }
    }

    fn answer(&self) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut body = json!({
            "error": self.error,
            "error_description": format!("AADSTS{}: {}", self.number, self.description),
            "error_codes": [self.number],
            "trace_id": "00000000-0000-4000-8000-000000000000",
            "correlation_id": "00000000-0000-4000-8000-000000000000",
        });
        if let Some(suberror) = self.suberror {
            set(&mut body, "suberror", json!(suberror));
        }
        if self.error == "interaction_required" {
            set(&mut body, "claims", json!("{\"access_token\":{\"capolids\":{\"essential\":true}}}"));
        }
        Answer::status(status).with_body(JSON, body.to_string()).header(CACHE_CONTROL, "no-store")
    }
}

/// What is wrong with an authorization request; such a request goes nowhere.
fn fault(request: &[(String, String)]) -> Option<&'static str> {
    let value = |name: &str| field(request, name).unwrap_or_default();
    if value("client_id").is_empty() {
        return Some("AADSTS900144: The request body must contain the following parameter: 'client_id'.");
    }
    if value("redirect_uri").is_empty() || value("scope").is_empty() {
        return Some("AADSTS900144: The request body must contain 'redirect_uri' and 'scope'.");
    }
    if value("response_type") != "code" {
        return Some("AADSTS700054: response_type is not enabled for the application.");
    }
    if field(request, "code_challenge").is_some() && value("code_challenge_method") != "S256" {
        return Some("AADSTS501491: Invalid code_challenge_method.");
    }
    None
}

fn ask(graph: &Graph, query: &str) -> Answer {
    let request = form(query.as_bytes());
    if let Some(fault) = fault(&request) {
        return Answer::plain(StatusCode::BAD_REQUEST, fault);
    }
    let hint = field(&request, "login_hint").unwrap_or_default().to_lowercase();
    let mut accounts: Vec<String> = graph.accounts.keys().cloned().collect();
    accounts.sort_by_key(|account| *account != hint);
    let scopes = field(&request, "scope").unwrap_or_default().split(' ').map(str::to_owned).collect();
    let client = field(&request, "client_id").unwrap_or_default();
    let page = Page { provider: "Microsoft", client, request: query, accounts, scopes };
    Answer::status(StatusCode::OK).with_body("text/html; charset=utf-8", page.html())
}

fn decide(graph: &mut Graph, body: &[u8], query: &str, now: i64) -> Answer {
    let decision = Decision::read(body);
    let request = if decision.request.is_empty() { query } else { &decision.request };
    let request = form(request.as_bytes());
    if let Some(fault) = fault(&request) {
        return Answer::plain(StatusCode::BAD_REQUEST, fault);
    }
    let value = |name: &str| field(&request, name).unwrap_or_default();
    let back = |pairs: &[(&str, &str)]| {
        let all = [pairs, &[("state", value("state")), ("session_state", "sandbox")]].concat();
        Answer::status(StatusCode::SEE_OTHER).header(LOCATION, &with_query(value("redirect_uri"), &all))
    };
    let refused =
        |error: &str, description: &str| back(&[("error", error), ("error_description", description)]);
    let account = decision.account.to_lowercase();
    if !decision.is_allowed || !graph.accounts.contains_key(&account) {
        return refused("access_denied", "AADSTS65004: User declined to consent to access the app.");
    }
    if graph.habits.needs_admin_consent {
        return refused("consent_required", "AADSTS90094: The grant requires admin permission.");
    }
    // Microsoft's page has no boxes to untick: what is not basic is granted when it is in the decision.
    let is_basic = |scope: &str| matches!(scope, "openid" | "email" | "profile" | "offline_access");
    let asked = value("scope").split(' ').filter(|scope| !scope.is_empty());
    let granted =
        asked.filter(|scope| is_basic(scope) || decision.scopes.iter().any(|ticked| ticked == scope));
    let scopes: Vec<String> = granted.map(str::to_owned).collect();
    let is_offline = scopes.iter().any(|scope| scope == "offline_access");
    let consent = Consent {
        grant: Grant { client: value("client_id").to_owned(), account, scopes },
        redirect_uri: value("redirect_uri").to_owned(),
        challenge: field(&request, "code_challenge").map(str::to_owned),
        nonce: field(&request, "nonce").map(str::to_owned),
        is_offline,
    };
    let code = graph.tokens.give_code("0.AX", consent, now);
    back(&[("code", &code)])
}

fn token(
    graph: &mut Graph,
    head: &Parts,
    request: &[(String, String)],
    url: &str,
    now: i64,
) -> Result<Value, Refusal> {
    let value = |name: &str| field(request, name).unwrap_or_default();
    let client = client(graph, head, request)?;
    match value("grant_type") {
        "authorization_code" => exchange(graph, &client, request, url, now),
        "refresh_token" => {
            let old = value("refresh_token");
            let grant = graph.tokens.refresh(old, &client, now).map_err(|refused| match refused {
                Refused::Expired => Refusal::of(700_082),
                Refused::WrongClient => Refusal::of(700_016),
                _ => Refusal::of(50_173),
            })?;
            let grant = grant.clone();
            let is_wider =
                value("scope").split(' ').filter(|scope| !scope.is_empty()).any(|scope| !has(&grant, scope));
            if is_wider {
                return Err(Refusal::of(65_001));
            }
            if let Some(number) = graph.accounts.get(&grant.account).and_then(|account| account.refusal) {
                return Err(Refusal::of(number));
            }
            let answer = access(graph, &grant, now);
            if graph.habits.strict_rotation {
                graph.tokens.forget_refresh(old);
            }
            Ok(with_tokens(
                graph,
                answer,
                &Consent {
                    grant,
                    is_offline: true,
                    redirect_uri: String::new(),
                    challenge: None,
                    nonce: None,
                },
                url,
                now,
            ))
        }
        _ => Err(Refusal::new(
            400,
            "unsupported_grant_type",
            70_003,
            "The app requested an unsupported grant type.",
        )),
    }
}

/// Whether a grant holds a scope, written short or in full.
fn has(grant: &Grant, scope: &str) -> bool {
    let bare = |scope: &str| scope.strip_prefix(RESOURCE).unwrap_or(scope).to_owned();
    bare(scope) == ".default" || grant.scopes.iter().any(|given| bare(given) == bare(scope))
}

/// The client that asks, when its secret is right.
fn client(graph: &Graph, head: &Parts, request: &[(String, String)]) -> Result<String, Refusal> {
    use base64::Engine as _;
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
    let missing = || {
        Refusal::new(
            400,
            "invalid_request",
            900_144,
            "The request body must contain the following parameter: 'client_id'.",
        )
    };
    let (id, secret) = basic.or_else(posted).ok_or_else(missing)?;
    match &graph.habits.client_secret {
        Some(right) if *right != secret => Err(Refusal::of(7_000_215)),
        _ => Ok(id),
    }
}

fn exchange(
    graph: &mut Graph,
    client: &str,
    request: &[(String, String)],
    url: &str,
    now: i64,
) -> Result<Value, Refusal> {
    let value = |name: &str| field(request, name).unwrap_or_default();
    let verifier = field(request, "code_verifier");
    let consent = graph.tokens.redeem(value("code"), (client, value("redirect_uri")), verifier, now);
    let consent = consent.map_err(|refused| match refused {
        Refused::WrongVerifier => Refusal::new(
            400,
            "invalid_grant",
            501_481,
            "The Code_Verifier does not match the code_challenge.",
        ),
        Refused::WrongRedirect => {
            Refusal::new(400, "invalid_grant", 50_011, "The redirect URI does not match.")
        }
        Refused::Replayed => {
            Refusal::new(400, "invalid_grant", 54_005, "OAuth2 Authorization code was already redeemed.")
        }
        Refused::Expired => {
            Refusal::new(400, "invalid_grant", 70_008, "The provided authorization code has expired.")
        }
        _ => {
            Refusal::new(400, "invalid_grant", 9_002_313, "Invalid request. Request is malformed or invalid.")
        }
    })?;
    let answer = access(graph, &consent.grant, now);
    Ok(with_tokens(graph, answer, &consent, url, now))
}

/// The scopes as the token endpoint names them: resource scopes in full, `offline_access` never.
fn shown_scopes(graph: &Graph, grant: &Grant) -> String {
    let shown = grant.scopes.iter().filter(|scope| *scope != "offline_access").map(|scope| {
        let bare = scope.strip_prefix(RESOURCE).unwrap_or(scope);
        if graph.habits.short_scopes || matches!(bare, "openid" | "email" | "profile") {
            bare.to_owned()
        } else {
            format!("{RESOURCE}{bare}")
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn access(graph: &mut Graph, grant: &Grant, now: i64) -> Value {
    let life_s = graph.habits.access_token_s;
    let scope = shown_scopes(graph, grant);
    let text = graph.tokens.give_access("EwB", grant.clone(), now + i64::from(life_s) * 1_000);
    json!({ "token_type": "Bearer", "scope": scope, "expires_in": life_s, "ext_expires_in": life_s, "access_token": text })
}

/// The answer with a refresh token and an id token, where the scopes are for it.
fn with_tokens(graph: &mut Graph, mut answer: Value, consent: &Consent, url: &str, now: i64) -> Value {
    let grant = &consent.grant;
    if consent.is_offline {
        let refresh = graph.tokens.give_refresh("0.AR", grant.clone(), Some(now + REFRESH_MS), usize::MAX);
        set(&mut answer, "refresh_token", json!(refresh));
    }
    if grant.scopes.iter().any(|scope| scope == "openid") {
        let claims = claims(graph, grant, consent.nonce.as_deref(), url, now);
        set(&mut answer, "id_token", json!(graph.key.as_ref().and_then(|key| key.sign(&claims))));
    }
    answer
}

fn claims(graph: &Graph, grant: &Grant, nonce: Option<&str>, url: &str, now: i64) -> Value {
    let Some(account) = graph.accounts.get(&grant.account) else { return json!({}) };
    let now_s = now / 1_000;
    let mut claims = json!({
        "ver": "2.0",
        "iss": format!("{url}/microsoft/{}/v2.0", account.tenant),
        "aud": grant.client,
        // The subject is another one for every application.
        "sub": super::id::guid(&format!("subject {} {}", grant.client, grant.account)),
        "tid": account.tenant,
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + 3_600,
    });
    if grant.scopes.iter().any(|scope| scope == "profile") {
        set(&mut claims, "oid", json!(account.object_id));
        set(&mut claims, "name", json!(account.name()));
        set(&mut claims, "preferred_username", json!(account.spec.email));
    }
    if grant.scopes.iter().any(|scope| scope == "email") {
        set(&mut claims, "email", json!(account.spec.email));
    }
    if let Some(nonce) = nonce {
        set(&mut claims, "nonce", json!(nonce));
    }
    claims
}
