//! Microsoft over the wire: consent, tokens, deltas, series, attendees.

use serde_json::{Value, json};

use super::NOON;
use crate::{
    DeltaHabit, Fault, FaultRule, GraphHabits, MailKind, MicrosoftAccountSpec, Sandbox, SandboxClock,
    SandboxOptions,
};

const SCOPES: [&str; 2] = ["User.Read", "Calendars.ReadWrite"];
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const BACK: &str = "http://localhost/back";
const WINDOW: &str = "startDateTime=2026-01-01T00:00:00Z&endDateTime=2026-03-01T00:00:00Z";

pub(super) struct Bench {
    pub(super) sandbox: Sandbox,
    pub(super) client: reqwest::Client,
    pub(super) token: String,
}

impl Bench {
    pub(super) async fn start() -> Self {
        let clock = SandboxClock::standing_at(NOON);
        let sandbox = Sandbox::start(SandboxOptions { clock, ..SandboxOptions::default() }).await.unwrap();
        for name in ["ada", "bob"] {
            let spec = MicrosoftAccountSpec::new(&format!("{name}@example.com")).zone("Europe/Paris");
            sandbox.microsoft().create_account(spec).unwrap();
        }
        let (token, _) = sandbox.microsoft().tokens("ada@example.com", "bench", &SCOPES).unwrap();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { sandbox, client, token }
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.sandbox.microsoft().api_url())
        };
        let mut request = self.client.request(method.parse().unwrap(), url).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    pub(super) async fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.send(method, path, &[], body).await
    }

    pub(super) async fn create(&self, body: &Value) -> Value {
        let (status, made) = self.api("POST", "me/events", body).await;
        assert_eq!(status, 201, "{made}");
        made
    }

    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let url = format!("{}/{path}", self.sandbox.microsoft().url());
        self.client.post(url).body(body).send().await.unwrap()
    }

    async fn token(&self, fields: &[(&str, &str)]) -> Value {
        let all = [fields, &[("client_id", "app")]].concat();
        let answer = self.form("common/oauth2/v2.0/token", &all).await;
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// All items of a round, and the link to the next.
    async fn round(&self, first: &str) -> (Vec<Value>, String) {
        let mut items = Vec::new();
        let mut address = first.to_owned();
        loop {
            let (status, page) =
                self.send("GET", &address, &[("Prefer", "odata.maxpagesize=3")], &Value::Null).await;
            assert_eq!(status, 200, "{page}");
            items.extend(page["value"].as_array().unwrap().clone());
            match page["@odata.nextLink"].as_str() {
                Some(next) => next.clone_into(&mut address),
                None => return (items, page["@odata.deltaLink"].as_str().unwrap().to_owned()),
            }
        }
    }

    async fn instances(&self, series: &Value) -> Vec<Value> {
        let path = format!("me/events/{}/instances?{WINDOW}&$top=100", series["id"].as_str().unwrap());
        let (_, page) = self.api("GET", &path, &Value::Null).await;
        page["value"].as_array().unwrap().clone()
    }
}

/// A meeting on that day of January 2026.
pub(super) fn meeting(day: u32) -> Value {
    let at = |hour: u32| json!({ "dateTime": format!("2026-01-{day:02}T{hour:02}:00:00"), "timeZone": "Europe/Paris" });
    json!({ "subject": "Meeting", "start": at(9), "end": at(10) })
}

/// Weekly, four times, from 5 January 2026.
pub(super) fn series() -> Value {
    let mut body = meeting(5);
    body["recurrence"] = json!({
        "pattern": { "type": "weekly", "interval": 1, "daysOfWeek": ["monday"] },
        "range": { "type": "numbered", "numberOfOccurrences": 4, "startDate": "2026-01-05" },
    });
    body
}

fn removed(items: &[Value]) -> Vec<&str> {
    items
        .iter()
        .filter(|item| item["@removed"].is_object())
        .map(|item| item["id"].as_str().unwrap())
        .collect()
}

fn kinds(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["type"].as_str().unwrap_or("removed")).collect()
}

