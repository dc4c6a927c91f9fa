"""Writes the instances that python-dateutil gives for random series and for the corpus.

Usage: python tests/oracle/expansion.py tests/data/ics tests/data/expansion
Needs: python-dateutil 4.0.0, icalendar 7.3.0, tzdata 2026.6
"""
import datetime as dt
import json
import pathlib
import random
import sys
import zoneinfo

import icalendar
from dateutil import rrule

FROM, TO = dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2034, 1, 1, tzinfo=dt.UTC)
ZONES = ["Europe/Paris", "America/New_York", "Australia/Sydney", "Asia/Kolkata", "America/Sao_Paulo",
         "Europe/London", "Pacific/Auckland", "Australia/Lord_Howe", "Etc/UTC", "America/St_Johns"]
DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
FREQUENCIES = {name: getattr(rrule, name) for name in
               ["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"]}


def instant(wall, zone):
    """A gap has the offset before it, an overlap is its first hour: fold=0 says just that."""
    return int(wall.replace(tzinfo=zone, fold=0).timestamp())


def digest(values):
    """FNV-1a over the instants as decimal text, so that the fixture stays small."""
    state = 0xCBF29CE484222325
    for byte in ",".join(map(str, values)).encode():
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{state:016x}"


def walls(start, text, until=None):
    """The wall times of a rule; the start is the first, also for COUNT, whether it matches or not."""
    parts = dict(part.split("=") for part in text.split(";"))
    count = int(parts.pop("COUNT", 0))
    parts.pop("UNTIL", None)
    rule = rrule.rrulestr(";".join(f"{name}={value}" for name, value in parts.items()), dtstart=start)
    last = until or dt.datetime(2034, 1, 3)
    found = [start]
    for wall in rule:
        if wall > last or (count and len(found) >= count):
            break
        if wall > start:
            found.append(wall)
    return found


def random_rule(chance):
    frequency = chance.choice(["YEARLY", "MONTHLY", "MONTHLY", "WEEKLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY"])
    parts = [f"FREQ={frequency}"]
    interval = chance.choice([1, 1, 1, 2, 3, 5])
    if frequency == "MINUTELY":
        interval = chance.choice([7, 90, 1440, 1000])
    if interval > 1:
        parts.append(f"INTERVAL={interval}")
    pick = lambda low, high, most: ",".join(map(str, sorted(chance.sample(range(low, high + 1), chance.randint(1, most)))))
    some_days = lambda: ",".join(chance.sample(DAYS, chance.randint(1, 4)))
    has_set = False
    if frequency == "YEARLY":
        kind = chance.choice(["plain", "month", "monthday", "yearday", "weekno", "nth", "nthmonth"])
        if kind in ("month", "monthday", "nthmonth"):
            parts.append(f"BYMONTH={pick(1, 12, 3)}")
        if kind == "monthday":
            parts.append(f"BYMONTHDAY={chance.choice(['1', '15,31', '-1', '29,30', '13'])}")
        if kind == "yearday":
            parts.append(f"BYYEARDAY={chance.choice(['1,100,200', '-1', '366', '60'])}")
        if kind == "weekno":
            parts.append(f"BYWEEKNO={chance.choice(['1', '20', '52,53', '-1'])}")
            parts.append(f"BYDAY={some_days()}")
        if kind in ("nth", "nthmonth"):
            parts.append(f"BYDAY={chance.choice(['1MO', '-1FR', '2TU,-2TH', '3SU'])}")
        has_set = kind in ("yearday", "nth", "nthmonth", "monthday")
    elif frequency == "MONTHLY":
        kind = chance.choice(["plain", "monthday", "days", "nth", "set", "friday13"])
        if kind == "monthday":
            parts.append(f"BYMONTHDAY={chance.choice(['1,15', '31', '-1', '-3,3', '30'])}")
        if kind == "days":
            parts.append(f"BYDAY={some_days()}")
        if kind == "nth":
            parts.append(f"BYDAY={chance.choice(['1MO', '-1SU', '2WE,4WE', '5FR'])}")
        if kind == "set":
            parts.append("BYDAY=MO,TU,WE,TH,FR")
            has_set = True
        if kind == "friday13":
            parts.append("BYDAY=FR;BYMONTHDAY=13")
    elif frequency == "WEEKLY":
        if chance.random() < 0.8:
            parts.append(f"BYDAY={some_days()}")
        if chance.random() < 0.2:
            parts.append(f"BYMONTH={pick(1, 12, 4)}")
    elif frequency == "DAILY":
        if chance.random() < 0.4:
            parts.append(f"BYDAY={some_days()}")
        if chance.random() < 0.3:
            parts.append(f"BYMONTH={pick(1, 12, 4)}")
    elif chance.random() < 0.8:
        parts.append(f"BYHOUR={pick(0, 23, 4)}")
    if frequency in ("YEARLY", "MONTHLY", "WEEKLY", "DAILY") and chance.random() < 0.2:
        parts.append(f"BYHOUR={pick(0, 23, 3)}")
        if chance.random() < 0.5:
            parts.append("BYMINUTE=0,30")
    if has_set:
        parts.append(f"BYSETPOS={chance.choice(['-1', '1', '1,-1', '2'])}")
    if chance.random() < 0.2:
        parts.append(f"WKST={chance.choice(['SU', 'WE'])}")
    return ";".join(parts), frequency


