// Runs @microsoft/microsoft-graph-client against the sandbox; arguments and output as of microsoft_graph.py.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import graph from "@microsoft/microsoft-graph-client";

const [root, access] = process.argv.slice(2);
const { Client, HTTPMessageHandler, RetryHandler, RetryHandlerOptions, BatchRequestContent, BatchResponseContent } = graph;
let failed = 0;

// The client's own authentication sends tokens to https hosts only.
class Bearer {
  setNext(next) {
    this.next = next;
  }
  async execute(context) {
    context.options.headers = { ...Object.fromEntries(new Headers(context.options.headers)), Authorization: `Bearer ${access}` };
    await this.next.execute(context);
  }
}
const [bearer, retry] = [new Bearer(), new RetryHandler(new RetryHandlerOptions())];
bearer.setNext(retry);
retry.setNext(new HTTPMessageHandler());
const client = Client.initWithMiddleware({ middleware: bearer, baseUrl: `${root}/`, defaultVersion: "v1.0" });

async function check(name, work) {
  try {
    await work();
    console.log("ok", name);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}: ${error.message.split("\n").join(" ")}`);
  }
}

async function refused(status, code, work) {
  await assert.rejects(work, (error) => {
    assert.equal(error.statusCode, status);
    assert.equal(error.code, code);
    return true;
  });
}

const at = (day, hour) => ({ dateTime: `2027-03-${String(day).padStart(2, "0")}T${String(hour).padStart(2, "0")}:00:00`, timeZone: "Europe/Paris" });
const timed = (day, more = {}) => ({ subject: `Meeting ${day}`, start: at(day, 9), end: at(day, 10), ...more });
const window = { startDateTime: "2027-03-01T00:00:00Z", endDateTime: "2027-04-01T00:00:00Z" };
const ids = [];
let link;

// The client takes links apart at "https://" and the version right behind the host.
const follow = (link) => client.api(link.replace(`${root}/v1.0`, "")).get();

async function round(first) {
  const items = [];
  let page = first ? await follow(first) : await client.api("/me/calendarView/delta").query(window).header("Prefer", "odata.maxpagesize=2").get();
  for (;;) {
    items.push(...page.value);
    if (page["@odata.deltaLink"]) return [items, page["@odata.deltaLink"]];
    page = await follow(page["@odata.nextLink"]);
  }
}

await check("me", async () => {
  assert.equal((await client.api("/me").get()).userPrincipalName, "ada@example.com");
});
await check("create", async () => {
  for (let day = 1; day < 6; day += 1) ids.push((await client.api("/me/events").post(timed(day))).id);
});
await check("paging", async () => {
  let page = await client.api("/me/events").top(2).select("subject").get();
  const seen = page.value.map((event) => event.id);
  while (page["@odata.nextLink"]) {
    page = await follow(page["@odata.nextLink"]);
    seen.push(...page.value.map((event) => event.id));
  }
  assert.deepEqual(seen, ids);
});
await check("delta", async () => {
  let items;
  [items, link] = await round();
  assert.deepEqual(items.map((item) => item.id), ids);
  await client.api(`/me/events/${ids[0]}`).patch({ subject: "Changed" });
  await client.api(`/me/events/${ids[1]}`).delete();
  [items, link] = await round(link);
  assert.equal(items[0].subject, "Changed");
  assert.deepEqual([items[1].id, items[1]["@removed"]], [ids[1], { reason: "deleted" }]);
});
await check("etag", async () => {
  const event = await client.api(`/me/events/${ids[2]}`).get();
  await client.api(`/me/events/${ids[2]}`).header("If-Match", event["@odata.etag"]).patch({ subject: "Once" });
  await refused(412, "ErrorIrresolvableConflict", () => client.api(`/me/events/${ids[2]}`).header("If-Match", event["@odata.etag"]).patch({ subject: "Twice" }));
});
await check("occurrence", async () => {
  const [, before] = await round(link);
  const recurrence = { pattern: { type: "daily", interval: 1 }, range: { type: "endDate", startDate: "2027-03-10", endDate: "2027-03-12" } };
  const series = await client.api("/me/events").post(timed(10, { recurrence }));
  const { value } = await client.api(`/me/events/${series.id}/instances`).query(window).get();
  assert.equal(value.length, 3);
  const edited = await client.api(`/me/events/${value[1].id}`).patch({ subject: "Other" });
  assert.deepEqual([edited.type, edited.seriesMasterId], ["exception", series.id]);
  await refused(400, "ErrorOccurrenceCrossingBoundary", () => client.api(`/me/events/${value[1].id}`).patch({ start: at(12, 9), end: at(12, 10) }));
  await client.api(`/me/events/${value[0].id}`).delete();
  const [items] = await round(before);
  assert.deepEqual(items.map((item) => item.type ?? "removed").sort(), ["exception", "occurrence", "removed", "seriesMaster"]);
});
await check("calendar view", async () => {
  const { value } = await client.api("/me/calendarView").query(window).top(50).header("Prefer", 'outlook.timezone="Europe/Paris"').get();
  assert.deepEqual(value.map((item) => item.start.dateTime.slice(8, 13)), ["01T09", "03T09", "04T09", "05T09", "11T09", "12T09"]);
});
await check("getSchedule", async () => {
  const body = { schedules: ["ada@example.com"], startTime: at(3, 8), endTime: at(3, 11), availabilityViewInterval: 60 };
  const { value } = await client.api("/me/calendar/getSchedule").post(body);
  assert.equal(value[0].availabilityView, "020");
});
await check("batch", async () => {
  const request = (id, path, options) => ({ id, request: new Request(`${root}/v1.0${path}`, options) });
  const headers = { "Content-Type": "application/json" };
  const patch = request("2", `/me/events/${ids[3]}`, { method: "PATCH", headers, body: JSON.stringify({ subject: "Batched" }) });
  const content = await new BatchRequestContent([request("1", `/me/events/${ids[3]}`, { method: "GET" }), { ...patch, dependsOn: ["1"] }]).getContent();
  const answers = new BatchResponseContent(await client.api("/$batch").post(content));
  assert.equal((await answers.getResponseById("2").json()).subject, "Batched");
});
await check("throttling", async () => {
  const rule = { method: "GET", path: "/microsoft/v1.0/me", fault: { status: { code: 429, retry_after: { seconds: 1 } } } };
  await fetch(`${new URL(root).origin}/control/faults`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(rule) });
  assert.ok((await client.api("/me").get()).id);
});
await check("subscription", async () => {
  let tell;
  const told = new Promise((resolve) => (tell = resolve));
  const server = createServer((request, response) => {
    const token = new URL(request.url, "http://hook").searchParams.get("validationToken");
    if (token !== null) return response.writeHead(200, { "Content-Type": "text/plain" }).end(token);
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => tell(JSON.parse(body)) ?? response.writeHead(202).end());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const until = (minutes) => new Date(Date.now() + minutes * 60_000).toISOString();
  const wish = { changeType: "updated", notificationUrl: `http://127.0.0.1:${server.address().port}/hook`, resource: "me/events", expirationDateTime: until(60), clientState: "secret" };
  const made = await client.api("/subscriptions").post(wish);
  await client.api(`/me/events/${ids[4]}`).patch({ subject: "Told" });
  const { value } = await told;
  assert.deepEqual([value[0].subscriptionId, value[0].clientState, value[0].resourceData.id], [made.id, "secret", ids[4]]);
  await client.api(`/subscriptions/${made.id}`).patch({ expirationDateTime: until(120) });
  await client.api(`/subscriptions/${made.id}`).delete();
  await refused(404, "ResourceNotFound", () => client.api(`/subscriptions/${made.id}`).get());
  server.closeAllConnections();
  server.close();
});
process.exit(failed ? 1 : 0);
