//! A process that dies around the refresh of a token (law 20): the account works afterwards, or it says that a person
//! has to sign in again. Microsoft's refresh tokens are good for one use here, the worst that a provider can do.
//!
//! `CALFLEET_TEST_SIZE=full` kills a thousand times.

use std::time::{Duration, Instant};

use calfleet_harness::{Size, wait_until};
use calfleet_sandbox::{Fault, FaultRule, GraphHabits, MicrosoftAccountSpec, Sandbox, SandboxOptions};
use serde_json::json;

use crate::api_client::Api;
use crate::fleet::{Fleet, PATIENCE, Program, holds};
use crate::sign_in::{ADA, agree_to, post, visit};

const SCOPES: [&str; 5] = ["openid", "email", "profile", "offline_access", "Calendars.Read"];
/// More refreshes than this between two kills are a loop.
const MOST_REFRESHES: usize = 4;

async fn microsoft() -> Sandbox {
    let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
    let microsoft = sandbox.microsoft();
    microsoft.create_account(MicrosoftAccountSpec::new(ADA)).unwrap();
    microsoft.set_habits(GraphHabits { strict_rotation: true, ..microsoft.habits() });
    sandbox
}

fn fleet(sandbox: &Sandbox) -> Fleet {
    let root = sandbox.microsoft().url();
    Fleet::solo(&[
        ("api.public_url", "https://calfleet.example.com/".to_owned()),
        ("api.return_urls", r#"["https://app.example.com/calendar"]"#.to_owned()),
        ("providers.http.allowed_networks", r#"["127.0.0.0/8"]"#.to_owned()),
        ("providers.http.allowed_ports", format!("[{}]", sandbox.address().port())),
        ("providers.microsoft.client_id", "calfleet".to_owned()),
        ("providers.microsoft.client_secret", "client secret".to_owned()),
        ("providers.microsoft.api_url", sandbox.microsoft().api_url()),
        ("providers.microsoft.authorize_url", format!("{root}/common/oauth2/v2.0/authorize")),
        ("providers.microsoft.token_url", format!("{root}/common/oauth2/v2.0/token")),
        ("providers.microsoft.jwks_url", format!("{root}/common/discovery/v2.0/keys")),
        ("providers.microsoft.issuer", format!("{root}/{{tid}}/v2.0")),
        ("limits.microsoft.account.requests", "1000000".to_owned()),
    ])
}

/// Ada signs in, for the first time or again; the connection.
async fn sign_in(solo: &Program, key: &str) -> String {
    let api = Api::new(solo.url(), key);
    let wanted = json!({ "return_url": "https://app.example.com/calendar" });
    let begun = post(&api, "/calendar/microsoft/connect", &wanted).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let callback = agree_to(begun.body["authorize_url"].as_str().unwrap(), ADA, &SCOPES).await;
    let (_, back, page) = visit(solo, &callback).await;
    let back = back.unwrap_or_else(|| panic!("{page}"));
    let ticket = back.query_pairs().find(|(name, _)| name == "connect").unwrap().1.into_owned();
    let confirmed = post(&api, &format!("/connections/{ticket}/confirm"), &json!({})).await;
    assert!(confirmed.status < 300, "{}", confirmed.body);
    confirmed.body["id"].as_str().unwrap().to_owned()
}

fn refreshes(sandbox: &Sandbox) -> usize {
    sandbox.log().entries().iter().filter(|entry| entry.path.ends_with("/token")).count()
}

/// Lets real time pass.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    wait_until(PATIENCE, || Instant::now() >= end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_around_a_refresh_leaves_an_account_that_works_or_says_that_it_does_not() {
    let sandbox = microsoft().await;
    let fleet = fleet(&sandbox);
    let mut solo = fleet.start("solo").await;
    let made = fleet.admin(&["key", "create", "app", "--connect"]).await;
    let key = made["key"].as_str().unwrap();
    let id = sign_in(&solo, key).await;
    fleet.sync(&id).await;
    let (mut works, mut over) = (0, 0);
    let kills = Size::of_this_run().pick(20, 1_000);
    for kill in 0..kills {
        sandbox.clear_faults();
        // between the request and its end, between its end and the commit, and long after
        sandbox.inject(FaultRule::next(Fault::Latency(kill % 4 * 5)).path("*/token"));
        sandbox.microsoft().expire_access_tokens(ADA);
        let before = refreshes(&sandbox);
        fleet.admin(&["sync", &id]).await;
        assert!(wait_until(PATIENCE, || refreshes(&sandbox) > before || kill % 5 == 4).await);
        pass(Duration::from_millis(kill * 7 % 23)).await;
        solo.kill();

        solo = fleet.start("solo").await;
        let asked = sandbox.log().entries().len();
        // refused where it is known by now that a person has to sign in again
        fleet.run(fleet.settings(), &["sync", &id], "").await;
        let wants_a_person = async || {
            let shown = Api::new(solo.url(), key).get(&format!("/connections/{id}")).await;
            shown["state"] == "needs_reauth"
        };
        let is_decided = holds(PATIENCE, async || {
            let entries = sandbox.log().entries();
            let is_listed =
                entries[asked..].iter().any(|entry| entry.path.ends_with("delta") && entry.status == 200);
            is_listed || wants_a_person().await
        });
        assert!(is_decided.await, "kill {kill}: neither works nor wants a person");
        assert!(refreshes(&sandbox) - before <= MOST_REFRESHES, "kill {kill}: a loop");
        if wants_a_person().await {
            over += 1;
            assert_eq!(sign_in(&solo, key).await, id);
            fleet.sync(&id).await;
        } else {
            works += 1;
        }
    }
    println!("{kills} kills: {works} times it works, {over} times it wants a person");
    assert!(works > 0);
}
