//! `[vault]`: the master keys that seal secrets at rest.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

/// Secrets at rest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// `id:base64` of 32 bytes each, the current one first, separated by commas; empty for `key_file`.
    pub keys: SecretString,
    /// A file with one key a line.
    pub key_file: PathBuf,
}
