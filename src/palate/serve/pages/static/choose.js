// Two answers, one choice, and what was learned from it.

import { call, freshKey, get, of, Trouble } from "./api.js";
import { beliefs } from "./beliefs.js";
import { add, button, fill, ghosts, h, say, state, style, toast } from "./dom.js";
import { prose } from "./prose.js";
import { makeQueue } from "./queue.js";
import { start, troubled } from "./shell.js";
import { count, percent } from "./words.js";

const AHEAD = 4; // pairs asked for, so that a slow network has something to show
const PATIENCE = 700; // milliseconds that the best pair is waited for, before one of those is shown
const GLIMPSE = 160; // milliseconds that the choice stands before the next pair
const AGAIN = 1500; // milliseconds between two tries to get pairs when there are none
const SETTLED = 0.9;

/** Send a choice; a repetition under the same key is the same choice. */
async function keep(choice) {
  const told = await call("POST", "/v1/feedback", choice, { seconds: 10 });
  if (!told.accepted?.length && told.refused?.length) throw new Trouble(422, told.refused[0].message);
  return told;
}

/** Have a choice deleted; one that is not there any more is as good. */
const drop = (user, key) => call("DELETE", of(user, `/choices/${encodeURIComponent(key)}`), undefined, { seconds: 10 }).catch((error) => (error.status === 404 ? null : Promise.reject(error)));

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const same = (a, b) => JSON.stringify([a.conversation, a.responses]) === JSON.stringify([b.conversation, b.responses]);