def generated(number):
    chance = random.Random(20260714)
    series = []
    while len(series) < number:
        name = chance.choice(ZONES)
        zone = zoneinfo.ZoneInfo(name)
        is_date = chance.random() < 0.15
        start = dt.datetime(2024, 1, 1) + dt.timedelta(days=chance.randrange(800), minutes=5 * chance.randrange(288))
        if chance.random() < 0.25:  # where the clocks change
            start = start.replace(hour=chance.choice([1, 2, 3]), minute=chance.choice([0, 15, 30]))
        rule, frequency = random_rule(chance)
        if is_date:
            start = start.replace(hour=0, minute=0)
            if frequency in ("HOURLY", "MINUTELY") or "BYHOUR" in rule:
                continue
        limit = chance.random()
        until = None
        if frequency in ("HOURLY", "MINUTELY") or limit < 0.25:
            rule += f";COUNT={chance.choice([1, 2, 10, 200])}"
        elif limit < 0.5:
            until = start + dt.timedelta(days=chance.randrange(1, 2500))
            if is_date:
                rule += until.strftime(";UNTIL=%Y%m%d")
            else:
                rule += dt.datetime.fromtimestamp(instant(until, zone), dt.UTC).strftime(";UNTIL=%Y%m%dT%H%M%SZ")
        try:
            found = walls(start, rule, until)
        except ValueError:  # dateutil refuses an hour that an interval never reaches
            continue
        if until and not is_date:
            last = instant(until, zone)
            found = [start] + [wall for wall in found[1:] if instant(wall, zone) <= last]
        excluded = [wall for wall in found[:400] if chance.random() < 0.05]
        added = [start + dt.timedelta(days=chance.randrange(1, 900), hours=0 if is_date else 1)
                 for _ in range(chance.choice([0, 0, 1, 3]))]
        own = dt.UTC if is_date else zone
        instants = sorted({instant(wall, own) for wall in (set(found) | set(added)) - set(excluded)})
        instants = [at for at in instants if FROM.timestamp() <= at < TO.timestamp()]
        form = "%Y%m%d" if is_date else "%Y%m%dT%H%M%S"
        series.append({
            "start": start.strftime(form), "zone": None if is_date else name, "rule": rule,
            "exdates": [wall.strftime(form) for wall in excluded],
            "rdates": sorted({wall.strftime(form) for wall in added}),
            "count": len(instants), "first": instants[:5], "last": instants[-1:], "digest": digest(instants),
        })
    return series


def seconds(value, floating):
    if not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time(), floating)
    if value.tzinfo is None:
        value = value.replace(tzinfo=floating)
    return int(value.timestamp())


def corpus_instants(components, floating):
    """Strict RFC 5545: what is not equal by instant is not the same."""
    masters = [c for c in components if "RECURRENCE-ID" not in c]
    overrides = {}
    for component in components:
        if "RECURRENCE-ID" in component:
            overrides[seconds(component.decoded("RECURRENCE-ID"), floating)] = component
    found = set()
    for master in masters:
        start = master.decoded("DTSTART")
        zone = (start.tzinfo if isinstance(start, dt.datetime) and start.tzinfo else floating)
        wall = start.replace(tzinfo=None) if isinstance(start, dt.datetime) else dt.datetime.combine(start, dt.time())
        own = [wall]
        rules = master.get("RRULE")
        for rule in [] if rules is None else rules if isinstance(rules, list) else [rules]:
            until = rule.get("UNTIL", [None])[0]
            text = rule.to_ical().decode()
            candidates = walls(wall, text)
            if until is not None:
                last = seconds(until, zone)
                if isinstance(until, dt.datetime) is False:
                    last += 86399
                candidates = [c for c in candidates if instant(c, zone) <= last]
            own += candidates
        instants = {instant(w, zone) for w in own}
        for name, keep in (("RDATE", True), ("EXDATE", False)):
            lists = master.get(name, [])
            for item in lists if isinstance(lists, list) else [lists]:
                for value in item.dts:
                    value = value.dt[0] if isinstance(value.dt, tuple) else value.dt
                    (instants.add if keep else instants.discard)(seconds(value, zone))
        found |= instants - set(overrides)
    for component in overrides.values():
        if str(component.get("STATUS", "")).upper() != "CANCELLED":
            found.add(seconds(component.decoded("DTSTART"), floating))
    return sorted(found)


def corpus(folder):
    files = {}
    floating = zoneinfo.ZoneInfo("Europe/Paris")
    for path in sorted(folder.glob("*.ics")):
        try:
            calendars = icalendar.Calendar.from_ical(path.read_bytes(), multiple=True)
        except ValueError:
            continue
        by_uid = {}
        for calendar in calendars:
            for event in calendar.walk("VEVENT"):
                if "UID" in event:
                    by_uid.setdefault(str(event["UID"]).strip(), []).append(event)
        for uid, components in by_uid.items():
            try:
                instants = corpus_instants(components, floating)
            except Exception as error:  # what the library cannot read is no oracle
                print(f"{path.name} {uid}: {error!r}", file=sys.stderr)
                continue
            instants = [at for at in instants if at < TO.timestamp()]
            files.setdefault(path.name, {})[uid] = {
                "count": len(instants), "first": instants[:5], "last": instants[-1:], "digest": digest(instants)}
    return files


def main():
    corpus_folder, out = map(pathlib.Path, sys.argv[1:])
    dump = lambda name, rows: (out / name).write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    dump("generated.json", generated(500))
    (out / "corpus.json").write_text(json.dumps(corpus(corpus_folder), indent=1) + "\n")


main()
