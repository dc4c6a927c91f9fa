//! The executable itself: cargo builds it for these tests, and the end-to-end tests beside them run it too.
#![cfg(test)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use calfleet_queue::RedisSettings;
use calfleet_store::Options;

fn calfleet(arguments: &[&str], folder: &Path) -> Output {
    calfleet_under(&[], arguments, folder, "")
}

/// The same under variables of the environment and with standard input.
fn calfleet_under(settings: &[(&str, &str)], arguments: &[&str], folder: &Path, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_calfleet"))
        .args(arguments)
        .envs(settings.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // a program that does not read its input has closed it
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

/// Everything that was printed.
fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_command_is_in_the_help() {
    let folder = tempfile::tempdir().unwrap();

    let help = calfleet(&["--help"], folder.path());

    let text = String::from_utf8(help.stdout).unwrap();
    for command in ["demo", "solo", "scheduler", "worker", "migrate", "check", "admin", "sandbox"] {
        assert!(text.contains(command), "{command} is missing: {text}");
    }
}

#[test]
fn a_check_before_the_migration_says_what_to_do_and_fails() {
    let folder = tempfile::tempdir().unwrap();

    let before = calfleet(&["check", "--json"], folder.path());
    let migrated = calfleet(&["migrate"], folder.path());
    let after = calfleet(&["check"], folder.path());

    assert!(!before.status.success());
    assert!(String::from_utf8_lossy(&before.stdout).contains("calfleet migrate"), "{before:?}");
    assert!(migrated.status.success(), "{migrated:?}");
    assert!(after.status.success(), "{after:?}");
}

#[test]
fn an_unknown_setting_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("calfleet.toml"), "[work]\nleese = \"30s\"\n").unwrap();

    let refused = calfleet(&["--config", "calfleet.toml", "migrate"], folder.path());

    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("leese"), "{refused:?}");
}

#[test]
fn a_secret_of_the_wrong_form_is_complained_of_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    for (variable, value, canary) in [
        ("CALFLEET__DATABASE__URL", "postgres://calfleet:p/ss#w0rd@127.0.0.1/x", "w0rd"),
        ("CALFLEET__DATABASE__URL", "postgres://calfleet:12#w0rd@127.0.0.1/x", "w0rd"),
        ("CALFLEET__QUEUE__URL", "redis://calfleet:p/ss#w0rd@127.0.0.1/x", "w0rd"),
        ("CALFLEET__PROVIDERS__GOOGLE__CLIENT_SECRET", "8675309123", "8675309123"),
        ("CALFLEET__VAULT__KEYS", "8675309.123", "8675309"),
    ] {
        for command in ["worker", "scheduler", "solo", "migrate", "check"] {
            let output = calfleet_under(&[(variable, value)], &[command], folder.path(), "");

            let told = told(&output);
            assert!(!output.status.success() && !told.contains(canary), "{command} {variable}: {told}");
            let key = variable.rsplit("__").next().unwrap();
            assert!(told.to_uppercase().contains(key), "{command} {variable}: {told}");
        }
    }
}

#[test]
fn where_the_database_and_redis_are_is_in_no_debug_text() {
    let url = "redis://calfleet:w0rd@127.0.0.1/".to_owned();

    let options = format!("{:?}", Options::new("postgres://calfleet:w0rd@127.0.0.1/x"));
    let settings = format!("{:?}", RedisSettings { url, prefix: "calfleet".to_owned() });

    assert!(!options.contains("w0rd") && options.contains("connections"), "{options}");
    assert!(!settings.contains("w0rd") && settings.contains("prefix"), "{settings}");
}
