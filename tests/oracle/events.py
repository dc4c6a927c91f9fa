"""Generated calendar objects: the same seed gives the same bytes.

Single events and series in several zones, in UTC, floating and all-day; COUNT, UNTIL and endless rules; EXDATE, RDATE
and overrides (moved, cancelled, renamed); attendees, alarms, escaped and multibyte text. A start always matches its
rule, because RFC 5545 leaves the other case open.
"""

import random
from datetime import date, datetime, time, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

STAMP = "20260101T000000Z"

# Zone: standard and daylight offsets, then (month, rule, wall time) of the change to daylight time and back.
ZONES = {
    "Europe/Paris": ("+0100", "+0200", (3, "-1SU", "020000"), (10, "-1SU", "030000")),
    "Europe/London": ("+0000", "+0100", (3, "-1SU", "010000"), (10, "-1SU", "020000")),
    "America/New_York": ("-0500", "-0400", (3, "2SU", "020000"), (11, "1SU", "020000")),
    "America/Los_Angeles": ("-0800", "-0700", (3, "2SU", "020000"), (11, "1SU", "020000")),
    "Australia/Sydney": ("+1000", "+1100", (10, "1SU", "020000"), (4, "1SU", "030000")),
    "Asia/Kolkata": ("+0530", None, None, None),
    "Asia/Tokyo": ("+0900", None, None, None),
    "America/Sao_Paulo": ("-0300", None, None, None),
}

TITLES = [
    "Review", "Stand-up", "Entretien d'embauche", "Zahnärztin", "会議の準備", "Обед; с Машей", "Kick-off, part 2",
    "🎉 Party 🎂", "Planning \\ budget", "مراجعة", "A rather long title that has to be folded because it does not fit",
]
PLACES = ["Room 1", "Café de Flore, Paris", "Straße 12; 2. Stock", "", "", "https://meet.example.com/abc"]
PEOPLE = ["ada", "grace", "edsger", "barbara", "alan", "katherine"]
ANSWERS = ["NEEDS-ACTION", "ACCEPTED", "DECLINED", "TENTATIVE"]

# What each rule is drawn from; {until} is filled with an end two to thirty months later.
RULES = [
    "FREQ=DAILY;COUNT=10",
    "FREQ=DAILY;INTERVAL=3;COUNT=25",
    "FREQ=DAILY;UNTIL={until}",
    "FREQ=WEEKLY",
    "FREQ=WEEKLY;INTERVAL=2;COUNT=30",
    "FREQ=WEEKLY;BYDAY=MO,WE,FR;UNTIL={until}",
    "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=SU,TU;COUNT=20",
    "FREQ=MONTHLY",
    "FREQ=MONTHLY;BYMONTHDAY=31",
    "FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=18",
    "FREQ=MONTHLY;BYDAY=2TU;UNTIL={until}",
    "FREQ=MONTHLY;BYDAY=-1FR",
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=24",
    "FREQ=YEARLY",
    "FREQ=YEARLY;BYMONTH=3,10;BYDAY=-1SU",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
    "FREQ=YEARLY;BYDAY=20MO;COUNT=8",
]


def escape(text):
    return text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def fold(line):
    """Lines of at most 75 octets that cut no character."""
    parts, current = [], b""
    for character in line:
        octets = character.encode()
        if len(current) + len(octets) > 75:
            parts.append(current)
            current = b" "
        current += octets
    return b"\r\n".join([*parts, current]).decode()


def vtimezone(name):
    standard, daylight, to_daylight, to_standard = ZONES[name]
    lines = ["BEGIN:VTIMEZONE", f"TZID:{name}"]
    if daylight is None:
        lines += ["BEGIN:STANDARD", "DTSTART:19700101T000000", f"TZOFFSETFROM:{standard}", f"TZOFFSETTO:{standard}"]
        lines += ["END:STANDARD"]
    else:
        halves = [
            ("DAYLIGHT", standard, daylight, to_daylight),
            ("STANDARD", daylight, standard, to_standard),
        ]
        for kind, before, after, (month, day, wall) in halves:
            rule = f"FREQ=YEARLY;BYMONTH={month};BYDAY={day}"
            first = next(iter(rrulestr(rule, dtstart=datetime(1970, 1, 1))))
            lines += [f"BEGIN:{kind}", f"DTSTART:{first:%Y%m%d}T{wall}", f"TZOFFSETFROM:{before}"]
            lines += [f"TZOFFSETTO:{after}", f"RRULE:{rule}", f"END:{kind}"]
    return [*lines, "END:VTIMEZONE"]


class Form:
    """One of the four ways to write a time, with the zone where there is one."""

    def __init__(self, rng):
        self.kind = rng.choices(["zoned", "date", "utc", "floating"], [65, 20, 8, 7])[0]
        self.zone = rng.choice(sorted(ZONES)) if self.kind == "zoned" else None

    def property(self, name, *walls):
        text = ",".join(self.value(wall) for wall in walls)
        if self.kind == "date":
            return f"{name};VALUE=DATE:{text}"
        return f"{name};TZID={self.zone}:{text}" if self.zone else f"{name}:{text}"

    def value(self, wall):
        if self.kind == "date":
            return f"{wall:%Y%m%d}"
        return f"{wall:%Y%m%dT%H%M%S}" + ("Z" if self.kind == "utc" else "")

    def as_utc(self, wall):
        """The same instant spelled in UTC, where it is one."""
        if self.zone:
            wall = wall.replace(tzinfo=ZoneInfo(self.zone)).astimezone(timezone.utc)
        return f"{wall:%Y%m%dT%H%M%SZ}"

    def until(self, wall):
        return self.value(wall) if self.kind in ("date", "floating") else self.as_utc(wall)


