//! The page on which a person chooses an account and what an application may do, and the form it posts.
//!
//! The page carries the authorization request along in the field `request`; a test posts the same fields:
//! `request` (the query of the authorization request), `account`, `scope` once for each that is granted,
//! and `decision` (`allow` or `deny`).

use super::{field, form};
use crate::caldav::xml::write_to;

/// What the page shows.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// The provider's name, as the heading says it.
    pub(crate) provider: &'a str,
    /// The application that asks.
    pub(crate) client: &'a str,
    /// The query of the authorization request, as it came.
    pub(crate) request: &'a str,
    /// Names of accounts; the first is chosen.
    pub(crate) accounts: Vec<String>,
    /// Scopes that can be unticked.
    pub(crate) scopes: Vec<String>,
}

/// What the person decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The query of the authorization request.
    pub(crate) request: String,
    pub(crate) account: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) is_allowed: bool,
}

impl Decision {
    /// Reads the posted form.
    pub(crate) fn read(body: &[u8]) -> Self {
        let fields = form(body);
        let text = |name: &str| field(&fields, name).unwrap_or_default().to_owned();
        Self {
            request: text("request"),
            account: text("account"),
            scopes: fields
                .iter()
                .filter(|(name, _)| name == "scope")
                .map(|(_, scope)| scope.clone())
                .collect(),
            is_allowed: field(&fields, "decision") == Some("allow"),
        }
    }
}

impl Page<'_> {
    /// The page as HTML; it posts to its own address.
    pub(crate) fn html(&self) -> String {
        let mut accounts = String::new();
        for (index, account) in self.accounts.iter().enumerate() {
            let checked = if index == 0 { " checked" } else { "" };
            let account = escaped(account);
            write_to(
                &mut accounts,
                format_args!(
                    "<p><label><input type=\"radio\" name=\"account\" value=\"{account}\"{checked}> {account}</label></p>\n"
                ),
            );
        }
        let mut scopes = String::new();
        for scope in &self.scopes {
            let scope = escaped(scope);
            write_to(
                &mut scopes,
                format_args!(
                    "<p><label><input type=\"checkbox\" name=\"scope\" value=\"{scope}\" checked> {scope}</label></p>\n"
                ),
            );
        }
        let (provider, client, request) =
            (escaped(self.provider), escaped(self.client), escaped(self.request));
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{provider} (simulated)</title>\n\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:3em auto;padding:0 1em;\
             overflow-wrap:anywhere}}button{{font:inherit;padding:.4em 1.2em}}</style>\n\
             <h1>{provider}, simulated</h1>\n<form method=\"post\">\n\
             <input type=\"hidden\" name=\"request\" value=\"{request}\">\n\
             <fieldset><legend>Choose an account</legend>\n{accounts}</fieldset>\n\
             <fieldset><legend>{client} wants to</legend>\n{scopes}</fieldset>\n\
             <p><button name=\"decision\" value=\"allow\">Allow</button>\n\
             <button name=\"decision\" value=\"deny\">Deny</button></p>\n</form></html>\n"
        )
    }
}

/// Text as it may stand in HTML, inside quotes too.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_markup_stays_text_on_the_page() {
        let page = Page {
            provider: "Google",
            client: "<script>",
            request: "state=\"x\"",
            accounts: vec!["ada@example.com".into()],
            scopes: vec!["openid".into()],
        };

        let html = page.html();

        assert!(!html.contains("<script>"));
        assert!(html.contains("value=\"state=&quot;x&quot;\""));
        assert!(html.contains("value=\"ada@example.com\" checked"));
    }

    #[test]
    fn a_posted_form_says_what_was_ticked() {
        let body = b"request=state%3D1&account=ada%40example.com&scope=a&scope=b&decision=allow";

        let decision = Decision::read(body);

        assert_eq!(decision.account, "ada@example.com");
        assert_eq!(decision.scopes, ["a", "b"]);
        assert_eq!(decision.request, "state=1");
        assert!(decision.is_allowed);
        assert!(!Decision::read(b"decision=deny").is_allowed);
    }
}
