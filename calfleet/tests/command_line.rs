//! The executable itself: cargo builds it for these tests, and the end-to-end tests beside them run it too.
#![cfg(test)]

use std::process::{Command, Output};

fn calfleet(arguments: &[&str], folder: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_calfleet")).args(arguments).current_dir(folder).output().unwrap()
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
    std::fs::write(folder.path().join("calfleet.toml"), "[work]\nleese = \"30s\"\n").unwrap();

    let refused = calfleet(&["--config", "calfleet.toml", "migrate"], folder.path());

    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("leese"), "{refused:?}");
}