function shuffled(n) {
  const order = [...Array(n).keys()];
  for (let i = n - 1; i > 0; i--) {
    const j = crypto.getRandomValues(new Uint32Array(1))[0] % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

class Chooser {
  constructor(main, user) {
    this.user = user;
    this.pairs = []; // what may be shown next, best first
    this.seen = []; // what was answered here, latest last: {pair, order, key, done}
    this.now = null; // {pair, order, picked, open}
    this.total = 0;
    this.queue = makeQueue((news) => this.drawSending(news));
    this.meter = h("div", { class: "meter" });
    this.stage = h("div");
    this.sending = h("p", { class: "small unsent", role: "status" });
    this.learned = beliefs();
    add(main, h("h1", { class: "unseen" }, "Choose between answers"), this.meter, this.stage, this.sending, this.learned.part);
    addEventListener("keydown", (event) => this.onKey(event));
  }

  async begin() {
    fill(this.stage, ghosts(90, 320));
    const [persona] = await Promise.all([this.persona(), this.ask()]);
    this.settle(persona);
    this.learned.first(persona);
    this.next();
  }

  /** What is believed now; null where nothing is kept of this user yet. */
  async persona() {
    try {
      return await get(of(this.user, "/persona"));
    } catch (error) {
      if (error.status === 404) return null;
      throw error;
    }
  }

  async ask() {
    const asked = await call("POST", of(this.user, "/next"), { count: AHEAD });
    const open = this.seen.filter((past) => !past.undone);
    this.pairs = asked.pairs.filter((pair) => !open.some((past) => same(past.pair, pair)));
    this.empty = asked.pairs.length === 0;
    return asked;
  }

  settle(persona) {
    this.total = persona ? persona.choices + persona.pending : 0;
    const settled = Math.min(1, Math.max(0, persona?.settled ?? 0));
    const told =
      this.total === 0
        ? "Your first choice. Pick the answer you would rather get."
        : settled >= SETTLED
          ? `${count(this.total, "choice")}: settled. More choices change little now.`
          : `${count(this.total, "choice")}: what can be learned is ${percent(settled)} settled.`;
    if (!this.fillPart) {
      this.fillPart = h("i");
      this.track = h("div", { class: "track", role: "progressbar", "aria-label": "How settled your persona is", "aria-valuemin": 0, "aria-valuemax": 100 }, this.fillPart);
      this.told = h("p", { class: "small soft figures" });
      add(this.meter, this.track, this.told);
    }
    this.told.textContent = told;
    this.track.setAttribute("aria-valuenow", Math.round(100 * settled));
    style(this.fillPart, { width: percent(settled, 1).replace(" ", "") });
  }

  next() {
    const pair = this.pairs.shift();
    if (!pair) return this.drawEmpty();
    this.show({ pair, order: shuffled(pair.responses.length), picked: null, open: true });
  }

  show(turn) {
    this.now = turn;
    const many = turn.order.length > 2;
    this.cards = turn.order.map((which, place) => this.card(turn, which, place, many));
    this.why = h("input", { type: "text", id: "why", maxlength: 2000, autocomplete: "off", placeholder: "Optional: say why, then choose" });
    const equal = button(many ? "None / equal" : "Neither / equal", () => this.choose(null), { key: "0" });
    fill(
      this.stage,
      h("div", { class: "asked" }, this.talk(turn.pair.conversation)),
      h("div", { class: `answers${many ? " many" : ""}`, role: "group", "aria-label": "Answers to choose from" }, this.cards),
      h("div", { class: "under" }, equal, h("div", null, h("label", { for: "why", class: "unseen" }, "Why? Optional"), this.why)),
      h("div", { class: "row spread" }, this.undoButton(), h("p", { class: "keys small soft" }, "Keys: ", h("kbd", null, "1"), " ", h("kbd", null, "2"), " choose, ", h("kbd", null, "0"), " equal, ", h("kbd", null, "←"), " ", h("kbd", null, "→"), " then ", h("kbd", null, "Enter"), ", ", h("kbd", null, "U"), " undo")),
    );
  }

  talk(conversation) {
    const last = conversation.at(-1);
    const before = conversation.slice(0, -1).filter((turn) => turn.role !== "system");
    const earlier = before.length > 0 && h("details", { open: before.length <= 2 }, h("summary", null, `${count(before.length, "earlier message")}`), h("div", { class: "before" }, before.map((turn) => h("div", null, h("b", null, turn.role === "user" ? "Asked" : "Answered"), prose(turn.content)))));
    const long = last.content.length > 320;
    return [earlier, h("div", { id: "question", tabindex: -1, ...(long ? { class: "scroller", tabindex: 0, role: "region", "aria-label": "What was asked" } : {}) }, prose(last.content, long ? "long" : ""))];
  }

  card(turn, which, place, many) {
    const name = many ? `Answer ${place + 1}` : ["First answer", "Second answer"][place];
    const pick = button("Choose this one", () => this.choose(which), { kind: "first", label: `Choose the ${name.toLowerCase()}`, key: place < 9 ? String(place + 1) : null });
    const body = prose(turn.pair.responses[which]);
    const card = h("article", { class: "card answer", "aria-label": name }, body, pick);
    card.addEventListener("click", (event) => {
      if (event.target.closest("button, a, summary") || !getSelection().isCollapsed) return;
      this.pick(place);
    });
    return card;
  }

  /** Mark an answer, to be taken by Enter. */
  pick(place) {
    this.now.picked = place;
    this.cards.forEach((card, at) => card.classList.toggle("picked", at === place));
    this.cards[place].querySelector("button").focus({ preventScroll: false });
  }

  onKey(event) {
    if (!this.now?.open || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const typing = event.target.closest?.("input, textarea, select");
    if (typing) {
      if (event.key === "Enter" && event.target === this.why && this.now.picked !== null) this.choose(this.now.order[this.now.picked]);
      if (event.key === "Escape") this.why.blur();
      return;
    }
    const n = this.now.order.length;
    const at = this.now.picked;
    const moves = { ArrowRight: at === null ? 0 : Math.min(n - 1, at + 1), ArrowLeft: at === null ? 0 : Math.max(0, at - 1) };
    if (event.key in moves && !event.target.closest?.("[role=region], pre")) this.pick(moves[event.key]);
    else if (event.key === "0") this.choose(null);
    else if (/^[1-9]$/.test(event.key) && Number(event.key) <= n) this.choose(this.now.order[Number(event.key) - 1]);
    else if (event.key === "Enter" && at !== null && event.target === document.body) this.choose(this.now.order[at]);
    else if (event.key.toLowerCase() === "u") this.undo();
    else return;
    event.preventDefault();
  }

  /** Keep a choice; `which` is the position in the pair as it came, or null for a tie. */
  async choose(which) {
    const turn = this.now;
    if (!turn?.open) return;
    turn.open = false;
    turn.key = freshKey();
    const { conversation, responses } = turn.pair;
    const choice = { user: this.user, conversation, responses, chosen: which, key: turn.key, time: Date.now() / 1000, source: "pages" };
    if (this.why.value.trim()) choice.reason = this.why.value.trim();
    this.cards.forEach((card, place) => card.classList.add(which === turn.order[place] ? "chosen" : "lost"));
    this.seen.push(turn);
    const learning = this.queue.add(() => keep(choice)).then(
      () => this.learn(turn),
      (error) => this.refuse(turn, error),
    );
    await Promise.all([wait(GLIMPSE), Promise.race([learning, wait(PATIENCE)])]);
    if (this.now === turn && !this.pairs.length && !this.empty) await this.waitOut(turn);
    if (this.now !== turn) return;
    this.next();
    const question = document.getElementById("question");
    question?.focus({ preventScroll: true });
    question?.scrollIntoView({ block: "nearest" });
  }

  /** Nothing is left to show until the server answers: say so once it takes long, and go on asking. */
  async waitOut(turn) {
    const lacking = () => this.now === turn && !this.pairs.length && !this.empty;
    const note = state("Waiting for the server", "Your choices are kept in this tab and are sent as soon as it answers.", { level: "h2", role: "status" });
    setTimeout(() => lacking() && fill(this.stage, h("div", { class: "part" }, note)), PATIENCE);
    while (lacking()) {
      await wait(AGAIN);
      if (this.queue.waiting || !lacking()) continue;
      try {
        await this.ask();
      } catch (error) {
        if (!error.passing) throw error;
      }
    }
  }

  /** After a choice has reached the server: the next pairs, and what changed. */
  async learn(turn) {
    const latest = () => turn === this.seen.at(-1) && !turn.undone;
    if (!latest()) return;
    try {
      const [persona] = await Promise.all([this.persona(), this.ask()]);
      if (latest()) this.tell(persona, "Kept.");
    } catch (error) {
      if (!error.passing) throw error;
    }
  }

  tell(persona, what) {
    this.settle(persona);
    say([what, this.learned.update(persona), this.told.textContent].filter(Boolean).join(" "));
  }

  undoButton() {
    const last = this.seen.findLast((turn) => !turn.undone);
    return last ? button("Undo the last choice", () => this.undo(), { kind: "plain undo" }) : h("span");
  }

  /** Show the last pair again, and have its choice deleted after whatever is still on its way. */
  async undo() {
    const last = this.seen.findLast((turn) => !turn.undone);
    if (!last) return;
    last.undone = true;
    if (this.now?.open) this.pairs.unshift(this.now.pair);
    this.show({ pair: last.pair, order: last.order, picked: null, open: true });
    say("The choice is undone. Choose again.");
    try {
      await this.queue.add(() => drop(this.user, last.key));
      const persona = await this.persona();
      if (!this.queue.waiting) this.tell(persona, "");
    } catch (error) {
      if (!error.passing) toast(`Not undone: ${error.message}`);
    }
  }

  refuse(turn, error) {
    turn.undone = true;
    toast(`One choice was not kept: ${error.message}`, { seconds: 12 });
    if (error.status === 401 || error.status === 403) throw error;
  }

  drawSending({ waiting, trouble }) {
    const late = trouble !== null && waiting > 0;
    fill(this.sending, late && `${count(waiting, "choice")} not sent yet: ${trouble.message} Trying again. `, late && button("Try now", () => this.queue.hurry(), { kind: "plain" }));
  }

  drawEmpty() {
    this.now = null;
    fill(
      this.stage,
      h("div", { class: "part" }, state(this.total ? "That was all for now" : "There is nothing to choose from yet", this.total ? "You have seen every pair that was prepared. New ones will appear here when they are added." : "Nobody has prepared pairs of answers yet. Come back a little later.", {
        level: "h2",
        actions: [h("a", { class: "button first", href: "/me" }, "See what Palate believes"), this.undoButton()],
      })),
    );
  }
}

start(
  async (main, me) => {
    const chooser = new Chooser(main, me.whose);
    try {
      await chooser.begin();
    } catch (error) {
      fill(main, troubled(error, () => location.reload()));
    }
    addEventListener("unhandledrejection", (event) => {
      if (!(event.reason instanceof Trouble)) return;
      event.preventDefault();
      fill(main, troubled(event.reason, () => location.reload()));
    });
  },
  { needs: "person" },
);
