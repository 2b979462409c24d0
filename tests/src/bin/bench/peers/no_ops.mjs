// Works on a queue that is full of jobs which do nothing. Arguments: port, jobs, run.
import { Queue, Worker } from "bullmq";

const CONCURRENCY = 64;
const [port, jobs, run] = process.argv.slice(2, 5).map(Number);
const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const name = `no-ops-${run}`;

const queue = new Queue(name, { connection });
for (let at = 0; at < jobs; at += 1000) {
  const length = Math.min(1000, jobs - at);
  const opts = { removeOnComplete: true, attempts: 8, backoff: { type: "exponential", delay: 5000 } };
  await queue.addBulk(Array.from({ length }, () => ({ name: "search", data: { query: "q" }, opts })));
}
const worker = new Worker(name, async () => null, { connection, concurrency: CONCURRENCY, autorun: false });
await worker.waitUntilReady();

const before = process.cpuUsage();
const begin = process.hrtime.bigint();
let done = 0;
worker.on("completed", async () => {
  if (++done < jobs) return;
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  const { user, system } = process.cpuUsage(before);
  console.log(JSON.stringify({ seconds, cpu_s: (user + system) / 1e6 }));
  await worker.close();
  await queue.close();
});
console.log("ready");
await worker.run();
