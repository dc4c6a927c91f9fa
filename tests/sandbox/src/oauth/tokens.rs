//! Codes, access tokens and refresh tokens, and the grants behind them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// How long a code can be redeemed, in milliseconds.
const CODE_LIFE_MS: i64 = 10 * 60 * 1_000;

/// What a person agreed to, for one client.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) client: String,
    pub(crate) account: String,
    pub(crate) scopes: Vec<String>,
}

/// What a code stands for.
#[derive(Debug, Clone)]
pub(crate) struct Consent {
    pub(crate) grant: Grant,
    pub(crate) redirect_uri: String,
    /// The PKCE challenge (RFC 7636), method S256.
    pub(crate) challenge: Option<String>,
    pub(crate) nonce: Option<String>,
    /// Whether a refresh token was asked for.
    pub(crate) is_offline: bool,
}

/// Why a code or token is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Never given out, or revoked.
    Unknown,
    /// Its time is over.
    Expired,
    /// The code was redeemed before.
    Replayed,
    /// It belongs to another client.
    WrongClient,
    /// The redirect URI is not that of the authorization request.
    WrongRedirect,
    /// The verifier is absent, malformed or does not fit the challenge.
    WrongVerifier,
}

#[derive(Debug)]
struct Code {
    consent: Consent,
    until: i64,
    is_used: bool,
}

#[derive(Debug)]
struct Token {
    grant: Grant,
    /// `None` for ever.
    until: Option<i64>,
    number: u64,
}

/// Everything one authorization server has given out; its texts depend on the seed only.
#[derive(Debug)]
pub(crate) struct Tokens {
    seed: u64,
    given: u64,
    codes: BTreeMap<String, Code>,
    access: BTreeMap<String, Token>,
    refresh: BTreeMap<String, Token>,
}

impl Tokens {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, given: 0, codes: BTreeMap::new(), access: BTreeMap::new(), refresh: BTreeMap::new() }
    }

    fn text(&mut self, prefix: &str) -> String {
        self.given += 1;
        let hash = Sha256::digest(format!("{prefix} {} {}", self.seed, self.given));
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(hash))
    }

    /// A code for the consent.
    pub(crate) fn give_code(&mut self, prefix: &str, consent: Consent, now: i64) -> String {
        let text = self.text(prefix);
        self.codes.insert(text.clone(), Code { consent, until: now + CODE_LIFE_MS, is_used: false });
        text
    }

    /// Redeems a code, once.
    pub(crate) fn redeem(
        &mut self,
        code: &str,
        (client, redirect_uri): (&str, &str),
        verifier: Option<&str>,
        now: i64,
    ) -> Result<Consent, Refused> {
        let code = self.codes.get_mut(code).ok_or(Refused::Unknown)?;
        if code.is_used {
            return Err(Refused::Replayed);
        }
        if code.until <= now {
            return Err(Refused::Expired);
        }
        if code.consent.grant.client != client {
            return Err(Refused::WrongClient);
        }
        if code.consent.redirect_uri != redirect_uri {
            return Err(Refused::WrongRedirect);
        }
        match (&code.consent.challenge, verifier) {
            (None, None) => {}
            (Some(challenge), Some(verifier)) if fits(challenge, verifier) => {}
            _ => return Err(Refused::WrongVerifier),
        }
        code.is_used = true;
        Ok(code.consent.clone())
    }

    /// An access token that lives until then.
    pub(crate) fn give_access(&mut self, prefix: &str, grant: Grant, until: i64) -> String {
        let text = self.text(prefix);
        let token = Token { grant, until: Some(until), number: self.given };
        self.access.insert(text.clone(), token);
        text
    }

    /// A refresh token; of more than `most` for the account and client, the oldest die.
    pub(crate) fn give_refresh(
        &mut self,
        prefix: &str,
        grant: Grant,
        until: Option<i64>,
        most: usize,
    ) -> String {
        let text = self.text(prefix);
        let number = self.given;
        let same = |token: &Token| token.grant.client == grant.client && token.grant.account == grant.account;
        let mut numbers: Vec<u64> =
            self.refresh.values().filter(|token| same(token)).map(|token| token.number).collect();
        numbers.sort_unstable();
        let surplus = (numbers.len() + 1).saturating_sub(most);
        let dying: Vec<u64> = numbers.into_iter().take(surplus).collect();
        self.refresh.retain(|_, token| !dying.contains(&token.number));
        self.refresh.insert(text.clone(), Token { grant, until, number });
        text
    }

    /// The grant of an access token.
    pub(crate) fn access(&self, text: &str, now: i64) -> Result<&Grant, Refused> {
        living(self.access.get(text), now)
    }

    /// The grant of a refresh token of that client.
    pub(crate) fn refresh(&self, text: &str, client: &str, now: i64) -> Result<&Grant, Refused> {
        let grant = living(self.refresh.get(text), now)?;
        if grant.client == client { Ok(grant) } else { Err(Refused::WrongClient) }
    }

    /// Ends a refresh token alone.
    pub(crate) fn forget_refresh(&mut self, text: &str) {
        self.refresh.remove(text);
    }

    /// Whether the account has ever got a refresh token that still lives for the client.
    pub(crate) fn has_refresh(&self, account: &str, client: &str) -> bool {
        self.refresh.values().any(|token| token.grant.account == account && token.grant.client == client)
    }

    /// Ends the whole grant that a token of either kind belongs to; whether there was one.
    pub(crate) fn revoke(&mut self, text: &str) -> bool {
        let token = self.refresh.get(text).or_else(|| self.access.get(text));
        let Some(grant) = token.map(|token| token.grant.clone()) else { return false };
        let other =
            |token: &Token| token.grant.account != grant.account || token.grant.client != grant.client;
        self.refresh.retain(|_, token| other(token));
        self.access.retain(|_, token| other(token));
        true
    }

    /// What was granted for an account is granted for it under its new address.
    pub(crate) fn rename_account(&mut self, old: &str, new: &str) {
        let grants = self.access.values_mut().chain(self.refresh.values_mut()).map(|token| &mut token.grant);
        let redeemable = self.codes.values_mut().map(|code| &mut code.consent.grant);
        for grant in grants.chain(redeemable).filter(|grant| grant.account == old) {
            new.clone_into(&mut grant.account);
        }
    }

    /// Ends all grants of an account.
    pub(crate) fn revoke_account(&mut self, account: &str) {
        self.refresh.retain(|_, token| token.grant.account != account);
        self.access.retain(|_, token| token.grant.account != account);
    }

    /// Ends the time of all access tokens of an account.
    pub(crate) fn expire_access(&mut self, account: &str, now: i64) {
        expire(&mut self.access, account, now);
    }

    /// Ends the time of all refresh tokens of an account.
    pub(crate) fn expire_refresh(&mut self, account: &str, now: i64) {
        expire(&mut self.refresh, account, now);
    }
}

