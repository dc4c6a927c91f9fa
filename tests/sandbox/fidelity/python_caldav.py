"""Asks python-caldav whether the sandbox is a CalDAV server.

Usage: python python_caldav.py http://127.0.0.1:5232/ [user] [password] [auth]

`auth` (basic, digest) sends credentials unasked; without it the client waits for a 401.

Prints one line per check and ends with status 1 when one failed. (The file is not called caldav.py, because
the import of python-caldav would then find itself.)
"""

import sys
import uuid
from datetime import datetime, timedelta, timezone

import caldav
from caldav.lib import error


class Checks:
    def __init__(self):
        self.failed = 0

    def run(self, name, check):
        try:
            result = check()
            said = "" if result is None else f" ({result})"
            print(f"ok    {name}{said}")
            return result
        except Exception as problem:  # every failure is a line of the table
            self.failed += 1
            print(f"FAIL  {name}: {type(problem).__name__}: {problem}")
            return None


def event(uid, title, start, extra=()):
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//fidelity//EN",
        "BEGIN:VEVENT",
        f"UID:{uid}",
        f"DTSTAMP:{start:%Y%m%dT%H%M%SZ}",
        f"DTSTART:{start:%Y%m%dT%H%M%SZ}",
        f"DTEND:{start + timedelta(hours=1):%Y%m%dT%H%M%SZ}",
        f"SUMMARY:{title}",
        *extra,
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return "\r\n".join(lines) + "\r\n"


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5232/"
    user = sys.argv[2] if len(sys.argv) > 2 else "ada"
    password = sys.argv[3] if len(sys.argv) > 3 else "secret"
    checks = Checks()
    start = datetime(2030, 1, 15, 10, tzinfo=timezone.utc)
    auth = sys.argv[4] if len(sys.argv) > 4 else None
    client = caldav.DAVClient(url=url, username=user, password=password, auth_type=auth)

    principal = checks.run("discovers the principal", client.principal)
    if principal is None:
        sys.exit(1)
    checks.run("finds the calendar home", lambda: str(principal.calendar_home_set.url))
    calendars = checks.run("lists calendars", lambda: sorted(c.get_display_name() or "" for c in principal.calendars()))
    if not calendars:
        sys.exit(1)
    scratch = f"fidelity-{uuid.uuid4().hex[:8]}"
    calendar = checks.run("makes a calendar", lambda: principal.make_calendar(name="Fidelity", cal_id=scratch))
    calendar = next(c for c in principal.calendars() if scratch in str(c.url))
    checks.run("reads its name", lambda: equal(calendar.get_display_name(), "Fidelity"))
    checks.run("reads its components", lambda: equal(calendar.get_supported_components(), ["VEVENT"]))

    uid = f"{uuid.uuid4()}@example.com"
    created = checks.run("creates an event", lambda: calendar.save_event(event(uid, "First", start)))
    checks.run("finds it by UID", lambda: equal(summary(calendar.event_by_uid(uid)), "First"))
    checks.run(
        "refuses a second resource of that UID",
        lambda: refused(lambda: client.put(str(calendar.url) + "other.ics", event(uid, "Twin", start), {"Content-Type": "text/calendar"})),
    )
    checks.run(
        "searches a range",
        lambda: equal([summary(e) for e in calendar.search(start=start, end=start + timedelta(days=1), event=True)], ["First"]),
    )
    checks.run(
        "finds nothing outside the range",
        lambda: equal(calendar.search(start=start + timedelta(days=7), end=start + timedelta(days=8), event=True), []),
    )
    checks.run("searches by text", lambda: equal(len(calendar.search(event=True, summary="First")), 1))

    series = event(f"{uuid.uuid4()}@example.com", "Series", start + timedelta(days=30), ["RRULE:FREQ=DAILY;COUNT=3"])
    checks.run("creates a series", lambda: calendar.save_event(series))
    checks.run(
        "expands it in a search",
        lambda: equal(
            len(calendar.search(start=start + timedelta(days=29), end=start + timedelta(days=40), event=True, expand=True)), 3
        ),
    )

    changes = checks.run("gets a sync token", lambda: calendar.objects_by_sync_token(load_objects=True))
    token = changes.sync_token
    checks.run("sees no change with it", lambda: equal(len(list(calendar.objects_by_sync_token(sync_token=token))), 0))

    def edit():
        found = calendar.event_by_uid(uid)
        found.icalendar_component["SUMMARY"] = "Second"
        found.save()
        return equal(summary(calendar.event_by_uid(uid)), "Second")

    checks.run("edits the event", edit)
    changed = checks.run("sees the edit", lambda: calendar.objects_by_sync_token(sync_token=token, load_objects=True))
    checks.run("the edit is one object", lambda: equal(len(list(changed)), 1))
    token = changed.sync_token

    def move():
        found = calendar.event_by_uid(uid)
        component = found.icalendar_component
        component["DTSTART"].dt = start + timedelta(days=3)
        component["DTEND"].dt = start + timedelta(days=3, hours=1)
        found.save()

    checks.run("moves it in time", move)
    checks.run(
        "finds it at its new time",
        lambda: equal(len(calendar.search(start=start + timedelta(days=3), end=start + timedelta(days=4), event=True)), 1),
    )
    checks.run("refreshes by sync token", lambda: equal([len(part) for part in changed.sync()], [1, 0]))
    checks.run("deletes it", lambda: calendar.event_by_uid(uid).delete())
    checks.run("no longer finds it", lambda: missing(lambda: calendar.event_by_uid(uid)))
    checks.run("sees the deletion", lambda: equal([len(part) for part in changed.sync()], [0, 1]))
    checks.run("renames the calendar", lambda: calendar.set_properties([caldav.elements.dav.DisplayName("Renamed")]))
    again = client.calendar(url=calendar.url)  # the first object remembers its name
    checks.run("reads the new name", lambda: equal(again.get_display_name(), "Renamed"))
    checks.run("deletes the calendar", calendar.delete)
    checks.run("it is gone", lambda: equal([c for c in principal.calendars() if scratch in str(c.url)], []))
    checks.run("a wrong password is refused", lambda: unauthorized(url, user, auth))
    sys.exit(1 if checks.failed else 0)


def summary(found):
    return str(found.icalendar_component["SUMMARY"])


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r}, wanted {wanted!r}")


def missing(call):
    try:
        call()
    except error.NotFoundError:
        return
    raise AssertionError("it is still there")


def refused(call):
    try:
        response = call()
    except error.DAVError as problem:
        return type(problem).__name__
    if response.status < 400:
        raise AssertionError(f"accepted with {response.status}")
    return response.status


def unauthorized(url, user, auth):
    try:
        caldav.DAVClient(url=url, username=user, password="wrong", auth_type=auth).principal()
    except error.AuthorizationError:
        return
    raise AssertionError("a wrong password was accepted")


if __name__ == "__main__":
    main()
