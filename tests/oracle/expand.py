"""Expands calendar objects into instances, independently of the product.

Grammar by `icalendar`, rules by `python-dateutil`, zones by `zoneinfo` with the `tzdata` package. What the
libraries leave open follows RFC 5545 as the product does: a local time in a gap takes the offset before the gap,
one in an overlap is the first; an end given as DTEND is an exact distance from the start, one given as DURATION has
nominal days; EXDATE and RECURRENCE-ID match by instant, then by local date.

Input on stdin, one JSON object: {"from": ms, "to": ms, "items": [{"name": ..., "ics": ...}]}.
Output on stdout, one JSON line per item: {"name", "instances": [...]} or {"name", "error"}.
An instance overlaps [from, to) and has: uid, recurrence_id (the original start as wall time or date in the series'
zone; null for a single event), form (date, floating, utc, zoned), start and end in ms since 1970 (dates and floating
times counted as if in UTC), summary, status, is_override.
"""

import itertools
import json
import re
import sys
from datetime import date, datetime, time, timedelta, timezone

from dateutil.rrule import rrulestr
from icalendar import Calendar

EPOCH = datetime(1970, 1, 1)
DAY = timedelta(days=1)
# Candidates of one rule before it counts as hostile.
BUDGET = 200_000


class Unsupported(Exception):
    """The oracle has no opinion on this object."""


def is_timed(value):
    return isinstance(value, datetime)


def wall(value):
    """The wall time of a date or date-time, without zone."""
    return value.replace(tzinfo=None, fold=0) if is_timed(value) else datetime.combine(value, time())


def instant(value):
    """UTC without zone; dates and floating times as they stand."""
    if is_timed(value) and value.tzinfo is not None:
        return value.astimezone(timezone.utc).replace(tzinfo=None)
    return wall(value)


def milliseconds(moment):
    return (moment - EPOCH) // timedelta(milliseconds=1)


def listed(component, name):
    """The values of a property that may repeat and may hold lists."""
    found = component.get(name, [])
    for entry in found if isinstance(found, list) else [found]:
        for value in entry.dts:
            yield value.dt


class Frame:
    """Start, zone and length of one VEVENT."""

    def __init__(self, component, duration_text):
        self.component = component
        if "DTSTART" not in component:
            raise Unsupported("no DTSTART")
        start = component["DTSTART"].dt
        if isinstance(start, datetime) and start.second == 60:
            start = start.replace(second=59)
        self.start = start
        self.zone = start.tzinfo if is_timed(start) else None
        if not is_timed(start):
            self.form = "date"
        elif self.zone is None:
            self.form = "floating"
        else:
            self.form = "utc" if component["DTSTART"].params.get("TZID") is None else "zoned"
        self.days, self.exact = self.length(duration_text)

    def length(self, duration_text):
        """Nominal days and exact rest."""
        end = self.component.get("DTEND")
        if end is not None:
            if is_timed(end.dt) != is_timed(self.start):
                raise Unsupported("DTEND is of another type than DTSTART")
            exact = instant(end.dt) - instant(self.start)
            if self.form == "date" and exact <= timedelta():
                return 1, timedelta()
            return 0, max(exact, timedelta())
        if duration_text is not None:
            return parse_duration(duration_text, self.form == "date")
        return (1, timedelta()) if self.form == "date" else (0, timedelta())

    def at(self, local):
        """The instant of a wall time in this zone."""
        return instant(local.replace(tzinfo=self.zone, fold=0)) if self.zone is not None else local

    def end(self, local):
        return self.at(local + self.days * DAY) + self.exact

    def local(self, value):
        """Any value as wall time in this zone, so that it compares with generated ones."""
        if self.zone is not None and is_timed(value) and value.tzinfo is not None:
            return value.astimezone(self.zone).replace(tzinfo=None, fold=0)
        return wall(value)

    def spelled(self, local):
        return local.strftime("%Y%m%d" if self.form == "date" else "%Y%m%dT%H%M%S")


