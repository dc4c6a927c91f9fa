//! The controls over HTTP do what their Rust methods do.

use serde_json::{Value, json};

use super::*;

async fn control(bench: &Bench, method: &str, path: &str, body: Value) -> (u16, Value) {
    let request =
        bench.request(method, &format!("/control{path}")).header("content-type", "application/json");
    let response = request.body(body.to_string()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
}

#[tokio::test]
async fn an_account_is_made_filled_changed_and_looked_at_over_http() {
    let bench = Bench::start().await;
    let eve = json!({ "name": "eve", "secret": "s", "profile": null, "calendars": [{ "slug": "cal" }] });

    let (made, access) = control(&bench, "POST", "/accounts", eve.clone()).await;
    let (twice, problem) = control(&bench, "POST", "/accounts", eve).await;
    let (_, filled) =
        control(&bench, "POST", "/accounts/eve/calendars/cal/generate", json!({ "events": 20 })).await;
    let (_, mutated) =
        control(&bench, "POST", "/accounts/eve/calendars/cal/mutate", json!({ "changes": 5, "seed": 3 }))
            .await;
    let (_, listed) = control(&bench, "GET", "/accounts/eve/calendars/cal/resources", Value::Null).await;
    let (profile, _) = control(&bench, "PATCH", "/accounts/eve", json!({ "profile": "sogo" })).await;
    let (unknown, _) = control(&bench, "DELETE", "/accounts/nobody", Value::Null).await;

    assert_eq!((made, twice, profile, unknown), (200, 409, 200, 404));
    assert_eq!(access["home"], format!("{}/dav/calendars/eve/", bench.sandbox.url()));
    assert!(problem["error"].as_str().unwrap().contains("eve"));
    assert_eq!(filled["generated"], 20);
    assert_eq!(mutated["mutations"].as_array().unwrap().len(), 5);
    assert_eq!(
        listed["resources"].as_array().unwrap().len(),
        bench.sandbox.resource_count("eve", "cal").unwrap()
    );
    assert_eq!(bench.sandbox.log().count(), 0, "controls are not in the log");
}

#[tokio::test]
async fn faults_and_the_log_are_reached_over_http() {
    let bench = Bench::start().await;
    let rule = json!({ "method": "REPORT", "count": 1, "fault": { "status": { "code": 503 } } });

    let (injected, _) = control(&bench, "POST", "/faults", rule).await;
    let failed = bench.sync("").await;
    let (_, log) = control(&bench, "GET", "/requests", Value::Null).await;
    let (_, reset) = control(&bench, "POST", "/reset", Value::Null).await;

    assert_eq!((injected, failed.status.as_u16()), (200, 503));
    assert_eq!((&log["count"], &log["requests"][0]["report"]), (&json!(1), &json!("sync-collection")));
    assert_eq!(reset["done"], true);
    assert!(bench.sandbox.accounts().is_empty());
}

#[tokio::test]
async fn random_changes_are_the_same_for_the_same_seed() {
    let texts = async || {
        let bench = Bench::start().await;
        bench.sandbox.generate("ada", "work", crate::GeneratorPlan { events: 30, seed: 1 }).unwrap();
        bench.sandbox.mutate("ada", "work", 60, 9).unwrap();
        bench.sandbox.resources("ada", "work").unwrap()
    };

    let (first, second) = (texts().await, texts().await);

    assert_eq!(first, second);
    assert!(first.iter().all(|resource| crate::ical::inspect(&resource.body).is_ok()));
}