fn parameter(address: &str, name: &str) -> String {
    let url = url::Url::parse(address).unwrap();
    let found = url.query_pairs().find(|(known, _)| known == name);
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[tokio::test]
async fn a_consent_becomes_tokens_that_rotate_and_keep_the_account() {
    let bench = Bench::start().await;
    let request = format!(
        "response_type=code&client_id=app&redirect_uri={BACK}&state=s1&nonce=n1\
         &scope=openid+profile+offline_access+Calendars.Read&code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    let fields = [
        ("request", request.as_str()),
        ("account", "ada@example.com"),
        ("scope", "Calendars.Read"),
        ("decision", "allow"),
    ];
    let answer = bench.form("common/oauth2/v2.0/authorize", &fields).await;
    let back = answer.headers()["location"].to_str().unwrap().to_owned();
    let code = parameter(&back, "code");
    let exchange = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", BACK)];

    let wrong = bench.token(&[&exchange[..], &[("code_verifier", "wrong")]].concat()).await;
    let given = bench.token(&[&exchange[..], &[("code_verifier", VERIFIER)]].concat()).await;
    let first = given["refresh_token"].as_str().unwrap();
    let second = bench.token(&[("grant_type", "refresh_token"), ("refresh_token", first)]).await;
    let again = bench.token(&[("grant_type", "refresh_token"), ("refresh_token", first)]).await;
    bench.sandbox.microsoft().set_habits(GraphHabits { strict_rotation: true, ..GraphHabits::default() });
    let strict = bench.token(&[("grant_type", "refresh_token"), ("refresh_token", first)]).await;
    let replayed = bench.token(&[("grant_type", "refresh_token"), ("refresh_token", first)]).await;

    assert_eq!((parameter(&back, "state").as_str(), &wrong["error"]), ("s1", &json!("invalid_grant")));
    assert_eq!(given["scope"], "openid profile https://graph.microsoft.com/Calendars.Read");
    let claims = crate::oauth::jwt::unverified_claims(given["id_token"].as_str().unwrap()).unwrap();
    let issuer = format!("{}/{}/v2.0", bench.sandbox.microsoft().url(), claims["tid"].as_str().unwrap());
    assert_eq!((&claims["nonce"], &claims["iss"]), (&json!("n1"), &json!(issuer)));
    assert_eq!(claims["preferred_username"], "ada@example.com");
    assert!(claims["oid"].is_string() && claims["oid"] != claims["sub"]);
    assert_ne!(second["refresh_token"], given["refresh_token"]);
    assert!(again["refresh_token"].is_string() && strict["refresh_token"].is_string());
    assert_eq!(replayed["error_codes"][0], 50_173);
}

#[tokio::test]
async fn a_refresh_is_refused_with_the_number_that_was_asked_for() {
    let bench = Bench::start().await;
    let microsoft = bench.sandbox.microsoft();
    let (_, refresh) = microsoft.tokens("ada@example.com", "app", &SCOPES).unwrap();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];

    microsoft.refuse_refresh("ada@example.com", Some(50_076)).unwrap();
    let refused = bench.token(&fields).await;
    microsoft.refuse_refresh("ada@example.com", None).unwrap();
    microsoft.expire_refresh_tokens("ada@example.com");
    let expired = bench.token(&fields).await;

    assert_eq!(
        (&refused["error"], &refused["error_codes"][0]),
        (&json!("interaction_required"), &json!(50_076))
    );
    assert_eq!((&expired["error"], &expired["suberror"]), (&json!("invalid_grant"), &json!("token_expired")));
}

#[tokio::test]
async fn a_delta_lists_a_window_in_pages_and_then_its_changes() {
    let bench = Bench::start().await;
    let single = bench.create(&meeting(20)).await;
    let master = bench.create(&series()).await;

    let (first, link) = bench.round(&format!("me/calendarView/delta?{WINDOW}")).await;
    let (quiet, link) = bench.round(&link).await;
    let path = format!("me/events/{}", single["id"].as_str().unwrap());
    bench.api("PATCH", &path, &json!({ "subject": "Changed" })).await;
    let (edited, link) = bench.round(&link).await;
    bench.api("DELETE", &path, &Value::Null).await;
    let (gone, _) = bench.round(&link).await;

    assert_eq!(
        kinds(&first),
        ["singleInstance", "seriesMaster", "occurrence", "occurrence", "occurrence", "occurrence"]
    );
    assert_eq!(first[2]["seriesMasterId"], master["id"]);
    assert!(first[2]["subject"].is_null() && first[1]["recurrence"].is_object());
    assert!(quiet.is_empty());
    assert_eq!((edited.len(), &edited[0]["subject"]), (1, &json!("Changed")));
    assert_eq!(removed(&gone), [single["id"].as_str().unwrap()]);
}

