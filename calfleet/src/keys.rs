//! The master keys of the vault: from the configuration, else from the key file, which small installations get
//! made for them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calfleet_domain::clock::Rng;
use calfleet_runtime::clock::SystemRng;
use calfleet_runtime::config::vault::VaultConfig;
use calfleet_store::vault::KeyRing;
use secrecy::ExposeSecret;

/// Whether keys stand in the configuration itself.
pub(crate) fn are_given(config: &VaultConfig) -> bool {
    !config.keys.expose_secret().trim().is_empty()
}

/// Reads the key ring; `makes_file` says whether a missing key file is made.
pub(crate) fn ring(config: &VaultConfig, makes_file: bool) -> anyhow::Result<KeyRing> {
    if are_given(config) {
        return parse(config.keys.expose_secret().split(',')).context("read vault.keys");
    }
    let file = &config.key_file;
    if !file.exists() {
        if !makes_file {
            bail!(
                "there are no master keys: set vault.keys (such as CALFLEET__VAULT__KEYS=\"2026:$(openssl rand -base64 32)\"), the same for every program of the fleet"
            );
        }
        make(file).with_context(|| format!("make the key file {}", file.display()))?;
    }
    let text =
        std::fs::read_to_string(file).with_context(|| format!("read the key file {}", file.display()))?;
    parse(text.lines()).with_context(|| format!("read the key file {}", file.display()))
}

fn parse<'a>(entries: impl Iterator<Item = &'a str>) -> anyhow::Result<KeyRing> {
    let mut keys = Vec::new();
    for entry in entries.map(str::trim).filter(|entry| !entry.is_empty() && !entry.starts_with('#')) {
        let (id, key) = entry.split_once(':').context("a key is written id:base64")?;
        let bytes = STANDARD.decode(key.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let bytes = bytes.with_context(|| format!("the key {id:?} is not base64 of 32 bytes"))?;
        keys.push((id.trim().to_owned(), bytes));
    }
    let current = keys.first().map(|(id, _)| id.clone()).context("there is no key in it")?;
    Ok(KeyRing::new(current, keys)?)
}

/// A file with one fresh key that only its owner can read.
fn make(file: &Path) -> anyhow::Result<()> {
    let mut bytes = [0_u8; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&SystemRng.next_u64().to_le_bytes());
    }
    let mut created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(created, "first:{}", STANDARD.encode(bytes))?;
    created.sync_all()?;
    tracing::info!(file = %file.display(), "made a master key: keep a copy, sealed secrets cannot be opened without it");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_is_current_and_bad_ones_are_named() {
        let key = STANDARD.encode([7_u8; 32]);

        let ring =
            parse([format!("new:{key}").as_str(), "", "# old", &format!("old:{key}")].into_iter()).unwrap();
        let error = parse(["short:AAAA"].into_iter()).unwrap_err();

        assert_eq!(ring.current(), "new");
        assert!(error.to_string().contains("short"), "{error}");
    }

    #[test]
    fn a_key_file_is_made_once_and_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let config = VaultConfig { keys: "".into(), key_file: folder.path().join("keys") };
        assert!(ring(&config, false).is_err());

        let made = ring(&config, true).unwrap();
        let read = ring(&config, false).unwrap();

        assert_eq!(made.current(), read.current());
        let mode = std::fs::metadata(&config.key_file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
