//! What operators set for organizations from a shell: clients of their own, service accounts, and whole lists of
//! accounts; with no secret in any log or answer.

use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::api_client::Api;
use crate::fleet::{Fleet, PATIENCE, holds};
use crate::sign_in::{ADA, fleet, google};

const OWN_SECRET: &str = "canary-of-acmes-own-secret";
const READ: &str = "https://www.googleapis.com/auth/calendar.readonly";

async fn refused(fleet: &Fleet, arguments: &[&str], input: &str) -> String {
    let output = fleet.run(fleet.settings(), arguments, input).await;
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_that_brought_its_own_client_signs_in_as_that() {
    let sandbox = google().await;
    let fleet = fleet(&sandbox);
    let solo = fleet.start("solo").await;
    fleet.organizations(&["acme", "other"]).await;
    let acme = fleet.admin(&["key", "create", "acme", "--connect", "--organization", "acme"]).await;
    let other = fleet.admin(&["key", "create", "other", "--connect", "--organization", "other"]).await;
    let set = ["client", "set", "acme", "google", "--client-id", "acme-client"];

    let made = fleet.admin_with(&set, &format!("{OWN_SECRET}\n")).await;

    assert_eq!(made, json!({ "client": "acme-client" }));
    for (key, client) in [(&acme, "acme-client"), (&other, "calfleet")] {
        let api = Api::new(solo.url(), key["key"].as_str().unwrap());
        let wanted = json!({ "return_url": "https://app.example.com/calendar" });
        let begun = api.send_json(Method::POST, "/calendar/google/connect", &wanted).await;
        let page = Url::parse(begun.body["authorize_url"].as_str().unwrap()).unwrap();
        let named = page.query_pairs().find(|(name, _)| name == "client_id").unwrap().1.into_owned();
        assert_eq!(named, client);
    }
    let listed = fleet.admin(&["client", "list", "acme"]).await;
    assert_eq!(
        listed,
        json!([{ "provider": "google", "kind": "oauth", "client": "acme-client", "is_current": true, "connections": 0 }])
    );
    assert_eq!(fleet.admin(&["client", "list", "other"]).await, json!([]));
    fleet.admin(&["client", "remove", "acme", "google"]).await;
    for (arguments, input) in [
        (&["client", "remove", "acme", "google"][..], ""),
        (&["client", "set", "acme", "caldav", "--client-id", "x"], "secret\n"),
        (&["client", "set", "nobody", "google", "--client-id", "x"], "secret\n"),
        (&["client", "set", "acme", "google"], "secret\n"),
        (&["client", "set", "acme", "google", "--client-id", "x"], ""),
    ] {
        let told = refused(&fleet, arguments, input).await;
        assert!(!told.is_empty() && !told.contains("panicked"), "{arguments:?}: {told}");
    }
    assert!(!solo.log().contains(OWN_SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_a_service_account_are_brought_in_from_a_file() {
    let sandbox = google().await;
    let fleet = fleet(&sandbox);
    let solo = fleet.start("solo").await;
    let file = sandbox.google().create_service_account("robot@example.com", &[READ]).unwrap().to_string();
    let lines = fleet.folder().join("accounts.csv");
    let user = "01890a5d-ac96-774b-bcce-b302099a8057";
    std::fs::write(
        &lines,
        format!("organization,user,email,provider,calendars\nacme,{user},{ADA},google,{ADA}\n"),
    )
    .unwrap();
    let lines = lines.to_str().unwrap();
    let set = ["client", "set", "acme", "google", "--service-account"];

    let made = fleet.admin(&["organization", "create", "acme"]).await;
    assert!(refused(&fleet, &set, &file).await.contains("does not allow service accounts"));
    let allowed = fleet.admin(&["organization", "allow-service-accounts", "acme"]).await;
    assert_eq!(allowed, json!({ "organization": made["organization"], "allows": true, "changed": true }));
    assert_eq!(fleet.admin_with(&set, &file).await, json!({ "client": "robot@example.com" }));
    let dry = fleet.admin(&["import-connections", lines]).await;
    assert_eq!(dry, json!([{ "line": 2, "email": ADA, "outcome": "ready", "calendars": 1, "unknown": [] }]));
    assert_eq!(fleet.admin(&["list", "--organization", "acme"]).await, json!([]));
    let applied = fleet.admin(&["import-connections", lines, "--apply"]).await;
    let again = fleet.admin(&["import-connections", lines, "--apply"]).await;

    assert_eq!(applied[0]["outcome"], "connected", "{applied}");
    assert_eq!(again[0]["outcome"], "exists", "{again}");
    let api = fleet.api(solo.url(), Some("acme")).await;
    let has_come = || async {
        let events: Value = api.get("/events?from=2026-11-01&to=2027-01-01").await;
        events["data"].as_array().is_some_and(|events| events.iter().any(|one| one["title"] == "Review"))
    };
    assert!(holds(PATIENCE, has_come).await);
    let log = solo.log();
    for secret in ["PRIVATE KEY", "ya29.", "eyJ"] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_lines_that_cannot_be_brought_in_names_each_of_them() {
    let sandbox = google().await;
    let fleet = fleet(&sandbox);
    let _solo = fleet.start("solo").await;
    fleet.admin(&["organization", "create", "acme"]).await;
    let lines = fleet.folder().join("accounts.json");
    let text = json!([
        { "organization": "acme", "email": ADA, "provider": "google" },
        { "organization": "nowhere", "email": ADA, "provider": "google" },
        { "organization": "acme", "email": ADA, "provider": "nobody" },
    ]);
    std::fs::write(&lines, text.to_string()).unwrap();

    let output =
        fleet.run(fleet.settings(), &["import-connections", lines.to_str().unwrap(), "--apply"], "").await;

    assert!(!output.status.success());
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let reasons: Vec<&str> =
        printed.as_array().unwrap().iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert!(reasons[0].contains("does not allow service accounts"), "{reasons:?}");
    assert!(reasons[1].contains("there is no such organization"), "{reasons:?}");
    assert!(reasons[2].contains("there is no provider"), "{reasons:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("3 of 3 lines"));
    let missing = refused(&fleet, &["import-connections", "/nowhere.csv"], "").await;
    assert!(missing.contains("read /nowhere.csv"), "{missing}");
}
