//! What a script sees of the shell: how a command ends, where its list is cut, and that a reader may go away.

use std::process::{Output, Stdio};

use calfleet_sandbox::{Fault, FaultRule};
use reqwest::Method;
use serde_json::Value;

use crate::fleet::executable;
use crate::writes::{Desk, review};

const START: [&str; 6] =
    ["--start", "2026-12-01T10:00:00", "--end", "2026-12-01T11:00:00", "--time-zone", "Europe/Paris"];

/// The exit status and what was printed.
fn ended(output: &Output) -> (Option<i32>, Value) {
    let text = String::from_utf8_lossy(&output.stdout);
    let said = serde_json::from_str(&text);
    (
        output.status.code(),
        said.unwrap_or_else(|_| panic!("{text} {}", String::from_utf8_lossy(&output.stderr))),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_given_up_ends_with_an_error_after_it_was_printed() {
    let desk = Desk::open().await;
    let refusal = Fault::Status { code: 403, retry_after: None };
    desk.sandbox.inject(FaultRule::next(refusal).method("PUT").always());
    let create =
        [&["event", "create", &desk.calendar, "--title", "Review", "--wait", "30s"][..], &START].concat();

    let output = desk.fleet.run(desk.fleet.settings(), &create, "").await;

    let (code, view) = ended(&output);
    assert_eq!((code, &view["sync"]), (Some(1), &"failed".into()), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_of_many_ends_with_an_error_after_all_was_printed() {
    let desk = Desk::open().await;
    let create = format!("/calendars/{}/events?wait=10s", desk.calendar);
    desk.api.send_with(Method::POST, &create, &review(), &[("X-Request-Id", "sprint-7")]).await;
    desk.fleet.admin(&["organization", "allow-writes", "default", "--revoke"]).await;

    for arguments in [["undo", "sprint-7"], ["cleanup", &desk.connection]] {
        let output = desk.fleet.run(desk.fleet.settings(), &arguments, "").await;

        let (code, entries) = ended(&output);
        assert_eq!((code, &entries[0]["outcome"]), (Some(1), &"refused".into()), "{arguments:?}: {entries}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_cut_says_so_and_a_reader_may_go_away() {
    let desk = Desk::open().await;
    for _ in 0..2 {
        desk.create("", &review()).await;
    }

    let cut = desk.fleet.shown(&["events", "--limit", "1"]).await;
    let whole = desk.fleet.shown(&["events", "--limit", "2"]).await;

    assert!(cut.contains("There are more"), "{cut}");
    assert!(!whole.contains("There are more"), "{whole}");
    for arguments in [&["admin", "events", "--json"][..], &["admin", "events"]] {
        let settings = desk.fleet.settings().iter().map(|(name, value)| (name, value));
        let mut command = tokio::process::Command::new(executable());
        command.args(arguments).envs(settings).current_dir(desk.fleet.folder());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !told.contains("pipe"), "{arguments:?}: {told}");
    }
}
