// The account inbox as a Restate virtual object: one state entry per event, and a running number.
import * as restate from "@restatedev/restate-sdk";

// Node before 22 lacks it, and the SDK needs it.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((...both) => ([resolve, reject] = both));
  return { promise, resolve, reject };
};

const inbox = restate.object({
  name: "AccountInbox",
  handlers: {
    ingest: async (ctx, event) => {
      const key = `e/${event.id}`;
      const known = await ctx.get(key);
      if (known) return known.seq;
      const seq = ((await ctx.get("seq")) ?? 0) + 1;
      ctx.set(key, { seq, payload: event.payload });
      ctx.set("seq", seq);
      return seq;
    },
  },
});

restate.endpoint().bind(inbox).listen(Number(process.argv[2]));