#[tokio::test]
async fn an_occurrence_is_changed_and_removed_and_the_series_stays() {
    let bench = Bench::start().await;
    let master = bench.create(&series()).await;
    let (_, link) = bench.round(&format!("me/calendarView/delta?{WINDOW}")).await;
    let all = bench.instances(&master).await;
    let path = |index: usize| format!("me/events/{}", all[index]["id"].as_str().unwrap());

    let (status, exception) = bench.api("PATCH", &path(1), &json!({ "subject": "Other" })).await;
    let (crossing, refusal) = bench
        .api("PATCH", &path(1), &json!({ "start": meeting(19)["start"], "end": meeting(19)["end"] }))
        .await;
    let (deleted, _) = bench.api("DELETE", &path(2), &Value::Null).await;
    let (changes, link) = bench.round(&link).await;
    let master_path = format!("me/events/{}", master["id"].as_str().unwrap());
    let (_, shown) =
        bench.api("GET", &format!("{master_path}?$select=subject,cancelledOccurrences"), &Value::Null).await;

    assert_eq!(
        (status, &exception["type"], &exception["originalStart"]),
        (200, &json!("exception"), &json!("2026-01-12T08:00:00Z"))
    );
    assert_eq!((crossing, &refusal["error"]["code"]), (400, &json!("ErrorOccurrenceCrossingBoundary")));
    assert_eq!(deleted, 204);
    assert_eq!(kinds(&changes), ["exception", "removed"]);
    assert_eq!(changes[1]["id"], all[2]["id"]);
    assert_eq!(bench.instances(&master).await.len(), 3);
    assert!(shown["cancelledOccurrences"][0].as_str().unwrap().ends_with(".2026-01-19"));

    // A new frame drops both.
    let later = json!({ "start": { "dateTime": "2026-01-05T11:00:00", "timeZone": "Europe/Paris" }, "end": { "dateTime": "2026-01-05T12:00:00", "timeZone": "Europe/Paris" } });
    bench.api("PATCH", &master_path, &later).await;
    let (changes, _) = bench.round(&link).await;

    assert_eq!(kinds(&changes), ["seriesMaster", "occurrence", "occurrence", "occurrence", "occurrence"]);
    assert!(bench.instances(&master).await.iter().all(|item| item["subject"] == "Meeting"));
}

#[tokio::test]
async fn a_series_lives_by_the_wall_of_its_recurrence_and_a_patch_of_nothing_new_keeps_exceptions() {
    let bench = Bench::start().await;
    let mut body = series();
    let utc = |hour: u32| json!({ "dateTime": format!("2026-03-23T{hour:02}:00:00"), "timeZone": "UTC" });
    (body["start"], body["end"]) = (utc(8), utc(9));
    body["recurrence"]["range"]["startDate"] = json!("2026-03-23");
    body["recurrence"]["range"]["recurrenceTimeZone"] = json!("Europe/Paris");
    let made = bench.create(&body).await;
    let path = format!("me/events/{}", made["id"].as_str().unwrap());
    let listed = async || {
        let window = "startDateTime=2026-03-01T00:00:00Z&endDateTime=2026-04-05T00:00:00Z";
        let (_, page) = bench.api("GET", &format!("{path}/instances?{window}"), &Value::Null).await;
        page["value"].as_array().unwrap().clone()
    };
    let first = format!("me/events/{}", listed().await[0]["id"].as_str().unwrap());
    bench.api("PATCH", &first, &json!({ "subject": "Other" })).await;

    // What was read is written back as it is.
    let (_, read) = bench.api("GET", &path, &Value::Null).await;
    let same = json!({ "start": read["start"], "end": read["end"], "recurrence": read["recurrence"], "subject": "Same" });
    let (status, _) = bench.api("PATCH", &path, &same).await;

    let after = listed().await;
    let of = |name: &str| after.iter().map(|item| item[name].clone()).collect::<Vec<_>>();
    assert_eq!(status, 200);
    assert_eq!(of("subject"), [json!("Other"), json!("Same")]);
    // Summer time begins on 29 March.
    assert!(after[1]["start"]["dateTime"].as_str().unwrap().starts_with("2026-03-30T07:00"));
}

