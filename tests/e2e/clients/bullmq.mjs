// From ask to start with BullMQ: one job after the other, as many as asked for, on the Redis at that URL.
// Prints the median and the 99th of a hundred in milliseconds as JSON.

import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const WARMING_UP = 20;
const [url, asks] = process.argv.slice(2);
const redis = new Redis(url, { maxRetriesPerRequest: null });
let started = () => {};
const worker = new Worker('bench', async () => started(performance.now()), { connection: redis.duplicate() });
await worker.waitUntilReady();
const queue = new Queue('bench', { connection: redis });

const waits = [];
for (let ask = 0; ask < WARMING_UP + Number(asks); ask += 1) {
  const start = new Promise((resolve) => { started = resolve; });
  const began = performance.now();
  await queue.add('noop', {});
  const wait = (await start) - began;
  if (ask >= WARMING_UP) waits.push(wait);
  await new Promise((resolve) => { setTimeout(resolve, 5); });
}
waits.sort((one, other) => one - other);
const at = (share) => waits[Math.floor(waits.length * share)];
console.log(JSON.stringify({ p50: at(0.5), p99: at(0.99) }));
await worker.close();
await queue.close();
redis.disconnect();
process.exit(0);
