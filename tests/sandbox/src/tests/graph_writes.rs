//! Microsoft over the wire: answers of attendees, batches, schedules, subscriptions, controls.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::graph::{Bench, meeting, series};
use crate::{Fault, FaultRule, GraphHabits, GraphLifecycle, MailKind, MicrosoftAccountSpec, RetryAfter};

/// A place that hears notifications: shakes hands, then collects bodies.
struct Hook {
    listener: TcpListener,
}

impl Hook {
    async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn address(&self) -> String {
        format!("http://{}/hook?kind=events", self.listener.local_addr().unwrap())
    }

    /// The next request, which is answered with its token, or with 202 when it has none.
    async fn heard(&self) -> (String, Value) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut text = String::new();
        let mut buffer = vec![0; 65_536];
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            let length = text
                .to_lowercase()
                .split_once("content-length: ")
                .map_or(0, |(_, rest)| rest.split("\r\n").next().unwrap().parse().unwrap());
            let body = text.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
            if text.contains("\r\n\r\n") && body >= length {
                break;
            }
        }
        let target = text.split(' ').nth(1).unwrap().to_owned();
        let token = url::Url::parse(&format!("http://hook{target}")).unwrap();
        let token = token
            .query_pairs()
            .find(|(name, _)| name == "validationToken")
            .map(|(_, token)| token.into_owned());
        let (status, body) = token.map_or(("202 Accepted", String::new()), |token| ("200 OK", token));
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        (target, serde_json::from_str(body).unwrap_or_default())
    }
}

fn wish(address: &str, resource: &str, minutes: i64) -> Value {
    let until = crate::clock::utc_of(super::NOON + minutes * 60_000).to_rfc3339();
    json!({
        "changeType": "created,updated,deleted",
        "notificationUrl": address,
        "lifecycleNotificationUrl": address,
        "resource": resource,
        "expirationDateTime": until,
        "clientState": "secret",
    })
}

