"""Runs msgraph-sdk against the sandbox.

Arguments: root (http://127.0.0.1:PORT/microsoft), access token. Prints one line per check, "ok NAME" or
"FAILED NAME: why"; ends with 1 when one failed.
"""

import asyncio
import json
import queue
import sys
import threading
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kiota_abstractions.authentication import AuthenticationProvider
from kiota_abstractions.base_request_configuration import RequestConfiguration
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.attendee import Attendee
from msgraph.generated.models.calendar import Calendar
from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone
from msgraph.generated.models.day_of_week import DayOfWeek
from msgraph.generated.models.email_address import EmailAddress
from msgraph.generated.models.event import Event
from msgraph.generated.models.event_type import EventType
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.patterned_recurrence import PatternedRecurrence
from msgraph.generated.models.recurrence_pattern import RecurrencePattern
from msgraph.generated.models.recurrence_pattern_type import RecurrencePatternType
from msgraph.generated.models.recurrence_range import RecurrenceRange
from msgraph.generated.models.recurrence_range_type import RecurrenceRangeType
from msgraph.generated.models.response_type import ResponseType
from msgraph.generated.models.single_value_legacy_extended_property import SingleValueLegacyExtendedProperty
from msgraph.generated.models.subscription import Subscription
from msgraph.generated.users.item.calendar.get_schedule.get_schedule_post_request_body import GetSchedulePostRequestBody
from msgraph.generated.users.item.calendar_view.delta.delta_request_builder import DeltaRequestBuilder
from msgraph.generated.users.item.events.events_request_builder import EventsRequestBuilder
from msgraph.generated.users.item.events.item.accept.accept_post_request_body import AcceptPostRequestBody
from msgraph.generated.users.item.events.item.event_item_request_builder import EventItemRequestBuilder
from msgraph.generated.users.item.events.item.instances.instances_request_builder import InstancesRequestBuilder
from msgraph_core.requests.batch_request_content import BatchRequestContent
from msgraph_core.requests.batch_request_item import BatchRequestItem
from msgraph_core.tasks.page_iterator import PageIterator

ROOT, ACCESS = sys.argv[1:3]
CONTROL = ROOT.replace("/microsoft", "/control/microsoft")
ME, OTHER = "ada@example.com", "bob@example.com"
PROPERTY = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name mark"
failed = 0
state = {}


class Bearer(AuthenticationProvider):
    async def authenticate_request(self, request, additional_authentication_context={}):
        request.headers.try_add("Authorization", f"Bearer {ACCESS}")


adapter = GraphRequestAdapter(Bearer())
adapter.base_url = f"{ROOT}/v1.0"
client = GraphServiceClient(request_adapter=adapter)