fn expire(tokens: &mut BTreeMap<String, Token>, account: &str, now: i64) {
    for token in tokens.values_mut().filter(|token| token.grant.account == account) {
        token.until = Some(now);
    }
}

fn living(token: Option<&Token>, now: i64) -> Result<&Grant, Refused> {
    let token = token.ok_or(Refused::Unknown)?;
    if token.until.is_some_and(|until| until <= now) { Err(Refused::Expired) } else { Ok(&token.grant) }
}

/// Whether a verifier is well formed and hashes to the challenge (RFC 7636 §4.1, §4.6).
fn fits(challenge: &str, verifier: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (43..=128).contains(&verifier.len())
        && verifier.bytes().all(allowed)
        && URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == challenge
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn consent() -> Consent {
        Consent {
            grant: Grant { client: "app".into(), account: "ada".into(), scopes: vec!["read".into()] },
            redirect_uri: "http://localhost/back".into(),
            challenge: Some(CHALLENGE.into()),
            nonce: None,
            is_offline: true,
        }
    }

    #[test]
    fn a_code_is_redeemed_once_and_only_with_its_verifier_in_time() {
        let mut tokens = Tokens::new(1);
        let code = tokens.give_code("4/", consent(), 0);
        let late = tokens.give_code("4/", consent(), 0);
        let place = ("app", "http://localhost/back");

        let without = tokens.redeem(&code, place, None, 1).unwrap_err();
        let right = tokens.redeem(&code, place, Some(VERIFIER), 1);
        let again = tokens.redeem(&code, place, Some(VERIFIER), 1).unwrap_err();
        let expired = tokens.redeem(&late, place, Some(VERIFIER), CODE_LIFE_MS).unwrap_err();

        assert_eq!(without, Refused::WrongVerifier);
        assert!(right.is_ok());
        assert_eq!(again, Refused::Replayed);
        assert_eq!(expired, Refused::Expired);
    }

    #[test]
    fn one_refresh_token_too_many_ends_the_oldest() {
        let mut tokens = Tokens::new(1);
        let grant = consent().grant;

        let first = tokens.give_refresh("1//", grant.clone(), None, 2);
        let second = tokens.give_refresh("1//", grant.clone(), None, 2);
        let third = tokens.give_refresh("1//", grant, None, 2);

        assert_eq!(tokens.refresh(&first, "app", 0).unwrap_err(), Refused::Unknown);
        assert!(tokens.refresh(&second, "app", 0).is_ok());
        assert!(tokens.refresh(&third, "app", 0).is_ok());
    }

    #[test]
    fn revoking_one_token_ends_its_whole_grant_and_no_other() {
        let mut tokens = Tokens::new(1);
        let access = tokens.give_access("ya29.", consent().grant, 1_000);
        let refresh = tokens.give_refresh("1//", consent().grant, None, 100);
        let others = Grant { account: "bob".into(), ..consent().grant };
        let other = tokens.give_access("ya29.", others, 1_000);

        assert!(tokens.revoke(&refresh));

        assert_eq!(tokens.access(&access, 0).unwrap_err(), Refused::Unknown);
        assert!(tokens.access(&other, 0).is_ok());
        assert_eq!(tokens.access(&other, 1_000).unwrap_err(), Refused::Expired);
    }
}
