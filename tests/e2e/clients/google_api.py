"""Runs google-api-python-client against the sandbox.

Arguments: root (http://127.0.0.1:PORT/google), access token, refresh token, client id, service account key file,
person to stand in for. Prints one line per check, "ok NAME" or "FAILED NAME: why"; ends with 1 when one failed.
"""

import json
import sys
import urllib.request
import uuid

from google.oauth2 import service_account
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError

ROOT, ACCESS, REFRESH, CLIENT, KEY_FILE, PERSON = sys.argv[1:7]
SCOPES = ["https://www.googleapis.com/auth/calendar"]
failed = 0


def check(name, function):
    global failed
    try:
        function()
        print("ok", name)
    except Exception as error:  # each check stands alone
        failed += 1
        print(f"FAILED {name}: {type(error).__name__} {error}")


def discovery():
    with urllib.request.urlopen(f"{ROOT}/discovery/v1/apis/calendar/v3/rest") as answer:
        return json.load(answer)


def refused(status, reason, request):
    try:
        request.execute()
    except HttpError as error:
        assert error.resp.status == status, error.resp.status
        assert error.error_details[0]["reason"] == reason, error.error_details
        return
    raise AssertionError(f"expected {status} {reason}")


document = discovery()
credentials = Credentials(ACCESS, REFRESH, token_uri=f"{ROOT}/token", client_id=CLIENT, client_secret="any", scopes=SCOPES)
service = build_from_document(document, credentials=credentials)
events = service.events()
state = {}


def timed(hour, title="Meeting", **more):
    at = lambda h: {"dateTime": f"2026-03-02T{h:02}:00:00+01:00", "timeZone": "Europe/Paris"}
    return {"summary": title, "start": at(hour), "end": at(hour + 1), **more}


def insert():
    for number in range(7):
        made = events.insert(calendarId="primary", body=timed(8 + number, f"Meeting {number}")).execute()
        state.setdefault("ids", []).append(made["id"])
    assert made["organizer"]["self"] and made["etag"] and made["sequence"] == 0


def paging():
    seen, request = [], events.list(calendarId="primary", maxResults=3)
    while request is not None:
        page = request.execute()
        seen += [event["id"] for event in page["items"]]
        assert ("nextPageToken" in page) != ("nextSyncToken" in page)
        request = events.list_next(request, page)
    assert seen == state["ids"], seen
    state["token"] = page["nextSyncToken"]


def delta():
    page = events.list(calendarId="primary", syncToken=state["token"]).execute()
    assert page["items"] == []
    events.patch(calendarId="primary", eventId=state["ids"][0], body={"summary": "Changed"}).execute()
    events.delete(calendarId="primary", eventId=state["ids"][1]).execute()
    page = events.list(calendarId="primary", syncToken=page["nextSyncToken"]).execute()
    assert [event["status"] for event in page["items"]] == ["confirmed", "cancelled"], page
    assert set(page["items"][1]) == {"kind", "etag", "id", "status"}, page["items"][1]


def forbidden_with_token():
    refused(400, "invalidParameter", events.list(calendarId="primary", syncToken=state["token"], timeMin="2026-01-01T00:00:00Z"))
    refused(410, "fullSyncRequired", events.list(calendarId="primary", syncToken="nonsense"))


def etags():
    event = events.get(calendarId="primary", eventId=state["ids"][2]).execute()
    request = events.patch(calendarId="primary", eventId=event["id"], body={"location": "Room"})
    request.headers["If-Match"] = event["etag"]
    changed = request.execute()
    assert changed["etag"] != event["etag"] and changed["summary"] == event["summary"]
    stale = events.patch(calendarId="primary", eventId=event["id"], body={"location": "Hall"})
    stale.headers["If-Match"] = event["etag"]
    refused(412, "conditionNotMet", stale)


def own_ids():
    events.insert(calendarId="primary", body=timed(9, id="abcdef0123")).execute()
    refused(409, "duplicate", events.insert(calendarId="primary", body=timed(9, id="abcdef0123")))
    events.delete(calendarId="primary", eventId="abcdef0123").execute()
    refused(409, "duplicate", events.insert(calendarId="primary", body=timed(9, id="abcdef0123")))
    refused(410, "deleted", events.delete(calendarId="primary", eventId="abcdef0123"))
    refused(400, "invalid", events.insert(calendarId="primary", body=timed(9, id="XYZ")))


def instances():
    series = events.insert(calendarId="primary", body=timed(10, "Series", recurrence=["RRULE:FREQ=WEEKLY;COUNT=5"])).execute()
    listed = events.instances(calendarId="primary", eventId=series["id"]).execute()["items"]
    assert len(listed) == 5 and listed[4]["start"]["dateTime"] == "2026-03-30T10:00:00+02:00", listed[4]
    assert listed[0]["id"] == series["id"] + "_20260302T090000Z"
    listed[1]["summary"] = "Other"
    edited = events.update(calendarId="primary", eventId=listed[1]["id"], body=listed[1]).execute()
    assert edited["recurringEventId"] == series["id"]
    token = drained()
    events.delete(calendarId="primary", eventId=listed[2]["id"]).execute()
    items = events.list(calendarId="primary", syncToken=token).execute()["items"]
    assert items[0]["status"] == "cancelled" and items[0]["recurringEventId"] == series["id"], items
    expanded = events.list(calendarId="primary", singleEvents=True, orderBy="startTime", timeMin="2026-03-08T00:00:00Z").execute()
    assert [event["summary"] for event in expanded["items"]] == ["Other", "Series", "Series"], expanded["items"]
    events.delete(calendarId="primary", eventId=series["id"]).execute()


