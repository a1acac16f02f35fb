// Choices on their way: kept in memory until the server has them, sent again under the same key, never counted twice.

import { call } from "./api.js";

const LONGEST = 15;

/**
 * A queue of choices.
 * @param tell called after every change with {waiting, trouble}.
 * @param refused called with a choice that the server will never take, and why.
 */
export function makeQueue(tell, refused) {
  const waiting = [];
  let [busy, trouble, wake, tries] = [false, null, null, 0];
  const news = () => tell({ waiting: waiting.length, trouble });

  const pause = (seconds) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      wake = () => (clearTimeout(timer), resolve());
    });

  async function sendFirst() {
    const entry = waiting[0];
    try {
      const told = await call("POST", "/v1/feedback", entry.choice, { seconds: 10 });
      if (told.refused?.length && !told.accepted?.length) throw Object.assign(new Error(told.refused[0].message), { status: 422 });
      [trouble, tries] = [null, 0];
    } catch (error) {
      if (!error.passing) return void (drop(entry), entry.failed(error), refused(entry.choice, error));
      trouble = error;
      news();
      await pause(Math.max(error.retryAfter ?? 0, Math.min(LONGEST, 0.5 * 2 ** tries++) * (0.75 + Math.random() / 2)));
      return;
    }
    drop(entry);
    entry.sent();
  }

  function drop(entry) {
    waiting.splice(waiting.indexOf(entry), 1);
    news();
  }

  async function run() {
    if (busy) return;
    busy = true;
    while (waiting.length) await sendFirst();
    busy = false;
  }

  addEventListener("online", () => wake?.());
  addEventListener("beforeunload", (event) => waiting.length && event.preventDefault());

  return {
    /** Take a choice; the promise is kept when the server has it. */
    add(choice) {
      const done = new Promise((sent, failed) => waiting.push({ choice, sent, failed }));
      done.catch(() => {}); // told by `refused`; whoever waits sees it too
      news();
      run();
      return done;
    },
    get waiting() {
      return waiting.length;
    },
    /** Try at once, rather than when the pause is over. */
    hurry: () => wake?.(),
  };
}
