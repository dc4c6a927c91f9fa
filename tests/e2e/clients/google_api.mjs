// Runs @googleapis/calendar against the sandbox; arguments and output as of google_api.py.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { auth, calendar } from "@googleapis/calendar";

const [root, access, refresh, clientId] = process.argv.slice(2);
let failed = 0;

function service(tokens) {
  const client = new auth.OAuth2({ clientId, clientSecret: "any", endpoints: { oauth2TokenUrl: `${root}/token` } });
  client.setCredentials(tokens);
  const api = calendar({ version: "v3", auth: client });
  // As an option of the service a root loses its path; as an option of each call it keeps it.
  const within = (resource) =>
    new Proxy(resource, { get: (target, name) => (call, more) => target[name](call, { rootUrl: `${root}/`, ...more }) });
  const { events, freebusy, channels, calendarList } = api;
  const wrapped = { events: within(events), freebusy: within(freebusy), channels: within(channels), calendarList: within(calendarList) };
  return [wrapped, client];
}

async function check(name, work) {
  try {
    await work();
    console.log("ok", name);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}: ${error.message.split("\n").join(" ")}`);
  }
}

async function refused(status, reason, work) {
  await assert.rejects(work, (error) => {
    assert.equal(error.response?.status, status);
    assert.equal(error.response.data.error.errors[0].reason, reason);
    return true;
  });
}

const [api] = service({ access_token: access, refresh_token: refresh });
const { events } = api;
const calendarId = "primary";
const at = (hour) => ({ dateTime: `2027-03-01T${String(hour).padStart(2, "0")}:00:00Z`, timeZone: "UTC" });
const timed = (hour, more = {}) => ({ summary: `Meeting ${hour}`, start: at(hour), end: at(hour + 1), ...more });
const ids = [];
let token;

async function drained(maxResults = 250) {
  let pageToken;
  const seen = [];
  for (;;) {
    const { data } = await events.list({ calendarId, maxResults, pageToken });
    seen.push(...data.items.map((event) => event.id));
    if (data.nextSyncToken) return [seen, data.nextSyncToken];
    pageToken = data.nextPageToken;
    assert.ok(pageToken);
  }
}

await check("insert", async () => {
  for (let hour = 8; hour < 13; hour += 1) ids.push((await events.insert({ calendarId, requestBody: timed(hour) })).data.id);
});
await check("paging", async () => {
  const [seen, last] = await drained(2);
  assert.deepEqual(seen.filter((id) => ids.includes(id)), ids);
  token = last;
});
await check("delta", async () => {
  await events.delete({ calendarId, eventId: ids[0] });
  const { data } = await events.list({ calendarId, syncToken: token });
  assert.deepEqual(data.items.map((event) => [event.id, event.status]), [[ids[0], "cancelled"]]);
  await refused(410, "fullSyncRequired", () => events.list({ calendarId, syncToken: "nonsense" }));
});
await check("patch with etag", async () => {
  const { data } = await events.get({ calendarId, eventId: ids[1] });
  const write = () => events.patch({ calendarId, eventId: ids[1], requestBody: { summary: "Changed" } }, { headers: { "If-Match": data.etag } });
  assert.equal((await write()).data.summary, "Changed");
  await refused(412, "conditionNotMet", write);
});
await check("instance edit", async () => {
  const series = (await events.insert({ calendarId, requestBody: timed(14, { recurrence: ["RRULE:FREQ=DAILY;COUNT=3"] }) })).data;
  const { data } = await events.instances({ calendarId, eventId: series.id });
  assert.equal(data.items.length, 3);
  const edited = await events.patch({ calendarId, eventId: data.items[1].id, requestBody: { summary: "Other" } });
  assert.equal(edited.data.recurringEventId, series.id);
  await events.delete({ calendarId, eventId: series.id });
});
await check("free/busy", async () => {
  const requestBody = { timeMin: "2027-03-01T00:00:00Z", timeMax: "2027-03-02T00:00:00Z", items: [{ id: "primary" }] };
  const { data } = await api.freebusy.query({ requestBody });
  assert.ok(data.calendars.primary.busy.length > 0);
});
await check("watch", async () => {
  const requestBody = { id: randomUUID(), type: "web_hook", address: "http://127.0.0.1:9/" };
  const { data } = await events.watch({ calendarId, requestBody });
  await api.channels.stop({ requestBody: { id: data.id, resourceId: data.resourceId } });
});
await check("calendarList", async () => {
  const { data } = await api.calendarList.list();
  assert.equal(data.items.filter((item) => item.primary).length, 1);
});
await check("token refresh", async () => {
  const [other, client] = service({ access_token: "dead", refresh_token: refresh, expiry_date: 1 });
  await other.events.list({ calendarId });
  assert.notEqual(client.credentials.access_token, "dead");
});
process.exit(failed ? 1 : 0);