def control(path, body=None):
    request = urllib.request.Request(f"{CONTROL}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def configured(parameters=None, **headers):
    configuration = RequestConfiguration(query_parameters=parameters)
    for name, value in headers.items():
        configuration.headers.add(name.replace("_", "-"), value)
    return configuration


def at(day, hour):
    return DateTimeTimeZone(date_time=f"2026-03-{day:02}T{hour:02}:00:00", time_zone="Romance Standard Time")


def timed(day, title="Meeting", **more):
    return Event(subject=title, start=at(day, 9), end=at(day, 10), **more)


async def refused(status, code, work):
    try:
        await work
    except ODataError as error:
        assert error.response_status_code == status, error.response_status_code
        assert error.error.code == code, error.error.code
        return
    raise AssertionError(f"expected {status} {code}")


async def delta(link=None):
    """All items of a round, and the link to the next."""
    window = DeltaRequestBuilder.DeltaRequestBuilderGetQueryParameters(
        start_date_time="2026-03-01T00:00:00Z", end_date_time="2026-04-01T00:00:00Z"
    )
    builder = client.me.calendar_view.delta
    items = []
    page = await (builder.with_url(link).get() if link else builder.get(configured(window, Prefer="odata.maxpagesize=4")))
    while True:
        items += page.value
        if page.odata_delta_link:
            return items, page.odata_delta_link
        page = await builder.with_url(page.odata_next_link).get()


async def me():
    user = await client.me.get()
    assert user.user_principal_name == ME and user.id


async def calendars():
    made = await client.me.calendars.post(Calendar(name="Team"))
    listed = (await client.me.calendars.get()).value
    assert [item.is_default_calendar for item in listed].count(True) == 1
    assert made.id in [item.id for item in listed] and made.can_edit and made.owner.address == ME
    renamed = await client.me.calendars.by_calendar_id(made.id).patch(Calendar(name="Crew"))
    assert renamed.name == "Crew"
    await client.me.calendars.by_calendar_id(made.id).delete()
    await refused(404, "ErrorItemNotFound", client.me.calendars.by_calendar_id(made.id).get())


async def create_and_page():
    for number in range(7):
        made = await client.me.events.post(timed(2 + number, f"Meeting {number}"))
        state.setdefault("ids", []).append(made.id)
    assert made.is_organizer and made.change_key and made.i_cal_u_id and made.start.time_zone == "UTC"
    parameters = EventsRequestBuilder.EventsRequestBuilderGetQueryParameters(top=3, select=["subject"])
    page = await client.me.events.get(configured(parameters))
    assert len(page.value) == 3 and page.odata_next_link
    seen = []
    await PageIterator(page, adapter).iterate(lambda event: seen.append(event.id) or True)
    assert seen == state["ids"], seen


async def incremental():
    items, link = await delta()
    assert [item.id for item in items] == state["ids"]
    items, link = await delta(link)
    assert items == []
    await client.me.events.by_event_id(state["ids"][0]).patch(Event(subject="Changed"))
    await client.me.events.by_event_id(state["ids"][1]).delete()
    items, state["link"] = await delta(link)
    assert [item.id for item in items] == state["ids"][:2]
    assert items[0].subject == "Changed" and items[1].additional_data["@removed"] is not None


async def expired():
    calendar = (await client.me.calendar.get()).id
    control(f"calendars/{urllib.parse.quote(calendar)}/expire-deltas")
    await refused(410, "syncStateNotFound", client.me.calendar_view.delta.with_url(state["link"]).get())


async def etags():
    builder = client.me.events.by_event_id(state["ids"][2])
    event = await builder.get()
    etag = event.additional_data["@odata.etag"]
    changed = await builder.patch(Event(subject="Once"), configured(If_Match=etag))
    assert changed.change_key != event.change_key
    await refused(412, "ErrorIrresolvableConflict", builder.patch(Event(subject="Twice"), configured(If_Match=etag)))
    assert (await builder.get()).subject == "Once"


async def transaction():
    first = await client.me.events.post(timed(20, transaction_id="t-1"))
    await refused(409, "ErrorDuplicateTransactionId", client.me.events.post(timed(20, transaction_id="t-1")))
    await client.me.events.by_event_id(first.id).delete()
    await refused(404, "ErrorItemNotFound", client.me.events.by_event_id(first.id).get())


async def occurrences():
    pattern = RecurrencePattern(type=RecurrencePatternType.Weekly, interval=1, days_of_week=[DayOfWeek.Monday])
    extent = RecurrenceRange(type=RecurrenceRangeType.Numbered, start_date=datetime(2026, 3, 16).date(), number_of_occurrences=4)
    series = await client.me.events.post(timed(16, "Series", recurrence=PatternedRecurrence(pattern=pattern, range=extent)))
    assert series.type == EventType.SeriesMaster and series.recurrence.range.recurrence_time_zone == "Romance Standard Time"
    window = InstancesRequestBuilder.InstancesRequestBuilderGetQueryParameters(start_date_time="2026-03-01T00:00:00Z", end_date_time="2026-05-01T00:00:00Z")
    builder = client.me.events.by_event_id(series.id)
    listed = (await builder.instances.get(configured(window))).value
    # Summer time begins on 29 March.
    assert [item.start.date_time[:16] for item in listed] == ["2026-03-16T08:00", "2026-03-23T08:00", "2026-03-30T07:00", "2026-04-06T07:00"], listed
    edited = await client.me.events.by_event_id(listed[1].id).patch(Event(subject="Other"))
    assert edited.type == EventType.Exception and edited.series_master_id == series.id
    await client.me.events.by_event_id(listed[2].id).delete()
    assert [item.subject for item in (await builder.instances.get(configured(window))).value] == ["Series", "Other", "Series"]
    expand = EventItemRequestBuilder.EventItemRequestBuilderGetQueryParameters(select=["subject", "cancelledOccurrences"], expand=["exceptionOccurrences"])
    master = await builder.get(configured(expand))
    assert len(master.exception_occurrences) == 1 and master.cancelled_occurrences[0].endswith(".2026-03-30")
    items, link = await delta()
    kinds = [item.type for item in items if item.series_master_id == series.id]
    assert sorted(kind.value for kind in kinds) == ["exception", "occurrence"], kinds
    await builder.delete()
    items, _ = await delta(link)
    assert all("@removed" in item.additional_data for item in items) and series.id in [item.id for item in items]


async def schedule():
    body = GetSchedulePostRequestBody(schedules=[ME, "nobody@example.com"], start_time=at(5, 8), end_time=at(5, 12), availability_view_interval=60)
    answer = (await client.me.calendar.get_schedule.post(body)).value
    assert answer[0].availability_view == "0200" and answer[0].working_hours, answer[0].availability_view
    assert answer[1].error.response_code == "ErrorMailRecipientNotFound"


async def batch():
    there = client.me.events.by_event_id(state["ids"][3]).to_get_request_information()
    new = client.me.events.to_post_request_information(timed(21, "Batched é"))
    missing = client.me.events.by_event_id(state["ids"][1]).to_get_request_information()
    parts = [BatchRequestItem(request, id=name) for name, request in (("there", there), ("new", new), ("missing", missing))]
    content = BatchRequestContent()
    for part in parts:
        content.add_request(part.id, part)
    answer = await client.batch.post(content)
    assert answer.get_response_status_codes() == {"there": 200, "new": 201, "missing": 404}, answer.get_response_status_codes()
    # The client reads bodies of parts only when they are base64; so the event is looked up.
    parameters = EventsRequestBuilder.EventsRequestBuilderGetQueryParameters(filter="subject eq 'Batched é'")
    assert len((await client.me.events.get(configured(parameters))).value) == 1


async def immutable_ids():
    prefer = configured(Prefer='IdType="ImmutableId"')
    event = await client.me.events.by_event_id(state["ids"][4]).get(prefer)
    assert event.id != state["ids"][4]
    assert (await client.me.events.by_event_id(event.id).get(prefer)).id == event.id


async def zones():
    prefer = configured(Prefer='outlook.timezone="Pacific Standard Time"')
    event = await client.me.events.by_event_id(state["ids"][4]).get(prefer)
    assert event.start.date_time.startswith("2026-03-06T00:00") and event.start.time_zone == "Pacific Standard Time"
    assert event.original_start_time_zone == "Romance Standard Time"
    assert (await client.me.mailbox_settings.get()).time_zone == "Romance Standard Time"
    wrong = configured(Prefer='outlook.timezone="Nowhere"')
    await refused(400, "TimeZoneNotSupportedException", client.me.events.by_event_id(state["ids"][4]).get(wrong))


async def extended_properties():
    mark = SingleValueLegacyExtendedProperty(id=PROPERTY, value="x")
    made = await client.me.events.post(timed(22, "Marked", single_value_extended_properties=[mark]))
    parameters = EventsRequestBuilder.EventsRequestBuilderGetQueryParameters(
        filter=f"singleValueExtendedProperties/any(ep: ep/id eq '{PROPERTY}' and ep/value eq 'x')",
        expand=[f"singleValueExtendedProperties($filter=id eq '{PROPERTY}')"],
    )
    found = (await client.me.events.get(configured(parameters))).value
    assert [event.id for event in found] == [made.id] and found[0].single_value_extended_properties[0].value == "x"


async def answers():
    to = [{"emailAddress": {"address": ME}}]
    day = lambda hour: {"dateTime": f"2026-03-24T{hour:02}:00:00", "timeZone": "UTC"}
    body = {"subject": "Invited", "start": day(9), "end": day(10), "attendees": to}
    made = control(f"accounts/{OTHER}/calls", {"method": "POST", "path": "me/events", "body": body})["body"]
    parameters = EventsRequestBuilder.EventsRequestBuilderGetQueryParameters(filter="subject eq 'Invited'")
    copy = (await client.me.events.get(configured(parameters))).value[0]
    assert not copy.is_organizer and copy.i_cal_u_id == made["iCalUId"] and copy.response_status.response == ResponseType.NotResponded
    await client.me.events.by_event_id(copy.id).accept.post(AcceptPostRequestBody(send_response=True))
    original = control(f"accounts/{OTHER}/calls", {"method": "GET", "path": f"me/events/{made['id']}"})["body"]
    assert original["attendees"][0]["status"]["response"] == "accepted"
    guest = Attendee(email_address=EmailAddress(address=OTHER))
    sent = await client.me.events.post(timed(25, "Asked", attendees=[guest]))
    assert sent.attendees[0].status.response == ResponseType.None_


class Hook(BaseHTTPRequestHandler):
    heard = queue.Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query).get("validationToken")
        if token is None:
            Hook.heard.put(json.loads(body))
        self.send_response(200 if token else 202)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(token[0].encode() if token else b"")

    def log_message(self, *_):
        pass


