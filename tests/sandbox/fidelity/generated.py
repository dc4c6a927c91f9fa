"""Asks python-dateutil whether the generated series are what they say.

Usage: python generated.py http://127.0.0.1:5232 [account] [calendar]

Every resource is read by the icalendar package; every exclusion and override of a series has to name an
instance that python-dateutil finds, and every VTIMEZONE has to agree with the zone database.
"""

import json
import sys
import urllib.request
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import icalendar
from dateutil.rrule import rrulestr


def naive(value):
    return value.replace(tzinfo=None) if isinstance(value, datetime) else datetime(value.year, value.month, value.day)


def instances(master):
    start = master["DTSTART"].dt
    rule = master["RRULE"].to_ical().decode()
    parts = [part for part in rule.split(";") if not part.startswith("UNTIL=")]
    until = master["RRULE"].get("UNTIL", [None])[0]
    if until is not None:
        if isinstance(until, datetime) and until.tzinfo and start.tzinfo:
            until = until.astimezone(start.tzinfo)
        parts.append(f"UNTIL={naive(until):%Y%m%dT%H%M%S}")
    rule = rrulestr(";".join(parts), dtstart=naive(start))
    return list(rule.between(naive(start), naive(start) + timedelta(days=3650), inc=True))


def excluded(master):
    found = master.get("EXDATE", [])
    return [naive(date.dt) for one in (found if isinstance(found, list) else [found]) for date in one.dts]


def check_zone(text, zone, seen):
    name = str(zone["TZID"])
    if name in seen:
        return
    seen.add(name)
    ours, theirs = zone.to_tz(lookup_tzid=False), ZoneInfo(name)
    moment = datetime(2025, 1, 1, 12)
    while moment < datetime(2036, 1, 1):
        if moment.replace(tzinfo=ours).utcoffset() != moment.replace(tzinfo=theirs).utcoffset():
            raise AssertionError(f"{name} differs on {moment}")
        moment += timedelta(days=1)


def main():
    base = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5232"
    account = sys.argv[2] if len(sys.argv) > 2 else "ada"
    calendar = sys.argv[3] if len(sys.argv) > 3 else "work"
    url = f"{base}/control/accounts/{account}/calendars/{calendar}/resources"
    with urllib.request.urlopen(url) as answer:
        resources = json.load(answer)["resources"]
    series = named = 0
    zones = set()
    for resource in resources:
        parsed = icalendar.Calendar.from_ical(resource["body"])
        for zone in parsed.walk("VTIMEZONE"):
            check_zone(resource["body"], zone, zones)
        events = parsed.walk("VEVENT")
        masters = [event for event in events if "RECURRENCE-ID" not in event]
        assert len(masters) == 1, resource["name"]
        assert all(str(event["UID"]) == resource["uid"] for event in events), resource["name"]
        if "RRULE" not in masters[0]:
            assert len(events) == 1, resource["name"]
            continue
        series += 1
        dates = set(instances(masters[0]))
        wanted = excluded(masters[0]) + [naive(event["RECURRENCE-ID"].dt) for event in events if "RECURRENCE-ID" in event]
        named += len(wanted)
        for date in wanted:
            assert date in dates, f"{resource['name']}: {date} is no instance"
    print(f"ok    {len(resources)} resources, {series} series, {named} exclusions and overrides, {len(zones)} zones")


if __name__ == "__main__":
    main()
