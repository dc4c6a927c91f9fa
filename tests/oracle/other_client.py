"""Another CalDAV client (python-caldav) on the same calendar, driven by a seed.

    other_client.py generate CALENDAR --seed S --count N        store N generated events
    other_client.py change CALENDAR --seed S --count M [--second CALENDAR]
                                                                M random creates, edits, moves and deletes
    other_client.py dump CALENDAR                               everything the server holds, once more in full
    other_client.py print --seed S --count N                    N generated events, without a server

Credentials are USER and PASSWORD in the environment. Output is JSON lines: {"operation", "name"} for what was done,
{"href", "etag", "uid", "ics"} for what is held.
"""

import argparse
import copy
import json
import os
import random
import sys
from datetime import datetime, timedelta
from urllib.parse import unquote, urlsplit

import caldav
from icalendar import Calendar, vCalAddress
from lxml import etree

import events
import expand

DAV, CALDAV = "{DAV:}", "{urn:ietf:params:xml:ns:caldav}"
LISTING = '<propfind xmlns="DAV:"><prop><resourcetype/><getetag/></prop></propfind>'
# Radicale refuses a REPORT that would return more than 10,000 components.
CHUNK = 200


class Store:
    """One calendar on a server."""

    def __init__(self, url):
        self.url = url if url.endswith("/") else url + "/"
        self.client = caldav.DAVClient(
            url=self.url, username=os.environ.get("USER"), password=os.environ.get("PASSWORD"), timeout=120
        )

    def check(self, response, what):
        if response.status >= 300:
            sys.exit(f"{what} was answered with {response.status}")
        return response

    def put(self, name, text, is_new):
        headers = {"Content-Type": "text/calendar; charset=utf-8"}
        if is_new:
            headers["If-None-Match"] = "*"
        self.check(self.client.put(self.url + name, text, headers), f"PUT {name}")

    def delete(self, name):
        self.check(self.client.delete(self.url + name), f"DELETE {name}")

    def hrefs(self):
        answer = self.check(self.client.propfind(self.url, LISTING, depth=1), "PROPFIND")
        found = []
        for response in multistatus(answer).iter(DAV + "response"):
            if response.find(f".//{DAV}getetag") is not None and response.find(f".//{DAV}collection") is None:
                found.append(response.findtext(DAV + "href"))
        return sorted(found)

    def objects(self):
        """(href, etag, text), in the order of their names."""
        hrefs = self.hrefs()
        for start in range(0, len(hrefs), CHUNK):
            query = etree.Element(CALDAV + "calendar-multiget")
            properties = etree.SubElement(query, DAV + "prop")
            etree.SubElement(properties, DAV + "getetag")
            etree.SubElement(properties, CALDAV + "calendar-data")
            for href in hrefs[start : start + CHUNK]:
                etree.SubElement(query, DAV + "href").text = href
            body = etree.tostring(query, xml_declaration=True, encoding="utf-8").decode()
            answer = self.check(self.client.report(self.url, body, depth=1), "REPORT calendar-multiget")
            found = []
            for response in multistatus(answer).iter(DAV + "response"):
                text = response.findtext(f".//{CALDAV}calendar-data")
                if text is None:
                    sys.exit(f"no calendar-data for {response.findtext(DAV + 'href')}")
                found.append((response.findtext(DAV + "href"), response.findtext(f".//{DAV}getetag"), text))
            yield from sorted(found)


def multistatus(answer):
    # Not the library's own tree: it is built lazily and rewrites hrefs.
    return etree.fromstring(answer.raw.encode() if isinstance(answer.raw, str) else answer.raw)


def file_name(href):
    return unquote(urlsplit(href).path).rsplit("/", 1)[-1]


def say(**fields):
    print(json.dumps(fields, ensure_ascii=False))


def master_of(calendar):
    return next((one for one in calendar.walk("VEVENT") if "RECURRENCE-ID" not in one), None)


def touch(component):
    sequence = int(component.get("SEQUENCE", 0)) + 1
    for name, value in (("SEQUENCE", sequence), ("LAST-MODIFIED", datetime(2026, 2, 1, tzinfo=expand.timezone.utc))):
        component.pop(name, None)
        component.add(name, value)


def shift(component, by):
    for name in ("DTSTART", "DTEND"):
        if name in component:
            moved = component[name].dt + by
            del component[name]
            component.add(name, moved)


