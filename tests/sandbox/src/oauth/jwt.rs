//! JSON Web Tokens signed with RS256 (RFC 7515, 7519), and the keys that sign them (RFC 7517).

use std::fmt;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Characters in a line of a PEM body (RFC 7468 §2).
const PEM_LINE: usize = 64;

/// The first key of every issuer: made once, as making one takes a while.
static FIRST: LazyLock<Option<Arc<SigningKey>>> = LazyLock::new(|| SigningKey::generate().map(Arc::new));

/// An RSA key of 2,048 bits with its name.
pub(crate) struct SigningKey {
    pair: KeyPair,
    kid: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({})", self.kid)
    }
}

impl SigningKey {
    /// A new key; `None` when the machine has no randomness.
    pub(crate) fn generate() -> Option<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).ok()?;
        let hash = Sha256::digest(pair.public_key().as_ref());
        let kid = hex::encode(hash.get(..20).unwrap_or_default());
        Some(Self { pair, kid })
    }

    /// The key that all issuers of this process start with.
    pub(crate) fn first() -> Option<Arc<Self>> {
        FIRST.clone()
    }

    /// The name of the key.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key as a JSON Web Key.
    pub(crate) fn jwk(&self) -> Value {
        let (modulus, exponent) = numbers(self.pair.public_key().as_ref()).unwrap_or_default();
        json!({
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.kid,
            "n": URL_SAFE_NO_PAD.encode(modulus),
            "e": URL_SAFE_NO_PAD.encode(exponent),
        })
    }

    /// The private key as PKCS #8 in PEM, as a service account's key file holds it.
    pub(crate) fn private_pem(&self) -> Option<String> {
        let der: Pkcs8V1Der<'_> = self.pair.as_der().ok()?;
        let body = STANDARD.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        for (index, letter) in body.chars().enumerate() {
            if index > 0 && index % PEM_LINE == 0 {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push_str("\n-----END PRIVATE KEY-----\n");
        Some(pem)
    }

    /// The claims as a signed token.
    pub(crate) fn sign(&self, claims: &Value) -> Option<String> {
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": self.kid });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&head), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).ok()?;
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that this key has signed; `None` for any other text.
    pub(crate) fn verify(&self, token: &str) -> Option<Value> {
        let (text, signature) = token.rsplit_once('.')?;
        let (head, claims) = text.split_once('.')?;
        if decoded(head)?.get("alg")? != "RS256" {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref())
            .verify(text.as_bytes(), &signature)
            .ok()?;
        decoded(claims)
    }
}

/// The claims of a token, whoever signed it.
pub(crate) fn unverified_claims(token: &str) -> Option<Value> {
    decoded(token.split('.').nth(1)?)
}

fn decoded(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 §A.1.1), without leading zeros.
fn numbers(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (content, _) = element(der, 0x30)?;
    let (modulus, rest) = element(content, 0x02)?;
    let (exponent, _) = element(rest, 0x02)?;
    let bare = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect();
    Some((bare(modulus), bare(exponent)))
}

/// Content of the first DER element, which has that tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    if *length < 0x80 {
        return rest.split_at_checked(usize::from(*length));
    }
    let (size, rest) = rest.split_at_checked(usize::from(*length & 0x7f))?;
    let length = size.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_verified_by_its_own_key_only_and_unchanged() {
        let key = SigningKey::generate().unwrap();
        let other = SigningKey::generate().unwrap();

        let token = key.sign(&json!({ "sub": "ada" })).unwrap();

        assert_eq!(key.verify(&token), Some(json!({ "sub": "ada" })));
        assert_eq!(other.verify(&token), None);
        let (head, rest) = token.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode("{\"sub\":\"eve\"}");
        let signature = rest.rsplit_once('.').unwrap().1;
        assert_eq!(key.verify(&format!("{head}.{forged}.{signature}")), None);
    }

    #[test]
    fn a_public_key_shows_a_modulus_of_2048_bits_and_the_usual_exponent() {
        let key = SigningKey::generate().unwrap();

        let jwk = key.jwk();

        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        assert_eq!(bytes("n").len(), 256);
        assert_eq!(bytes("e"), [1, 0, 1]);
        assert!(key.private_pem().unwrap().starts_with("-----BEGIN PRIVATE KEY-----\nMII"));
    }
}
