// What is on its way: kept in memory until the server has it, in order, sent again until it is there.

const LONGEST = 15; // seconds between two tries at most

/**
 * A queue of sendings. Each is tried until it goes well, or the server says that it never will.
 * @param tell called after every change with {waiting, trouble}.
 */
export function makeQueue(tell) {
  const waiting = [];
  let [busy, trouble, wake, tries] = [false, null, null, 0];
  const news = () => tell({ waiting: waiting.length, trouble });

  const pause = (seconds) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      wake = () => (clearTimeout(timer), resolve());
    });

  async function sendFirst() {
    const { send, sent, failed } = waiting[0];
    let outcome;
    try {
      const answer = await send();
      outcome = () => sent(answer);
    } catch (error) {
      if (error.passing) {
        trouble = error;
        news();
        return pause(Math.max(error.retryAfter, Math.min(LONGEST, 0.5 * 2 ** tries++) * (0.75 + Math.random() / 2)));
      }
      outcome = () => failed(error);
    }
    [trouble, tries] = [null, 0];
    waiting.shift();
    news();
    outcome();
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
    /** Take a sending, a function that may be called again and again; the promise is kept when it went well. */
    add(send) {
      const done = new Promise((sent, failed) => waiting.push({ send, sent, failed }));
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