impl Bench {
    async fn subscribed(&self, hook: &Hook) -> String {
        let body = wish(&hook.address(), "/me/events", 60);
        let both = async {
            hook.heard().await;
            hook.heard().await;
        };
        let ((status, made), ()) = tokio::join!(self.api("POST", "subscriptions", &body), both);
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_subscription_shakes_hands_and_then_tells_of_every_change() {
    let bench = Bench::start().await;
    let hook = Hook::start().await;
    let id = bench.subscribed(&hook).await;

    let made = bench.create(&meeting(20)).await;
    let (_, created) = hook.heard().await;
    let path = format!("me/events/{}", made["id"].as_str().unwrap());
    bench.api("DELETE", &path, &Value::Null).await;
    let (_, deleted) = hook.heard().await;

    let notice = &created["value"][0];
    assert_eq!((&notice["subscriptionId"], &notice["clientState"]), (&json!(id), &json!("secret")));
    assert_eq!((&notice["changeType"], &notice["resourceData"]["id"]), (&json!("created"), &made["id"]));
    assert_eq!(deleted["value"][0]["changeType"], "deleted");
}

#[tokio::test]
async fn an_address_that_does_not_answer_the_handshake_is_refused() {
    let bench = Bench::start().await;

    let (dead, refusal) =
        bench.api("POST", "subscriptions", &wish("http://127.0.0.1:9/hook", "me/events", 60)).await;
    let (long, _) =
        bench.api("POST", "subscriptions", &wish("http://127.0.0.1:9/", "me/events", 10_081)).await;
    let (other, _) =
        bench.api("POST", "subscriptions", &wish("http://127.0.0.1:9/", "me/messages", 60)).await;

    assert_eq!((dead, &refusal["error"]["code"]), (400, &json!("ValidationError")));
    assert_eq!((long, other), (400, 400));
    assert!(bench.sandbox.microsoft().subscriptions().is_empty());
}

#[tokio::test]
async fn a_subscription_is_renewed_held_and_removed() {
    let bench = Bench::start().await;
    let hook = Hook::start().await;
    let microsoft = bench.sandbox.microsoft();
    let id = bench.subscribed(&hook).await;
    let path = format!("subscriptions/{id}");

    let until = crate::clock::utc_of(super::NOON + 120 * 60_000).to_rfc3339();
    let (renewed, shown) = bench.api("PATCH", &path, &json!({ "expirationDateTime": until })).await;
    microsoft.tell_lifecycle(&id, GraphLifecycle::ReauthorizationRequired);
    let (_, lifecycle) = hook.heard().await;
    bench.create(&meeting(19)).await;
    bench.api("POST", &format!("{path}/reauthorize"), &Value::Null).await;
    let told = bench.create(&meeting(20)).await;
    let (_, after) = hook.heard().await;
    microsoft.drop_subscription(&id);
    let (gone, _) = bench.api("PATCH", &path, &json!({ "expirationDateTime": until })).await;

    assert_eq!((renewed, &shown["expirationDateTime"]), (200, &json!("2026-01-15T14:00:00.0000000Z")));
    assert_eq!(lifecycle["value"][0]["lifecycleEvent"], "reauthorizationRequired");
    assert_eq!(after["value"][0]["resourceData"]["id"], told["id"]);
    assert_eq!(gone, 404);
}

#[tokio::test]
async fn a_batch_runs_its_parts_alone_and_in_chains() {
    let bench = Bench::start().await;
    let made = bench.create(&meeting(20)).await;
    let event = format!("/me/events/{}", made["id"].as_str().unwrap());
    let seconds = Some(RetryAfter::Seconds(7));
    let rule = FaultRule::next(Fault::Status { code: 429, retry_after: seconds });
    bench.sandbox.inject(rule.path("/microsoft/v1.0/me/calendars"));
    let headers = json!({ "Content-Type": "application/json" });
    let requests = json!({ "requests": [
        { "id": "1", "method": "GET", "url": event },
        { "id": "2", "method": "GET", "url": "/me/events/AAMkAGnonsense" },
        { "id": "3", "method": "PATCH", "url": event, "headers": headers, "body": { "subject": "No" }, "dependsOn": ["2"] },
        { "id": "4", "method": "PATCH", "url": event, "headers": headers, "body": { "subject": "Yes" }, "dependsOn": ["1"] },
        { "id": "5", "method": "GET", "url": "/me/calendars" },
    ] });

    let (status, answer) = bench.api("POST", "$batch", &requests).await;
    let many: Vec<Value> =
        (0..21).map(|id| json!({ "id": id.to_string(), "method": "GET", "url": "/me" })).collect();
    let (too_many, _) = bench.api("POST", "$batch", &json!({ "requests": many })).await;

    let part = |id: &str| {
        answer["responses"].as_array().unwrap().iter().find(|part| part["id"] == id).unwrap().clone()
    };
    let statuses = ["1", "2", "3", "4", "5"].map(|id| part(id)["status"].as_u64().unwrap());
    assert_eq!((status, statuses, too_many), (200, [200, 400, 424, 200, 429], 400));
    assert_eq!(part("4")["body"]["subject"], "Yes");
    assert_eq!(part("5")["headers"]["Retry-After"], "7");
}

#[tokio::test]
async fn an_answer_reaches_the_organizer_and_a_declined_meeting_is_gone() {
    let bench = Bench::start().await;
    let microsoft = bench.sandbox.microsoft();
    let mut body = meeting(20);
    body["attendees"] = json!([{ "emailAddress": { "address": "bob@example.com" } }]);
    let made = bench.create(&body).await;
    let path = format!("me/events/{}", made["id"].as_str().unwrap());
    let as_bob =
        |method: &str, path: &str, body: &Value| microsoft.call("bob@example.com", method, path, body);
    let (_, listed) = as_bob("GET", "me/events", &Value::Null);
    let copy = format!("me/events/{}", listed["value"][0]["id"].as_str().unwrap());

    let (own, _) = bench.api("POST", &format!("{path}/accept"), &json!({})).await;
    let (accepted, _) = as_bob("POST", &format!("{copy}/accept"), &json!({ "comment": "Yes" }));
    let (_, shown) = as_bob("GET", &copy, &Value::Null);
    let (_, original) = bench.api("GET", &path, &Value::Null).await;
    let (declined, _) = as_bob("POST", &format!("{copy}/decline"), &json!({ "sendResponse": false }));
    let (gone, _) = as_bob("GET", &copy, &Value::Null);
    let (_, unchanged) = bench.api("GET", &path, &Value::Null).await;

    assert_eq!((own, accepted, declined, gone), (400, 202, 202, 404));
    assert_eq!(shown["responseStatus"]["response"], "accepted");
    assert_eq!(original["attendees"][0]["status"]["response"], "accepted");
    assert_eq!(unchanged["attendees"][0]["status"]["response"], "accepted");
    let responses = bench.sandbox.mails().into_iter().filter(|mail| mail.kind == MailKind::Response);
    assert_eq!(responses.count(), 1);
}

#[tokio::test]
async fn a_cancelled_meeting_stays_with_the_attendee_marked() {
    let bench = Bench::start().await;
    let microsoft = bench.sandbox.microsoft();
    let mut body = series();
    body["attendees"] = json!([{ "emailAddress": { "address": "bob@example.com" } }]);
    let made = bench.create(&body).await;
    let path = format!("me/events/{}", made["id"].as_str().unwrap());

    let (status, _) = bench.api("POST", &format!("{path}/cancel"), &json!({ "comment": "Sorry" })).await;
    let (gone, _) = bench.api("GET", &path, &Value::Null).await;
    let (_, listed) = microsoft.call("bob@example.com", "GET", "me/events", &Value::Null);

    assert_eq!((status, gone), (202, 404));
    let copy = &listed["value"][0];
    assert_eq!((&copy["isCancelled"], &copy["subject"]), (&json!(true), &json!("Canceled: Meeting")));
}

#[tokio::test]
async fn a_schedule_shows_digits_and_unknown_people() {
    let bench = Bench::start().await;
    let mut body = meeting(20);
    body["showAs"] = json!("oof");
    bench.create(&body).await;
    bench.create(&series()).await;
    let at =
        |hour: u32| json!({ "dateTime": format!("2026-01-20T{hour:02}:00:00"), "timeZone": "Europe/Paris" });
    let wish = json!({
        "schedules": ["ada@example.com", "nobody@example.com"],
        "startTime": at(8), "endTime": at(12), "availabilityViewInterval": 60,
    });

    let (status, answer) = bench.api("POST", "me/calendar/getSchedule", &wish).await;

    assert_eq!((status, &answer["value"][0]["availabilityView"]), (200, &json!("0300")));
    assert_eq!(answer["value"][0]["scheduleItems"][0]["status"], "oof");
    assert_eq!(answer["value"][1]["error"]["responseCode"], "ErrorMailRecipientNotFound");
}

#[tokio::test]
async fn an_online_meeting_lives_as_long_as_its_block_in_the_body() {
    let bench = Bench::start().await;
    let mut body = meeting(20);
    body["isOnlineMeeting"] = json!(true);
    body["body"] = json!({ "contentType": "text", "content": "Agenda" });

    let made = bench.create(&body).await;
    let path = format!("me/events/{}", made["id"].as_str().unwrap());
    let kept = json!({ "body": { "contentType": "html", "content": made["body"]["content"].as_str().unwrap().replace("Agenda", "Plan") } });
    let (_, kept) = bench.api("PATCH", &path, &kept).await;
    let text = [("Prefer", "outlook.body-content-type=\"text\"")];
    let (_, plain) = bench.send("GET", &path, &text, &Value::Null).await;
    let (_, lost) =
        bench.api("PATCH", &path, &json!({ "body": { "contentType": "text", "content": "Bare" } })).await;

    assert!(made["onlineMeeting"]["joinUrl"].as_str().unwrap().starts_with("https://teams.microsoft.com/"));
    assert_eq!((&kept["isOnlineMeeting"], &lost["isOnlineMeeting"]), (&json!(true), &json!(false)));
    assert!(plain["body"]["content"].as_str().unwrap().starts_with("Plan\r\n____"));
}

#[tokio::test]
async fn an_extended_property_is_found_by_its_value() {
    let bench = Bench::start().await;
    let id = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name mark";
    let mut body = meeting(20);
    body["singleValueExtendedProperties"] = json!([{ "id": id, "value": "x" }]);
    let made = bench.create(&body).await;
    bench.create(&meeting(21)).await;
    let query = |value: &str| {
        let filter =
            format!("singleValueExtendedProperties/any(ep: ep/id eq '{id}' and ep/value eq '{value}')");
        url::form_urlencoded::Serializer::new(String::from("me/events?"))
            .append_pair("$filter", &filter)
            .append_pair("$expand", &format!("singleValueExtendedProperties($filter=id eq '{id}')"))
            .finish()
    };

    let (_, found) = bench.api("GET", &query("x"), &Value::Null).await;
    let (_, other) = bench.api("GET", &query("y"), &Value::Null).await;

    assert_eq!(found["value"].as_array().unwrap().len(), 1);
    assert_eq!(found["value"][0]["singleValueExtendedProperties"][0]["value"], "x");
    assert!(made["singleValueExtendedProperties"].is_null() && other["value"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_large_calendar_is_paged_through_in_view_and_delta() {
    let bench = Bench::start().await;
    let microsoft = bench.sandbox.microsoft();
    microsoft.set_habits(GraphHabits { requests_per_ten_minutes: None, ..GraphHabits::default() });
    for number in 0..2_000 {
        microsoft.call("ada@example.com", "POST", "me/events", &meeting(1 + number % 28));
    }
    let window = "startDateTime=2026-01-01T00:00:00Z&endDateTime=2026-03-01T00:00:00Z";
    let mut counts = Vec::new();
    for first in [format!("me/calendarView?{window}&$top=100"), format!("me/calendarView/delta?{window}")] {
        let (mut address, mut ids) = (first, std::collections::BTreeSet::new());
        loop {
            let size = [("Prefer", "odata.maxpagesize=100")];
            let (status, page) = bench.send("GET", &address, &size, &Value::Null).await;
            assert_eq!(status, 200, "{page}");
            let items = page["value"].as_array().unwrap();
            ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["@odata.nextLink"].as_str() else { break };
            next.clone_into(&mut address);
        }
        counts.push(ids.len());
    }

    assert_eq!(counts, [2_000, 2_000]);
    assert_eq!(bench.sandbox.log().count(), 40);
}

#[tokio::test]
async fn the_controls_over_http_make_accounts_and_edits_of_other_people() {
    let bench = Bench::start().await;
    let post = async |path: &str, body: Value| {
        let url = format!("{}/control/microsoft/{path}", bench.sandbox.url());
        let request = bench.client.post(url).header("content-type", "application/json");
        let text = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };

    let made =
        post("accounts", json!({ "email": "eve@example.com", "time_zone": "Romance Standard Time" })).await;
    let tokens =
        post("accounts/eve@example.com/tokens", json!({ "client": "app", "scopes": ["Calendars.Read"] }))
            .await;
    let call = json!({ "method": "POST", "path": "me/events", "body": meeting(20) });
    let event = post("accounts/eve@example.com/calls", call).await;
    let calendar = made["calendar"].as_str().unwrap();
    let expired = post(&format!("calendars/{calendar}/expire-deltas"), Value::Null).await;
    let refusing = post("accounts/eve@example.com/refuse-refresh", json!({ "number": 50_076 })).await;

    assert!(tokens["access_token"].is_string());
    assert_eq!(
        (&event["status"], &expired["done"], &refusing["done"]),
        (&json!(201), &json!(true), &json!(true))
    );
    assert_eq!(bench.sandbox.microsoft().event_count(calendar).unwrap(), 1);
}

#[tokio::test]
async fn rights_and_scopes_are_looked_at() {
    let mut bench = Bench::start().await;
    let microsoft = bench.sandbox.microsoft();
    let shared = microsoft.create_calendar("bob@example.com", "Team").unwrap();
    microsoft.share(&shared, "ada@example.com", Some(false)).unwrap();
    microsoft.create_account(MicrosoftAccountSpec::new("old@example.com").without_mailbox()).unwrap();
    let path = format!("me/calendars/{shared}/events");

    let (read, _) = bench.api("GET", &path, &Value::Null).await;
    let (written, refusal) = bench.api("POST", &path, &meeting(20)).await;
    let (_, calendars) = bench.api("GET", "me/calendars", &Value::Null).await;
    let (token, _) =
        microsoft.tokens("ada@example.com", "app", &["https://graph.microsoft.com/Calendars.Read"]).unwrap();
    bench.token = token;
    let (me, _) = bench.api("GET", "me", &Value::Null).await;
    let (create, _) = bench.api("POST", "me/events", &meeting(20)).await;
    bench.token = microsoft.tokens("old@example.com", "app", &["Calendars.Read"]).unwrap().0;
    let (none, mailbox) = bench.api("GET", "me/calendars", &Value::Null).await;

    assert_eq!((read, written, me, create), (200, 403, 403, 403));
    assert_eq!(refusal["error"]["code"], "ErrorAccessDenied");
    assert_eq!(calendars["value"][1]["canEdit"], false);
    assert_eq!((none, &mailbox["error"]["code"]), (404, &json!("MailboxNotEnabledForRESTAPI")));
}
