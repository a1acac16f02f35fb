// What was just learned: the strongest statements, and the ones that a choice moved.

import { barLegend, strengthBar, strengthWords } from "./bar.js";
import { fill, h } from "./dom.js";
import { howStrong, ownWords, toYou, toYouInside } from "./words.js";

const SHOWN = 6;
const MOVED = 0.05; // log-odds per unit: less is not worth a word

/** The statements of a persona, or of one of its versions, that are held to be true. */
export const standing = (persona) => (persona?.statements ?? []).filter((s) => s.state !== "forgotten" && s.state !== "dropped");

const beside = (statement) => (ownWords(statement) ? "you said so" : statement.state === "found" ? strengthWords(statement) : `${howStrong(statement.strength)}, ${statement.state === "said" ? "set by you" : "locked"}`);

/** In words, what changed from one list of statements to the next; "" where nothing did. */
export function changed(before, after) {
  const old = new Map(before.map((s) => [s.about, s]));
  const told = [];
  for (const now of after) {
    const then = old.get(now.about);
    old.delete(now.about);
    if (!then) told.push([`Now believes: ${toYouInside(now.headline)}.`, 10 + now.strength, now.about]);
    else if (then.headline !== now.headline) told.push([`Changed its mind: ${toYouInside(now.headline)}.`, 9, now.about]);
    else if (Math.abs(now.strength - then.strength) >= MOVED) {
      const [a, b] = [howStrong(then.strength), howStrong(now.strength)];
      const words = a === b ? (now.strength > then.strength ? "a little surer of" : "a little less sure of") : `${b} rather than ${a}`;
      told.push([a === b ? `${words.replace(/^./, (c) => c.toUpperCase())}: ${toYouInside(now.headline)}.` : `${toYou(now.headline)}: ${words}.`, Math.abs(now.strength - then.strength), now.about]);
    }
  }
  for (const gone of old.values()) told.push([`No longer believes: ${toYouInside(gone.headline)}.`, 8, gone.about]);
  return told.sort((x, y) => y[1] - x[1]);
}

/** The part of the page below the answers. */
export function beliefs() {
  const news = h("p", { class: "soft" });
  const list = h("ul", { class: "beliefs" });
  const legend = barLegend();
  const part = h("section", { class: "part learned", "aria-labelledby": "learned" }, h("header", null, h("h2", { id: "learned" }, "What Palate believes so far"), news), list, legend, h("p", null, h("a", { href: "/me" }, "See why, and change it")));
  const rows = new Map();
  let last = [];

  function row(statement, fresh) {
    let known = rows.get(statement.about);
    if (!known) {
      const [bar, title, words] = [strengthBar(statement), h("b"), h("span")];
      known = { bar, title, words, item: h("li", { class: "belief" }, h("div", { class: "row" }, title, words), bar) };
      rows.set(statement.about, known);
    }
    known.title.textContent = toYou(statement.headline);
    known.words.textContent = beside(statement);
    known.bar.hidden = ownWords(statement);
    known.bar.update(statement);
    known.item.classList.toggle("fresh", fresh);
    return known.item;
  }

  function draw(statements, moved) {
    const shown = [...statements].sort((a, b) => b.strength - a.strength).slice(0, SHOWN);
    for (const about of moved) {
      const hidden = statements.find((s) => s.about === about && !shown.includes(s));
      if (hidden) shown.push(hidden);
    }
    legend.hidden = shown.length === 0;
    list.replaceChildren(...shown.map((s) => row(s, moved.includes(s.about))));
  }

  return {
    part,
    first(persona) {
      last = standing(persona);
      fill(news, last.length ? "" : "Nothing yet: a few choices show the first leanings.");
      draw(last, []);
    },
    /** Show a new state of belief; returns what changed, in a line. */
    update(persona) {
      const now = standing(persona);
      const told = changed(last, now);
      last = now;
      const line = told.slice(0, 2).map(([text]) => text).join(" ");
      fill(news, line || (now.length ? "That choice fits what was believed." : "Nothing certain yet: a few more choices show the first leanings."));
      requestAnimationFrame(() => draw(now, told.slice(0, 2).map(([, , about]) => about)));
      return line;
    },
  };
}
