//! Requests as they leave.

use super::*;

fn api() -> Api {
    Api { base: Url::parse("https://graph.microsoft.com/v1.0/").unwrap() }
}

fn window() -> Window {
    Window { from: Timestamp(1_772_323_200_000), until: Timestamp(1_772_409_600_000) }
}

#[test]
fn ids_are_encoded_into_paths_and_every_request_wants_ids_that_last() {
    let request = api().begin_delta("x", "AAMk/A+B=", window()).unwrap();

    assert_eq!(
        request.uri().to_string(),
        "https://graph.microsoft.com/v1.0/me/calendars/AAMk%2FA+B=/calendarView/delta\
         ?startDateTime=2026-03-01T00%3A00%3A00Z&endDateTime=2026-03-02T00%3A00%3A00Z"
    );
    assert_eq!(
        request.headers().get(PREFER).unwrap(),
        r#"IdType="ImmutableId", outlook.timezone="UTC", odata.maxpagesize=200"#
    );
}

#[test]
fn links_are_followed_as_they_are_and_to_no_other_place() {
    let follow = |link: &str| api().follow("x", link).unwrap().map(|request| request.uri().to_string());

    let link = "https://graph.microsoft.com/v1.0/me/calendars/c/calendarView/delta?$deltatoken=a%2Fb%3d";
    assert_eq!(follow(link).as_deref(), Some(link));
    for other in [
        "https://graph.microsoft.com.example.com/v1.0/me/x",
        "https://graph.microsoft.com/beta/me/x",
        "http://graph.microsoft.com/v1.0/me/x",
        "/v1.0/me/x",
    ] {
        assert_eq!(follow(other), None, "{other}");
    }
}

#[test]
fn the_parts_of_a_batch_have_relative_addresses_and_the_same_form() {
    let part = api().get_event("x", "c/1", "e", Form::Series).unwrap();

    let batch = api().batch("x", &[part]).unwrap();

    let body: Value = serde_json::from_slice(batch.body()).unwrap();
    let url = body["requests"][0]["url"].as_str().unwrap();
    assert!(url.starts_with("/me/calendars/c%2F1/events/e?%24select=id%2C"), "{url}");
    assert_eq!(body["requests"][0]["headers"]["Prefer"], FORM);
}

#[test]
fn an_id_that_would_leave_its_place_is_refused() {
    for id in ["", ".", ".."] {
        assert!(api().get_event("x", "c", id, Form::Any).is_err(), "{id:?}");
    }
}

#[test]
fn a_subscription_never_asks_for_more_than_outlook_gives() {
    let now = Timestamp(1_772_323_200_000);
    let wanted = |days: u64| WatchRequest {
        id: uuid::Uuid::nil(),
        url: "https://calfleet.example.com/notifications/microsoft".parse().unwrap(),
        secret: "s3cret".into(),
        until: now.plus(Duration::from_hours(24 * days)),
    };
    let expires = |days| {
        let request = api().watch("x", "c", &wanted(days), now).unwrap();
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        body["expirationDateTime"].as_str().unwrap().to_owned()
    };

    assert_eq!(expires(1), "2026-03-02T00:00:00Z");
    assert_eq!(expires(30), "2026-03-07T23:50:00Z");
}