def parse_duration(text, is_date):
    match = re.fullmatch(r"([+-]?)P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", text.strip())
    if match is None or match.group(1) == "-":
        raise Unsupported(f"DURATION {text}")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[1:])
    exact = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if is_date:
        return max(weeks * 7 + days + -(-exact // DAY), 1), timedelta()
    return weeks * 7 + days, exact


def rule_starts(frame, rule, last):
    """Wall times of one RRULE up to `last`, in order."""
    rule = dict(rule)
    if any(name in rule for name in ("RSCALE", "SKIP")):
        raise Unsupported("RSCALE")
    until = rule.pop("UNTIL", None)
    text = ";".join(f"{name}={','.join(str(text_of(value)) for value in values)}" for name, values in rule.items())
    for count, local in enumerate(rrulestr(text, dtstart=wall(frame.start))):
        if count > BUDGET:
            raise Unsupported("more candidates than the budget")
        if local > last or (until is not None and is_past(frame, local, until[0])):
            return
        yield local


def text_of(value):
    return value.to_ical().decode() if hasattr(value, "to_ical") else value


def is_past(frame, local, until):
    if not is_timed(until):
        return local.date() > until
    if frame.form == "date":
        return local.date() > until.date()
    if until.tzinfo is None or frame.zone is None:
        return local > wall(until)
    return frame.at(local) > instant(until)


def starts(frame, last):
    """(wall time, own end or None) of the set before exclusions."""
    component = frame.component
    found = {wall(frame.start): None}
    rules = component.get("RRULE", [])
    for rule in rules if isinstance(rules, list) else [rules]:
        found.update((local, None) for local in rule_starts(frame, rule, last))
    for value in listed(component, "RDATE"):
        if isinstance(value, tuple):
            begin, length = value
            end = begin + length if isinstance(length, timedelta) else length
            found[frame.local(begin)] = instant(end)
        else:
            found.setdefault(frame.local(value), None)
    rules = component.get("EXRULE", [])
    for rule in rules if isinstance(rules, list) else [rules]:
        for local in rule_starts(frame, rule, last):
            found.pop(local, None)
    return found


def matching(frame, found, value):
    """The wall time that an EXDATE or RECURRENCE-ID means: by instant, else by local date."""
    if is_timed(value) and frame.form != "date":
        wanted = instant(value) if value.tzinfo is not None else frame.at(wall(value))
        local = frame.local(value)
        if local in found:
            return local
        return next((candidate for candidate in found if frame.at(candidate) == wanted), None)
    day = value.date() if is_timed(value) else value
    return next((candidate for candidate in found if candidate.date() == day), None)


def newest(components):
    """Of several copies, the one with the highest SEQUENCE, then the latest DTSTAMP."""

    def rank(pair):
        stamp = pair[0].get("DTSTAMP")
        return int(pair[0].get("SEQUENCE", 0)), instant(stamp.dt) if stamp is not None else EPOCH

    return max(components, key=rank)


def expand_series(uid, components, begin, end):
    masters = [pair for pair in components if "RECURRENCE-ID" not in pair[0]]
    overrides = {}
    for pair in components:
        if "RECURRENCE-ID" in pair[0]:
            if pair[0]["RECURRENCE-ID"].params.get("RANGE"):
                raise Unsupported("RANGE=THISANDFUTURE")
            overrides.setdefault(pair[0]["RECURRENCE-ID"].dt, []).append(pair)
    instances = []

    def add(frame, local, until, recurrence_id, is_override):
        start = frame.at(local)
        stop = until if until is not None else frame.end(local)
        if start < end and (stop > begin or (stop == start and start >= begin)):
            instances.append(
                {
                    "uid": uid,
                    "recurrence_id": recurrence_id,
                    "form": frame.form,
                    "start": milliseconds(start),
                    "end": milliseconds(stop),
                    "summary": str(frame.component.get("SUMMARY", "")),
                    "status": str(frame.component.get("STATUS", "CONFIRMED")).upper(),
                    "is_override": is_override,
                }
            )

    found, master = {}, None
    if masters:
        master = Frame(*newest(masters))
        found = starts(master, end + 2 * DAY)
        for value in listed(master.component, "EXDATE"):
            found.pop(matching(master, found, value), None)
    for key, copies in overrides.items():
        frame = Frame(*newest(copies))
        series = master or frame
        local = matching(series, found, key)
        found.pop(local, None)
        if str(frame.component.get("STATUS", "")).upper() != "CANCELLED":
            local = local if local is not None else series.local(key)
            add(frame, wall(frame.start), None, series.spelled(local), True)
    is_series = master is not None and any(name in master.component for name in ("RRULE", "RDATE"))
    for local, until in found.items():
        add(master, local, until, master.spelled(local) if is_series or overrides else None, False)
    return instances


def durations(text):
    """The DURATION text of each VEVENT in order: the library keeps a number, in which P1D and PT24H are the same."""
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    path, current, found = [], None, []
    for line in unfolded.splitlines():
        name, _, value = line.partition(":")
        name = name.split(";")[0].upper()
        if name == "BEGIN":
            path.append(value.strip().upper())
            if path[-1] == "VEVENT":
                found.append(None)
        elif name == "END" and path:
            path.pop()
        elif name == "DURATION" and path and path[-1] == "VEVENT":
            found[-1] = value
    return found


def expand(text, begin, end):
    by_uid = {}
    lengths = iter(durations(text))
    calendars = Calendar.from_ical(text, multiple=True)
    if not calendars:
        raise Unsupported("no complete component")
    for calendar in calendars:
        for component in calendar.walk("VEVENT"):
            by_uid.setdefault(str(component.get("UID", "")), []).append((component, next(lengths, None)))
    groups = (expand_series(uid, components, begin, end) for uid, components in by_uid.items())
    return sorted(itertools.chain.from_iterable(groups), key=lambda one: (one["start"], one["uid"], one["end"]))


def main():
    job = json.load(sys.stdin)
    begin, end = (EPOCH + timedelta(milliseconds=job[name]) for name in ("from", "to"))
    for item in job["items"]:
        answer = {"name": item["name"]}
        try:
            answer["instances"] = expand(item["ics"], begin, end)
        except Exception as error:  # one bad item says so and does not end the others
            answer["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    main()