def rename(rng, calendar):
    component = rng.choice(calendar.walk("VEVENT"))
    component.pop("SUMMARY", None)
    component.add("SUMMARY", f"Edited {rng.randrange(1000)}: {rng.choice(events.TITLES)}")
    touch(component)
    return "edit"


def answer(rng, calendar):
    component = rng.choice(calendar.walk("VEVENT"))
    guest = vCalAddress(f"mailto:guest{rng.randrange(5)}@example.com")
    guest.params["PARTSTAT"] = rng.choice(events.ANSWERS)
    component.add("ATTENDEE", guest)
    if "ORGANIZER" not in component:
        component.add("ORGANIZER", vCalAddress("mailto:ada@example.com"))
    touch(component)
    return "edit guests"


def move(rng, calendar):
    """A single event as a whole; of a series one instance, which becomes or stays an override or is cancelled."""
    master = master_of(calendar)
    is_date = not expand.is_timed(master["DTSTART"].dt)
    by = timedelta(days=rng.randrange(1, 4), hours=0 if is_date else rng.randrange(0, 6))
    if "RRULE" not in master:
        shift(master, by)
        touch(master)
        return "move"
    frame = expand.Frame(master, None)
    found = expand.starts(frame, expand.wall(frame.start) + timedelta(days=1500))
    taken = [one["RECURRENCE-ID"].dt for one in calendar.walk("VEVENT") if "RECURRENCE-ID" in one]
    for value in [*expand.listed(master, "EXDATE"), *taken]:
        found.pop(expand.matching(frame, found, value), None)
    if not found:
        return rename(rng, calendar)
    local = rng.choice(sorted(found)[:12])
    key = local.date() if is_date else local.replace(tzinfo=frame.zone)
    if rng.random() < 0.3:
        master.add("EXDATE", key)
        touch(master)
        return "cancel instance"
    override = copy.deepcopy(master)
    for name in ("RRULE", "RDATE", "EXDATE"):
        override.pop(name, None)
    shift(override, key - master["DTSTART"].dt if is_date else local - expand.wall(frame.start))
    shift(override, by)
    override.add("RECURRENCE-ID", key)
    touch(override)
    calendar.add_component(override)
    return "move instance"


def change(store, second, seed, count):
    rng = random.Random(f"change/{seed}")
    held = {file_name(href): text for href, _, text in store.objects()}
    for number in range(count):
        names = sorted(held)
        kind = rng.choices(["create", "edit", "answer", "move", "delete", "transfer"], [20, 20, 10, 30, 15, 5])[0]
        if kind == "create" or not names:
            name, _, text = events.generate(f"{seed}-new", number)
            store.put(name, text, is_new=True)
            held[name] = text
            say(operation="create", name=name)
            continue
        name = rng.choice(names)
        if kind == "transfer" and second is not None:
            second.put(name, held[name], is_new=True)
        if kind in ("delete", "transfer"):
            store.delete(name)
            del held[name]
            say(operation=kind if second is not None else "delete", name=name)
            continue
        calendar = Calendar.from_ical(held[name])
        operation = {"edit": rename, "answer": answer, "move": move}[kind](rng, calendar)
        held[name] = calendar.to_ical().decode()
        store.put(name, held[name], is_new=False)
        say(operation=operation, name=name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["generate", "change", "dump", "print"])
    parser.add_argument("calendar", nargs="?")
    parser.add_argument("--second")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--count", type=int, default=0)
    options = parser.parse_args()
    if options.command == "print":
        for number in range(options.count):
            name, uid, text = events.generate(options.seed, number)
            say(href=name, etag=None, uid=uid, ics=text)
        return
    store = Store(options.calendar)
    match options.command:
        case "generate":
            for number in range(options.count):
                name, _, text = events.generate(options.seed, number)
                store.put(name, text, is_new=True)
                say(operation="create", name=name)
        case "change":
            second = Store(options.second) if options.second else None
            change(store, second, options.seed, options.count)
        case "dump":
            for href, tag, text in store.objects():
                uid = next((str(one["UID"]) for one in Calendar.from_ical(text).walk("VEVENT")), None)
                say(href=href, etag=tag, uid=uid, ics=text)


if __name__ == "__main__":
    main()
