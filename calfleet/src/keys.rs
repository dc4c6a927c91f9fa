//! The master keys of the vault: from the configuration, else from the key file, which small installations get
//! made for them.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calfleet_domain::clock::Rng;
use calfleet_runtime::clock::SystemRng;
use calfleet_runtime::config::Config;
use calfleet_runtime::config::vault::VaultConfig;
use calfleet_store::vault::{self, KeyRing};
use calfleet_store::{Scope, Store, StoreError, organizations, provider_clients};
use secrecy::ExposeSecret;

/// Whether keys stand in the configuration itself.
pub(crate) fn are_given(config: &VaultConfig) -> bool {
    !config.keys.expose_secret().trim().is_empty()
}

/// The key ring of a program. An installation of one file gets a key file made for it, but only while nothing is
/// sealed: a new key beside secrets of a lost one would pass for the whole ring.
pub(crate) async fn ring_for(config: &Config, store: &Store) -> anyhow::Result<KeyRing> {
    let file = &config.vault.key_file;
    if config.database.is_sqlite() && !are_given(&config.vault) && !file.exists() {
        let sealed = stored(store).await?;
        if !sealed.is_empty() {
            bail!("{}", lost(&sealed, &config.vault));
        }
        make(file).with_context(|| format!("make the key file {}", file.display()))?;
    }
    ring(&config.vault)
}

/// Reads the key ring.
pub(crate) fn ring(config: &VaultConfig) -> anyhow::Result<KeyRing> {
    if are_given(config) {
        return parse(config.keys.expose_secret().split(',')).context("read vault.keys");
    }
    let file = &config.key_file;
    if !file.exists() {
        bail!(
            "there are no master keys: set vault.keys (such as CALFLEET__VAULT__KEYS=\"2026:$(openssl rand -base64 32)\"), the same for every program of the fleet"
        );
    }
    let text =
        std::fs::read_to_string(file).with_context(|| format!("read the key file {}", file.display()))?;
    parse(text.lines()).with_context(|| format!("read the key file {}", file.display()))
}

/// The ids of the keys under which something is stored.
async fn stored(store: &Store) -> Result<BTreeSet<String>, StoreError> {
    let mut sealed = BTreeSet::new();
    for organization in organizations::list(&store.read(Scope::Fleet).await?).await? {
        sealed.extend(vault::key_ids(&store.read(Scope::Organization(organization)).await?).await?);
    }
    Ok(sealed)
}

/// The ids of the keys under which something is stored that the ring does not open: it lacks them, or has other keys of
/// these ids. One secret of each key and organization is tried.
pub(crate) async fn unopened(store: &Store, ring: Option<&KeyRing>) -> Result<BTreeSet<String>, StoreError> {
    let Some(ring) = ring else { return stored(store).await };
    let mut unopened = BTreeSet::new();
    for organization in organizations::list(&store.read(Scope::Fleet).await?).await? {
        let tx = store.read(Scope::Organization(organization)).await?;
        for id in vault::key_ids(&tx).await? {
            if !(vault::opens(&tx, ring, &id).await? && provider_clients::opens(&tx, ring, &id).await?) {
                unopened.insert(id);
            }
        }
    }
    Ok(unopened)
}

/// What to say of secrets whose keys are gone.
pub(crate) fn lost(ids: &BTreeSet<String>, config: &VaultConfig) -> String {
    let ids = ids.iter().map(|id| format!("{id:?}")).collect::<Vec<_>>().join(", ");
    let from = if are_given(config) {
        "bring back its entry in vault.keys".to_owned()
    } else {
        format!("bring back the key file {}", config.key_file.display())
    };
    format!("the database holds secrets sealed under the key {ids}, which is not there: {from}")
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

/// A file with one fresh key that only its owner can read. The id is as fresh: another file's key, made when this one
/// was lost, is not taken for it.
fn make(file: &Path) -> anyhow::Result<()> {
    let mut bytes = [0_u8; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&SystemRng.next_u64().to_le_bytes());
    }
    let mut created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(created, "key-{:016x}:{}", SystemRng.next_u64(), STANDARD.encode(bytes))?;
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

    #[tokio::test]
    async fn a_key_file_is_made_once_and_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (url, file) =
            (format!("sqlite://{}/calfleet.db", folder.path().display()), folder.path().join("keys"));
        calfleet_migrations::run(&url).await.unwrap();
        let store = Store::connect(&calfleet_store::Options::new(&url)).await.unwrap();
        let text = format!("[database]\nurl = \"{url}\"\n[vault]\nkey_file = {file:?}");
        let config = Config::from_text(&text).unwrap();
        assert!(ring(&config.vault).is_err());

        let made = ring_for(&config, &store).await.unwrap();
        let read = ring(&config.vault).unwrap();

        assert_eq!(made.current(), read.current());
        let mode = std::fs::metadata(&config.vault.key_file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
