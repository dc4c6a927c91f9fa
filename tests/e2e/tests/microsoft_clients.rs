//! Microsoft's own clients against the simulated Graph: each script says check by check what held.

use std::path::Path;

use calfleet_harness::requirement::{Program, is_available};
use calfleet_harness::{python_interpreter, repository_root};
use calfleet_sandbox::{MicrosoftAccountSpec, Sandbox, SandboxOptions};
use tokio::process::Command;

const SCOPES: [&str; 3] = ["User.Read", "Calendars.ReadWrite", "MailboxSettings.Read"];

/// Runs a client's script against a sandbox of its own and holds it to a number of checks.
async fn run(program: &Path, script: &str, checks: usize) {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let microsoft = sandbox.microsoft();
    for name in ["ada", "bob"] {
        let spec = MicrosoftAccountSpec::new(&format!("{name}@example.com")).zone("Romance Standard Time");
        microsoft.create_account(spec).unwrap();
    }
    let (access, _) = microsoft.tokens("ada@example.com", "app", &SCOPES).unwrap();

    let output = Command::new(program)
        .arg(repository_root().join("tests/e2e/clients").join(script))
        .args([&microsoft.url(), &access])
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), checks, "{said}{errors}");
}

#[tokio::test]
async fn the_python_client_of_microsoft_believes_the_sandbox() {
    if is_available(Program::PythonMicrosoft) {
        run(python_interpreter(), "microsoft_graph.py", 15).await;
    }
}

#[tokio::test]
async fn the_node_client_of_microsoft_believes_the_sandbox() {
    if is_available(Program::NodeClients) {
        run(Path::new("node"), "microsoft_graph.mjs", 11).await;
    }
}
