//! Google's own clients against the simulated Google: each script says check by check what held.

use std::path::Path;

use calfleet_harness::requirement::{Program, is_available};
use calfleet_harness::{python_interpreter, repository_root};
use calfleet_sandbox::{GoogleAccountSpec, Sandbox, SandboxOptions};
use tokio::process::Command;

const SCOPE: &str = "https://www.googleapis.com/auth/calendar";

/// Runs a client's script against a sandbox of its own and holds it to a number of checks.
async fn run(program: &Path, script: &str, checks: usize) {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let google = sandbox.google();
    for name in ["ada", "bob"] {
        google.create_account(GoogleAccountSpec::new(&format!("{name}@example.com"))).unwrap();
    }
    let (access, refresh) = google.tokens("ada@example.com", "app", &[SCOPE]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key.json");
    let key = google.create_service_account("robot@sandbox.test", &[SCOPE]).unwrap();
    std::fs::write(&key_file, key.to_string()).unwrap();

    let output = Command::new(program)
        .arg(repository_root().join("tests/e2e/clients").join(script))
        .args([&google.url(), &access, &refresh, "app"])
        .arg(&key_file)
        .arg("bob@example.com")
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), checks, "{said}{errors}");
}

#[tokio::test]
async fn the_python_client_of_google_believes_the_sandbox() {
    if is_available(Program::PythonGoogle) {
        run(python_interpreter(), "google_api.py", 17).await;
    }
}

#[tokio::test]
async fn the_node_client_of_google_believes_the_sandbox() {
    if is_available(Program::NodeClients) {
        run(Path::new("node"), "google_api.mjs", 9).await;
    }
}