async def subscription():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    until = lambda minutes: datetime.now(timezone.utc) + timedelta(minutes=minutes)
    wish = lambda port: Subscription(
        change_type="created,updated,deleted",
        notification_url=f"http://127.0.0.1:{port}/hook",
        resource="me/events",
        expiration_date_time=until(60),
        client_state="secret",
    )
    made = await client.subscriptions.post(wish(server.server_port))
    await refused(400, "ValidationError", client.subscriptions.post(wish(9)))
    event = await client.me.events.post(timed(26, "Told"))
    notice = (await asyncio.to_thread(Hook.heard.get, timeout=10))["value"][0]
    assert notice["subscriptionId"] == made.id and notice["clientState"] == "secret" and notice["changeType"] == "created"
    assert notice["resourceData"]["id"] == event.id
    renewed = await client.subscriptions.by_subscription_id(made.id).patch(Subscription(expiration_date_time=until(120)))
    assert renewed.expiration_date_time > made.expiration_date_time
    await client.subscriptions.by_subscription_id(made.id).delete()
    await refused(404, "ResourceNotFound", client.subscriptions.by_subscription_id(made.id).patch(Subscription(expiration_date_time=until(120))))
    server.shutdown()


CHECKS = (me, calendars, create_and_page, incremental, expired, etags, transaction, occurrences, schedule, batch, immutable_ids, zones, extended_properties, answers, subscription)


async def run():
    global failed
    for check in CHECKS:
        try:
            await check()
            print("ok", check.__name__)
        except Exception as error:  # each check stands alone
            failed += 1
            print(f"FAILED {check.__name__}: {type(error).__name__} {error}")


asyncio.run(run())
sys.exit(1 if failed else 0)