#[tokio::test]
async fn occurrences_that_a_new_rule_lacks_are_removed() {
    let bench = Bench::start().await;
    let master = bench.create(&series()).await;
    let (first, link) = bench.round(&format!("me/calendarView/delta?{WINDOW}")).await;
    let path = format!("me/events/{}", master["id"].as_str().unwrap());
    let mut shorter = series()["recurrence"].clone();
    shorter["range"]["numberOfOccurrences"] = json!(3);

    bench.api("PATCH", &path, &json!({ "recurrence": shorter })).await;
    let (shortened, link) = bench.round(&link).await;
    bench.api("DELETE", &path, &Value::Null).await;
    let (gone, _) = bench.round(&link).await;

    assert_eq!(removed(&shortened), [first[4]["id"].as_str().unwrap()]);
    assert_eq!(removed(&gone).len(), 4);
    assert!(removed(&gone).contains(&master["id"].as_str().unwrap()));
}

#[tokio::test]
async fn what_happens_outside_the_window_is_told_as_removed() {
    let bench = Bench::start().await;
    let (_, link) = bench.round(&format!("me/calendarView/delta?{WINDOW}")).await;

    let mut far = meeting(20);
    for side in ["start", "end"] {
        let time = far[side]["dateTime"].as_str().unwrap().replace("2026", "2027");
        far[side]["dateTime"] = json!(time);
    }
    let far = bench.create(&far).await;
    let (items, _) = bench.round(&link).await;
    let (status, _) =
        bench.api("GET", &format!("me/events/{}", far["id"].as_str().unwrap()), &Value::Null).await;

    assert_eq!(removed(&items), [far["id"].as_str().unwrap()]);
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_dead_delta_link_is_refused_in_three_ways() {
    let bench = Bench::start().await;
    let microsoft = bench.sandbox.microsoft();
    let (_, link) = bench.round(&format!("me/calendarView/delta?{WINDOW}")).await;
    bench.create(&meeting(20)).await;
    let calendar = microsoft.default_calendar("ada@example.com").unwrap();
    microsoft.expire_deltas(&calendar).unwrap();

    microsoft.set_habits(GraphHabits { expired_delta: DeltaHabit::ResyncRequired, ..GraphHabits::default() });
    let dead = bench.client.get(&link).bearer_auth(&bench.token).send().await.unwrap();
    let (anew, _) = bench.round(dead.headers()["location"].to_str().unwrap()).await;
    let mut said = Vec::new();
    for expired_delta in [DeltaHabit::SyncStateNotFound, DeltaHabit::ResyncRequired, DeltaHabit::BadRequest] {
        microsoft.set_habits(GraphHabits { expired_delta, ..GraphHabits::default() });
        let (status, body) = bench.api("GET", &link, &Value::Null).await;
        said.push((status, body["error"]["code"].as_str().unwrap().to_owned()));
    }

    assert_eq!(kinds(&anew), ["singleInstance"]);
    assert_eq!(
        said,
        [
            (410, "syncStateNotFound".to_owned()),
            (410, "resyncRequired".to_owned()),
            (400, "SyncStateNotFound".to_owned())
        ]
    );
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_a_repeated_transaction_names_the_event() {
    let bench = Bench::start().await;
    let mut body = meeting(20);
    body["transactionId"] = json!("t-1");
    let made = bench.create(&body).await;
    let path = format!("me/events/{}", made["id"].as_str().unwrap());
    let etag = made["@odata.etag"].as_str().unwrap();

    let (repeated, twice) = bench.api("POST", "me/events", &body).await;
    let fresh = bench.send("PATCH", &path, &[("If-Match", etag)], &json!({ "subject": "A" })).await;
    let stale = bench.send("PATCH", &path, &[("If-Match", etag)], &json!({ "subject": "B" })).await;
    let stale_delete = bench.send("DELETE", &path, &[("If-Match", etag)], &Value::Null).await;

    assert_eq!((repeated, &twice["error"]["code"]), (409, &json!("ErrorDuplicateTransactionId")));
    assert_eq!(twice["error"]["@event.existingEventId"], made["id"]);
    assert_eq!((fresh.0, stale.0, stale_delete.0), (200, 412, 412));
    assert_eq!(stale.1["error"]["code"], "ErrorIrresolvableConflict");
}

#[tokio::test]
async fn a_default_id_changes_with_a_move_and_an_immutable_one_does_not() {
    let bench = Bench::start().await;
    let microsoft = bench.sandbox.microsoft();
    let other = microsoft.create_calendar("ada@example.com", "Other").unwrap();
    let made = bench.create(&meeting(20)).await;
    let path = format!("me/events/{}", made["id"].as_str().unwrap());
    let immutable = [("Prefer", "IdType=\"ImmutableId\"")];
    let (_, before) = bench.send("GET", &path, &immutable, &Value::Null).await;

    microsoft.move_event("ada@example.com", made["id"].as_str().unwrap(), &other).unwrap();
    let (gone, _) = bench.api("GET", &path, &Value::Null).await;
    let lasting = format!("me/events/{}", before["id"].as_str().unwrap());
    let (there, after) = bench.send("GET", &lasting, &immutable, &Value::Null).await;

    assert_ne!(before["id"], made["id"]);
    assert_eq!((gone, there), (404, 200));
    assert_eq!(after["id"], before["id"]);
}

#[tokio::test]
async fn times_follow_the_preferred_zone_and_days_do_not() {
    let bench = Bench::start().await;
    let made = bench.create(&meeting(20)).await;
    let day = |day: u32| json!({ "dateTime": format!("2026-01-{day}T00:00:00"), "timeZone": "Europe/Paris" });
    let whole =
        bench.create(&json!({ "subject": "Day", "isAllDay": true, "start": day(20), "end": day(21) })).await;
    let read = async |event: &Value| {
        let path = format!("me/events/{}", event["id"].as_str().unwrap());
        let prefer = [("Prefer", "outlook.timezone=\"Pacific Standard Time\"")];
        bench.send("GET", &path, &prefer, &Value::Null).await.1
    };

    let (timed, whole) = (read(&made).await, read(&whole).await);

    assert_eq!(made["start"], json!({ "dateTime": "2026-01-20T08:00:00.0000000", "timeZone": "UTC" }));
    assert_eq!(timed["start"]["dateTime"], "2026-01-20T00:00:00.0000000");
    assert_eq!(timed["originalStartTimeZone"], "Romance Standard Time");
    assert_eq!(whole["end"]["dateTime"], "2026-01-21T00:00:00.0000000");
    let wrong = [("Prefer", "outlook.timezone=\"Nowhere\"")];
    assert_eq!(bench.send("GET", "me/events", &wrong, &Value::Null).await.0, 400);
}

#[tokio::test]
async fn an_attendee_has_a_copy_and_everybody_is_mailed() {
    let bench = Bench::start().await;
    let microsoft = bench.sandbox.microsoft();
    let mut body = meeting(20);
    body["attendees"] = json!([
        { "emailAddress": { "address": "bob@example.com" } },
        { "emailAddress": { "address": "eve@elsewhere.test" } },
    ]);

    let made = bench.create(&body).await;
    let (_, listed) = microsoft.call("bob@example.com", "GET", "me/events", &Value::Null);
    let path = format!("me/events/{}", made["id"].as_str().unwrap());
    bench
        .api("PATCH", &path, &json!({ "attendees": [{ "emailAddress": { "address": "bob@example.com" } }] }))
        .await;

    let copy = &listed["value"][0];
    assert_eq!((&copy["isOrganizer"], &copy["iCalUId"]), (&json!(false), &made["iCalUId"]));
    assert_eq!(copy["responseStatus"]["response"], "notResponded");
    let mails: Vec<(String, MailKind)> =
        bench.sandbox.mails().into_iter().map(|mail| (mail.to, mail.kind)).collect();
    assert_eq!(
        mails,
        [
            ("bob@example.com".to_owned(), MailKind::Invitation),
            ("eve@elsewhere.test".to_owned(), MailKind::Invitation),
            ("eve@elsewhere.test".to_owned(), MailKind::Cancellation),
        ]
    );
}

#[tokio::test]
async fn the_fifth_request_at_once_is_throttled() {
    let bench = Bench::start().await;
    bench.sandbox.inject(FaultRule::next(Fault::Latency(300)).times(4));

    let calls = (0..5).map(|_| bench.api("GET", "me/calendars", &Value::Null));
    let mut statuses: Vec<u16> =
        futures_util::future::join_all(calls).await.into_iter().map(|(status, _)| status).collect();

    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 429]);
}
