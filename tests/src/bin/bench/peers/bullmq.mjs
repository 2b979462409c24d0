// Adds jobs in closed loops. Arguments: port, loops, warm-up seconds, measured seconds, run.
import { Queue } from "bullmq";

const [port, loops, warmup, measured, run] = process.argv.slice(2).map(Number);
const queue = new Queue("inbox", { connection: { host: "127.0.0.1", port, maxRetriesPerRequest: null } });
queue.setMaxListeners(0);
await queue.waitUntilReady();

const payload = "x".repeat(216);
const begin = performance.now() + warmup * 1000;
const end = begin + measured * 1000;
let next = 0;
let inTime = 0;

const loop = async () => {
  while (performance.now() < end) {
    const at = next++;
    const id = `r${run}l${loops}-${at}`;
    await queue.add("event", { account: (at * 7919) % 1000, id, payload }, { jobId: id });
    const now = performance.now();
    if (now >= begin && now < end) inTime += 1;
  }
};
await Promise.all(Array.from({ length: loops }, loop));

const { user, system } = process.cpuUsage();
console.log(JSON.stringify({ rate_per_s: inTime / measured, cpu_s: (user + system) / 1e6 }));
await queue.obliterate({ force: true });
await queue.close();