def drained():
    request = events.list(calendarId="primary")
    while request is not None:
        page = request.execute()
        request = events.list_next(request, page)
    return page["nextSyncToken"]


def put():
    event = events.get(calendarId="primary", eventId=state["ids"][2]).execute()
    del event["location"]
    event["description"] = "text"
    written = events.update(calendarId="primary", eventId=event["id"], body=event).execute()
    assert "location" not in written and written["description"] == "text"


def imported():
    body = timed(12, "Foreign", iCalUID="foreign@example.com", organizer={"email": "boss@example.org"})
    first = events.import_(calendarId="primary", body=body).execute()
    second = events.import_(calendarId="primary", body={**body, "summary": "Again"}).execute()
    assert first["id"] == second["id"] and second["summary"] == "Again"
    assert events.list(calendarId="primary", iCalUID="foreign@example.com").execute()["items"][0]["id"] == first["id"]
    events.delete(calendarId="primary", eventId=first["id"]).execute()


def calendars():
    made = service.calendars().insert(body={"summary": "Team"}).execute()
    service.calendars().patch(calendarId=made["id"], body={"description": "about"}).execute()
    listed = service.calendarList().list().execute()["items"]
    assert [item.get("primary", False) for item in listed].count(True) == 1 and made["id"] in [item["id"] for item in listed]
    state["team"] = made["id"]
    moved = events.move(calendarId="primary", eventId=state["ids"][3], destination=made["id"]).execute()
    assert moved["organizer"]["email"] == made["id"]
    token = service.calendarList().list().execute()["nextSyncToken"]
    service.calendars().delete(calendarId=made["id"]).execute()
    gone = service.calendarList().list(syncToken=token).execute()["items"]
    assert gone[0]["deleted"] and gone[0]["id"] == made["id"]


def free_busy():
    body = {"timeMin": "2026-03-02T00:00:00Z", "timeMax": "2026-03-03T00:00:00Z", "items": [{"id": "primary"}, {"id": "nobody@example.com"}]}
    answer = service.freebusy().query(body=body).execute()["calendars"]
    assert answer["primary"]["busy"] and answer["nobody@example.com"]["errors"][0]["reason"] == "notFound"


def batch():
    answers = {}
    requests = service.new_batch_http_request(callback=lambda id, answer, error: answers.update({id: (answer, error)}))
    requests.add(events.get(calendarId="primary", eventId=state["ids"][4]), request_id="there")
    requests.add(events.get(calendarId="primary", eventId="missing"), request_id="missing")
    requests.add(events.insert(calendarId="primary", body=timed(15, "Batched é")), request_id="new")
    requests.execute()
    assert answers["there"][0]["id"] == state["ids"][4]
    assert answers["missing"][1].resp.status == 404
    assert answers["new"][0]["summary"] == "Batched é"


def watch():
    body = {"id": str(uuid.uuid4()), "type": "web_hook", "address": "http://127.0.0.1:9/", "token": "secret"}
    channel = events.watch(calendarId="primary", body=body).execute()
    assert channel["resourceId"] and int(channel["expiration"]) > 0 and channel["token"] == "secret"
    refused(400, "channelIdNotUnique", events.watch(calendarId="primary", body=body))
    service.channels().stop(body={"id": channel["id"], "resourceId": channel["resourceId"]}).execute()


def fields():
    page = events.list(calendarId="primary", fields="items(id,start/dateTime),nextSyncToken").execute()
    assert set(page) == {"items", "nextSyncToken"} and set(page["items"][0]) == {"id", "start"}


def palette():
    assert service.colors().get().execute()["event"]["11"]["background"]
    assert service.settings().get(setting="timezone").execute()["value"]


def refresh():
    dead = Credentials("dead", REFRESH, token_uri=f"{ROOT}/token", client_id=CLIENT, client_secret="any", scopes=SCOPES)
    build_from_document(document, credentials=dead).events().list(calendarId="primary").execute()
    assert dead.token != "dead" and dead.expiry


def stands_in():
    own = service_account.Credentials.from_service_account_file(KEY_FILE, scopes=SCOPES, subject=PERSON)
    primary = build_from_document(document, credentials=own).calendarList().get(calendarId="primary").execute()
    assert primary["id"] == PERSON


for function in (insert, paging, delta, forbidden_with_token, etags, own_ids, put, instances, imported, calendars, free_busy, batch, watch, fields, palette, refresh, stands_in):
    check(function.__name__, function)
sys.exit(1 if failed else 0)
