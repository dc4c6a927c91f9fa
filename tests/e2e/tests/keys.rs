//! Master keys are changed without stopping anything, and the old one is of no use afterwards.

use crate::fleet::{Fleet, reaching};
use crate::provider::{PASSWORD, account, port, start};

const OLD: &str = "test:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=";
const NEW: &str = "next:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_sealed_again_and_the_old_key_can_go() {
    let sandbox = start().await;
    account(&sandbox, "ada", &[("work", 3)]);
    let fleet = Fleet::solo(&reaching(&[port(sandbox.url())]));
    let solo = fleet.start("solo").await;
    let connection = fleet.connect(sandbox.url(), "ada", PASSWORD, &[]).await;
    drop(solo);

    let both = fleet.settings_but(&[("vault.keys", &format!("{NEW},{OLD}"))]);
    let rotated = fleet.run(&both, &["rotate-keys"], "").await;
    let again = fleet.run(&both, &["rotate-keys"], "").await;

    let text = String::from_utf8_lossy(&rotated.stdout);
    assert!(text.contains("\"sealed\":1"), "{text} {}", String::from_utf8_lossy(&rotated.stderr));
    assert!(String::from_utf8_lossy(&again.stdout).contains("\"sealed\":0"));
    let with_new = fleet.run(&fleet.settings_but(&[("vault.keys", NEW)]), &["probe", &connection], "").await;
    assert!(with_new.status.success(), "{}", String::from_utf8_lossy(&with_new.stderr));
    let with_old = fleet.run(&fleet.settings_but(&[("vault.keys", OLD)]), &["probe", &connection], "").await;
    assert!(!with_old.status.success());
}
