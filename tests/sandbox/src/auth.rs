//! Who is asking: Basic, Digest and Bearer, and the 401 that offers them.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::caldav::account::{Account, AuthScheme};

/// The realm of every challenge.
const REALM: &str = "Calfleet sandbox";

/// Nonces that were given out; deterministic, as everything in the sandbox.
#[derive(Debug)]
pub(crate) struct Nonces {
    seed: u64,
    given: u64,
    known: BTreeSet<String>,
}

impl Nonces {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, given: 0, known: BTreeSet::new() }
    }

    fn next(&mut self) -> String {
        self.given += 1;
        let hash = Sha256::digest(format!("nonce {} {}", self.seed, self.given));
        let nonce = hex::encode(hash.get(..16).unwrap_or_default());
        self.known.insert(nonce.clone());
        nonce
    }

    /// The values of `WWW-Authenticate` that offer these schemes.
    pub(crate) fn challenges(&mut self, schemes: &[AuthScheme]) -> Vec<String> {
        let mut challenges = Vec::new();
        for scheme in schemes {
            challenges.push(match scheme {
                AuthScheme::Basic => format!("Basic realm=\"{REALM}\", charset=\"UTF-8\""),
                AuthScheme::Bearer => format!("Bearer realm=\"{REALM}\""),
                AuthScheme::DigestMd5 => self.digest_challenge("MD5"),
                AuthScheme::DigestSha256 => self.digest_challenge("SHA-256"),
            });
        }
        challenges
    }

    fn digest_challenge(&mut self, algorithm: &str) -> String {
        let nonce = self.next();
        format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"")
    }

    /// The account whose credentials the request carries; `None` without, and with wrong ones.
    pub(crate) fn account<'a>(
        &self,
        head: &Parts,
        accounts: &'a BTreeMap<String, Account>,
    ) -> Option<&'a Account> {
        let header = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, rest) = header.split_once(' ')?;
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => basic(rest, accounts),
            "bearer" => accounts.values().find(|account| {
                account.schemes().contains(&AuthScheme::Bearer) && account.spec.secret == rest
            }),
            "digest" => self.digest(rest, head, accounts),
            _ => None,
        }
    }

    fn digest<'a>(
        &self,
        text: &str,
        head: &Parts,
        accounts: &'a BTreeMap<String, Account>,
    ) -> Option<&'a Account> {
        let values = parameters(text);
        let value = |name: &str| values.get(name).map(String::as_str);
        let account = accounts.get(value("username")?)?;
        let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
        if !self.known.contains(value("nonce")?) || value("realm")? != REALM || value("uri")? != target {
            return None;
        }
        let (scheme, hash): (_, fn(&str) -> String) = match value("algorithm").unwrap_or("MD5") {
            "MD5" => (AuthScheme::DigestMd5, |text| hex::encode(Md5::digest(text))),
            "SHA-256" => (AuthScheme::DigestSha256, |text| hex::encode(Sha256::digest(text))),
            _ => return None,
        };
        if !account.schemes().contains(&scheme) {
            return None;
        }
        let who = hash(&format!("{}:{REALM}:{}", account.spec.name, account.spec.secret));
        let what = hash(&format!("{}:{target}", head.method));
        let expected = match value("qop") {
            Some(qop) => {
                let (count, nonce, chosen) = (value("nc")?, value("nonce")?, value("cnonce")?);
                hash(&format!("{who}:{nonce}:{count}:{chosen}:{qop}:{what}"))
            }
            None => hash(&format!("{who}:{}:{what}", value("nonce")?)),
        };
        (value("response")? == expected).then_some(account)
    }
}

fn basic<'a>(text: &str, accounts: &'a BTreeMap<String, Account>) -> Option<&'a Account> {
    let decoded = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    let (name, secret) = decoded.split_once(':')?;
    let account = accounts.get(name)?;
    (account.schemes().contains(&AuthScheme::Basic) && account.spec.secret == secret).then_some(account)
}

/// `a="b, c", d=e` as a map.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut quoted = false;
    let parts = text.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts
        .filter_map(|part| part.trim().split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
        .collect()
}