def vevent(uid, form, start, length, lines):
    end = start + length
    return [
        "BEGIN:VEVENT", f"UID:{uid}", f"DTSTAMP:{STAMP}", form.property("DTSTART", start), form.property("DTEND", end),
        *lines, "END:VEVENT",
    ]


def details(rng, title):
    lines = [f"SUMMARY:{escape(title)}"]
    if place := rng.choice(PLACES):
        lines.append(f"LOCATION:{escape(place)}")
    if rng.random() < 0.4:
        lines.append(f"DESCRIPTION:{escape(' '.join(rng.choices(TITLES, k=rng.randrange(1, 20))) + chr(10) + 'end')}")
    if rng.random() < 0.35:
        lines.append("ORGANIZER;CN=Ada Lovelace:mailto:ada@example.com")
        for name in rng.sample(PEOPLE, rng.randrange(1, 5)):
            answer = rng.choice(ANSWERS)
            lines.append(f"ATTENDEE;CN={name.title()};PARTSTAT={answer};ROLE=REQ-PARTICIPANT:mailto:{name}@example.com")
    if rng.random() < 0.1:
        lines.append("TRANSP:TRANSPARENT")
    if rng.random() < 0.1:
        lines.append(f"STATUS:{rng.choice(['TENTATIVE', 'CONFIRMED'])}")
    if rng.random() < 0.1:
        lines.append(f"CLASS:{rng.choice(['PRIVATE', 'CONFIDENTIAL'])}")
    if rng.random() < 0.15:
        lines.append("X-EXAMPLE-NOTE;X-PARAM=\"a;b\":kept as it is")
    if rng.random() < 0.3:
        lines += ["BEGIN:VALARM", "ACTION:DISPLAY", f"TRIGGER:-PT{rng.choice([5, 15, 60])}M", "DESCRIPTION:soon"]
        lines += ["END:VALARM"]
    return lines


def occurrences(rule, start, limit):
    """The first wall times of a rule."""
    bounded = rule.replace("{until}", f"{start + timedelta(days=3650):%Y%m%dT%H%M%S}")
    return list(islice(rrulestr(bounded, dtstart=start), limit))


def series(rng, uid, form, start, length):
    rule = rng.choice(RULES)
    # Not after the 28th, else "monthly" would start on a day that most months lack, by accident.
    known = occurrences(rule, start, 1)
    if known[0] != start:
        start = known[0]
    known = occurrences(rule, start, 8)
    until = form.until(start + timedelta(days=rng.randrange(60, 900)))
    lines = [*details(rng, rng.choice(TITLES)), f"RRULE:{rule.replace('{until}', until)}"]
    used = set()
    if rng.random() < 0.35 and len(known) > 3:
        gone = known[2]
        used.add(gone)
        if form.kind == "zoned" and rng.random() < 0.2:
            lines.append(f"EXDATE:{form.as_utc(gone)}")
        else:
            lines.append(form.property("EXDATE", gone))
    if rng.random() < 0.15:
        lines.append(form.property("RDATE", start + timedelta(days=rng.randrange(3, 40), hours=hours(form, 3))))
    found = vevent(uid, form, start, length, lines)
    for key in [one for one in known[1:] if one not in used and rng.random() < 0.15]:
        found += override(rng, uid, form, key, length)
    return found


def hours(form, count):
    return 0 if form.kind == "date" else count


def override(rng, uid, form, key, length):
    lines = [form.property("RECURRENCE-ID", key), "SEQUENCE:1"]
    match rng.choice(["moved", "cancelled", "renamed"]):
        case "moved":
            start = key + timedelta(days=1, hours=hours(form, rng.randrange(1, 5)))
            return vevent(uid, form, start, length, [*lines, *details(rng, rng.choice(TITLES))])
        case "cancelled":
            return vevent(uid, form, key, length, [*lines, "SUMMARY:Cancelled", "STATUS:CANCELLED"])
        case _:
            return vevent(uid, form, key, length, [*lines, *details(rng, "Renamed: " + rng.choice(TITLES))])


def generate(seed, number):
    """One object as (file name, UID, text)."""
    rng = random.Random(f"{seed}/{number}")
    uid = f"{seed}-{number:06}@example.com"
    form = Form(rng)
    day = date(2026, 1, 1) + timedelta(days=rng.randrange(0, 500))
    day = day.replace(day=min(day.day, 28))
    if form.kind == "date":
        start, length = datetime.combine(day, time()), timedelta(days=rng.choice([1, 1, 1, 2, 5]))
    else:
        # From 01:00, so that some starts fall into gaps and overlaps.
        start = datetime.combine(day, time(rng.randrange(1, 23), rng.choice([0, 15, 30, 45])))
        length = timedelta(minutes=rng.choice([15, 30, 45, 60, 90, 180, 1500]))
    if rng.random() < 0.35:
        components = series(rng, uid, form, start, length)
    else:
        components = vevent(uid, form, start, length, details(rng, rng.choice(TITLES)))
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Calfleet//generated events//EN"]
    zone = vtimezone(form.zone) if form.zone else []
    lines = [*head, *zone, *components, "END:VCALENDAR"]
    return f"{seed}-{number:06}.ics", uid, "".join(fold(line) + "\r\n" for line in lines)
