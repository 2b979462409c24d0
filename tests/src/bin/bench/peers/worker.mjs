// Posts signed webhooks from a queue that is full. Arguments: port, events, run, URL, secret, file of the document.
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { Queue, Worker } from "bullmq";
import { Agent, request } from "undici";

const CONCURRENCY = 64;
const [port, events, run] = process.argv.slice(2, 5).map(Number);
const [url, secret, file] = process.argv.slice(5);
const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const document = JSON.parse(readFileSync(file, "utf8"));
const key = Buffer.from(secret.slice("whsec_".length), "base64");
const agent = new Agent({ connections: CONCURRENCY, pipelining: 1, keepAliveTimeout: 30_000 });

const deliver = async (job) => {
  const body = JSON.stringify(job.data);
  const id = `msg_${run}_${job.id}`;
  const time = Math.floor(Date.now() / 1000).toString();
  const signature = `v1,${createHmac("sha256", key).update(`${id}.${time}.${body}`).digest("base64")}`;
  const headers = {
    "content-type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": time,
    "webhook-signature": signature,
  };
  const answer = await request(url, { method: "POST", dispatcher: agent, headers, body });
  await answer.body.dump();
  if (answer.statusCode >= 300) throw new Error(`answered ${answer.statusCode}`);
};

const queue = new Queue("deliveries", { connection });
for (let at = 0; at < events; at += 1000) {
  const length = Math.min(1000, events - at);
  const opts = { removeOnComplete: true, attempts: 8, backoff: { type: "exponential", delay: 5000 } };
  await queue.addBulk(Array.from({ length }, () => ({ name: "deliver", data: document, opts })));
}
const worker = new Worker("deliveries", deliver, { connection, concurrency: CONCURRENCY, autorun: false });
await worker.waitUntilReady();

const before = process.cpuUsage();
let done = 0;
worker.on("completed", async () => {
  if (++done < events) return;
  const { user, system } = process.cpuUsage(before);
  console.log(JSON.stringify({ cpu_s: (user + system) / 1e6 }));
  await worker.close();
  await queue.close();
  await agent.close();
});
console.log("ready");
await worker.run();
