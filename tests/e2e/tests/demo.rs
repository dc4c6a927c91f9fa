//! The first thing that a person tries: `calfleet demo`.

use std::process::Stdio;
use std::time::Duration;

use calfleet_harness::wait_until;

use crate::fleet::{PATIENCE, executable};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_its_addresses_and_calendars_in_step_and_ends_by_itself() {
    let mut command = tokio::process::Command::new(executable());
    command.args([
        "demo",
        "--stop-after",
        "20s",
        "--listen",
        "127.0.0.1:0",
        "--sandbox-listen",
        "127.0.0.1:0",
    ]);
    command.stdin(Stdio::null()).kill_on_drop(true);

    let output = tokio::select! {
        output = command.output() => output.unwrap(),
        _ = wait_until(PATIENCE + Duration::from_secs(20), || false) => panic!("the demo does not end"),
    };

    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    for words in [
        "Simulated CalDAV and feeds",
        "http://127.0.0.1:",
        "Authorization: Bearer",
        "at the provider:",
        "Connect a Google account",
        "Connect a Microsoft account",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    for calendar in ["Work", "Calendars in the wild", "Team", "Research", "Archive", "Research, published"] {
        assert!(
            text.lines().any(|line| line.contains(calendar) && line.contains(": in step")),
            "{calendar}: {text}"
        );
    }
    assert!(!text.contains("127.0.0.1:0"), "an address that cannot be called is printed: {text}");
}
