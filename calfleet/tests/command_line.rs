//! The executable itself: cargo builds it for these tests, and the end-to-end tests beside them run it too.
#![cfg(test)]

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calfleet_queue::RedisSettings;
use calfleet_store::Options;
use tempfile::TempDir;

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

/// What a command that fails prints.
fn refused(arguments: &[&str], folder: &Path) -> String {
    let output = calfleet(arguments, folder);
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    told(&output)
}

fn done(arguments: &[&str], folder: &Path) -> String {
    let output = calfleet(arguments, folder);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    told(&output)
}

/// A migrated installation on an SQLite file.
fn installation() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    done(&["migrate"], folder.path());
    folder
}

/// One that keeps a secret, sealed under the key of a file that was made for it.
fn with_a_secret() -> TempDir {
    let folder = installation();
    done(&["admin", "organization", "create", "acme"], folder.path());
    let set = ["admin", "client", "set", "acme", "google", "--client-id", "acme-client"];
    let output = calfleet_under(&[], &set, folder.path(), "a secret\n");
    assert!(output.status.success(), "{output:?}");
    folder
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
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

#[test]
fn a_key_file_that_was_lost_is_asked_for_and_no_other_is_made() {
    let folder = with_a_secret();
    let file = folder.path().join("calfleet.key");
    let key = fs::read_to_string(&file).unwrap();
    let id = key.split(':').next().unwrap();
    assert!(done(&["check"], folder.path()).contains("secrets"));
    fs::remove_file(&file).unwrap();

    for command in [&["admin", "rotate-keys"][..], &["solo"], &["check"]] {
        let told = refused(command, folder.path());
        assert!(told.contains(id) && told.contains("bring back"), "{command:?}: {told}");
        assert!(!file.exists(), "{command:?}");
    }

    // another key of that id, as every file once had it
    fs::write(&file, format!("{id}:{}\n", STANDARD.encode([7; 32]))).unwrap();
    let told = refused(&["check"], folder.path());
    assert!(told.contains(id) && told.contains("bring back"), "{told}");
    fs::write(&file, key).unwrap();
    done(&["check"], folder.path());
}

#[test]
fn every_key_that_is_made_has_an_id_of_its_own_and_two_of_one_id_are_refused() {
    let made = || {
        let folder = with_a_secret();
        let key = fs::read_to_string(folder.path().join("calfleet.key")).unwrap();
        (folder, key)
    };

    let ((folder, one), (_, other)) = (made(), made());

    assert_ne!(one.split(':').next(), other.split(':').next());
    let id = one.split(':').next().unwrap();
    let again = format!("{one}{id}:{}\n", STANDARD.encode([7; 32]));
    fs::write(folder.path().join("calfleet.key"), again).unwrap();
    let told = refused(&["admin", "rotate-keys"], folder.path());
    assert!(told.contains(id) && told.contains("two"), "{told}");
}

#[test]
fn who_rotates_keys_is_told_that_older_marks_need_the_others() {
    let folder = with_a_secret();

    let told = done(&["admin", "rotate-keys"], folder.path());
    let help = done(&["admin", "--help"], folder.path());

    assert!(told.contains("Keep") && told.contains("cleanup"), "{told}");
    assert!(!told.contains("can go") && !help.contains("can go"), "{told} {help}");
}

#[test]
fn a_database_that_refuses_and_has_no_redis_beside_it_is_told_at_once_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://calfleet:w0rd@{}/calfleet", socket.local_addr().unwrap());
    drop(socket);
    let settings = [("CALFLEET__DATABASE__URL", url.as_str())];

    let began = Instant::now();
    let checked = calfleet_under(&settings, &["check"], folder.path(), "");
    let took = began.elapsed();

    let told = told(&checked);
    assert!(!checked.status.success() && told.contains("Postgres needs Redis"), "{told}");
    assert!(told.to_lowercase().contains("connection refused"), "{told}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(!told.contains("w0rd") && told.matches("pool timed out").count() < 2, "{told}");
}

#[test]
fn the_database_file_is_its_owners_alone_and_looking_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calfleet.db");

    refused(&["check"], folder.path());
    let dry = done(&["migrate", "--dry-run"], folder.path());
    assert!(dry.contains("create_organizations") && !file.exists(), "{dry}");
    done(&["migrate"], folder.path());

    assert_eq!(mode(&file), 0o600);
    done(&["check"], folder.path());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let told = refused(&["check"], folder.path());
    assert!(told.contains("chmod 600"), "{told}");
}

#[test]
fn an_organization_that_is_named_has_to_be_there() {
    let folder = installation();
    let create = |name| ["admin", "organization", "create", name];

    done(&["admin", "key", "create", "first"], folder.path());
    let listed = done(&["admin", "organization", "list"], folder.path());
    assert!(listed.contains("default"), "{listed}");
    for arguments in [
        &["admin", "key", "create", "foo", "--organization", "acmee"][..],
        &["admin", "connect", "feed", "https://example.com/x.ics", "--organization", "acmee"],
        &["admin", "list", "--organization", "acmee"],
    ] {
        let told = refused(arguments, folder.path());
        assert!(told.contains("calfleet admin organization create acmee"), "{arguments:?}: {told}");
    }
    assert_eq!(done(&["admin", "organization", "list"], folder.path()), listed);

    for name in ["", "  ", "01890a5d-ac96-774b-bcce-b302099a8057"] {
        assert!(refused(&create(name), folder.path()).contains("name"), "{name:?}");
    }
    done(&create("acmee"), folder.path());
    done(&["admin", "key", "create", "foo", "--organization", "acmee"], folder.path());
}

#[test]
fn a_key_that_is_not_there_cannot_be_revoked_and_one_that_is_can_be_twice() {
    let folder = installation();
    let made = done(&["admin", "key", "create", "app", "--json"], folder.path());
    let id = made.split('"').nth(3).unwrap();

    let unknown = refused(&["admin", "key", "revoke", "01890a5d-ac96-774b-bcce-b302099a8057"], folder.path());
    let first = done(&["admin", "key", "revoke", id], folder.path());
    let again = done(&["admin", "key", "revoke", id], folder.path());

    assert!(unknown.contains("no such key"), "{unknown}");
    assert!(first.contains("Revoked.") && again.contains("already"), "{first} {again}");
}

#[test]
fn a_demo_whose_port_is_taken_says_which_option_gives_another() {
    let folder = tempfile::tempdir().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();

    let told_api = refused(&["demo", "--listen", &taken, "--sandbox-listen", "127.0.0.1:0"], folder.path());
    let told_sandbox =
        refused(&["demo", "--listen", "127.0.0.1:0", "--sandbox-listen", &taken], folder.path());

    assert!(told_api.contains("--listen") && !told_api.contains("api.listen"), "{told_api}");
    assert!(told_sandbox.contains("--sandbox-listen"), "{told_sandbox}");
}
