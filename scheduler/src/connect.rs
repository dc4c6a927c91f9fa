//! Where people come back to from a provider's consent page. Keeps the code sealed and sends the person on to the
//! application with a one-time id; nothing is asked of the provider here.

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use calfleet_domain::model::ProviderKind;
use calfleet_service::sign_in::SignInError;
use secrecy::SecretString;
use url::form_urlencoded;

use crate::app::App;

/// Longest value that is looked at; real ones are a few hundred bytes.
const LONGEST: usize = 4096;

/// `GET /connect/{provider}/callback`.
pub(crate) async fn callback(
    State(app): State<App>,
    Path(provider): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let value = |name: &str| {
        let found = form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty() && value.len() <= LONGEST)
    };
    let (Ok(provider), Some(state)) = (provider.parse::<ProviderKind>(), value("state")) else {
        return page(StatusCode::BAD_REQUEST, &SignInError::Unknown.to_string());
    };
    let answer = match (value("code"), value("error")) {
        (Some(code), None) => Ok(SecretString::from(code)),
        (_, error) => Err(word(error.as_deref())),
    };
    match app.service.sign_in_returned(provider, &SecretString::from(state), answer).await {
        Ok(url) => sent_on(url.as_str()),
        Err(SignInError::Unknown) => page(StatusCode::BAD_REQUEST, &SignInError::Unknown.to_string()),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a sign-in could not be kept");
            page(
                StatusCode::SERVICE_UNAVAILABLE,
                "this could not be stored just now; reload the page in a moment",
            )
        }
    }
}

/// The provider's word for its refusal, if it is one; other text from outside is not repeated.
fn word(error: Option<&str>) -> String {
    let is_word = |text: &&str| {
        !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    error.filter(is_word).unwrap_or("no_answer").to_owned()
}

fn sent_on(url: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(url) else {
        return page(StatusCode::BAD_REQUEST, "the address to return to cannot be used");
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    kept_private(response)
}

/// A page of one sentence, for people. Nothing of the request is repeated in it.
fn page(status: StatusCode, sentence: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Calfleet</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <body style=\"font:1rem/1.5 system-ui;margin:15vh auto;max-width:30rem;padding:0 1rem\">\
         <h1 style=\"font-size:1.25rem\">The calendar was not connected</h1><p>{}.</p></body></html>",
        sentence.replace('&', "&amp;").replace('<', "&lt;")
    );
    let mut response = (status, html).into_response();
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    kept_private(response)
}

/// The address holds a code: nobody keeps it or is told it.
fn kept_private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy =
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_a_provider_are_repeated() {
        assert_eq!(word(Some("access_denied")), "access_denied");
        assert_eq!(word(Some("<script>")), "no_answer");
        assert_eq!(word(None), "no_answer");
    }
}
