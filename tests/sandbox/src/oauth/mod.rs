//! What the authorization servers of Google and Microsoft have in common.
//!
//! Codes, tokens and grants ([`tokens`]), the page on which a person agrees ([`consent`]), and signed
//! tokens with their public keys ([`jwt`]). How a provider words its refusals, how long its tokens live and
//! whether they rotate is the provider's own; nothing here knows which one asks.

pub(crate) mod consent;
pub(crate) mod jwt;
pub(crate) mod tokens;

/// The pairs of a form body or a query string, decoded, in their order.
pub(crate) fn form(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// The first value of that name.
pub(crate) fn field<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// `address` with these pairs added to its query.
pub(crate) fn with_query(address: &str, pairs: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let joint = if address.contains('?') { '&' } else { '?' };
    format!("{address}{joint}{query}")
}
