// The choices that are kept: paged, each to be read again or deleted.

import { call, get, of } from "./api.js";
import { add, button, fill, ghosts, h, state, toast } from "./dom.js";
import { prose } from "./prose.js";
import { can, troubled } from "./shell.js";
import { count, moment } from "./words.js";

const PAGE = 10;

function outcome(choice, which) {
  if (choice.ratings) return [`Rated ${choice.ratings[which]}`, choice.ratings[which] === Math.max(...choice.ratings)];
  if (choice.chosen === null || choice.chosen === undefined) return ["Neither / equal", false];
  return choice.chosen === which ? ["Chosen", true] : ["Not chosen", false];
}

function entry(held, choice, removed) {
  const ask = h("span", { class: "row" });
  const remove = async () => {
    try {
      await call("DELETE", of(held.user, `/choices/${encodeURIComponent(choice.key)}`));
      removed();
    } catch (error) {
      toast(`Not deleted: ${error.message}`);
      idle();
    }
  };
  const idle = () => fill(ask, can(held.me, "feedback", "erase") && button("Delete", sure, { kind: "plain", label: `Delete the choice on: ${choice.conversation.at(-1).content.slice(0, 80)}` }));
  const sure = () => {
    fill(ask, h("span", { class: "small" }, "Delete it, and unlearn it?"), button("Delete", remove, { kind: "plain danger" }), button("Keep", idle, { kind: "plain" }));
    ask.querySelector("button").focus();
  };
  idle();
  const pair = choice.responses.map((text, which) => {
    const [name, won] = outcome(choice, which);
    return h("div", { class: won ? "won" : "" }, h("b", null, name), prose(text));
  });
  const asked = choice.conversation.at(-1).content;
  return h(
    "li",
    null,
    h(
      "details",
      null,
      h("summary", null, asked.length > 160 ? `${asked.slice(0, 160)} …` : asked, h("small", null, moment(choice.time), choice.reason && " · with your reason")),
      h("div", { class: "stack" }, choice.reason && h("p", { class: "note" }, `Why: ${choice.reason}`), h("div", { class: "pair" }, pair)),
    ),
    ask,
  );
}

/** The part of the page with the person's choices. */
export function choicesPart(held) {
  const [line, list, more] = [h("p"), h("ul", { class: "kept" }), h("div")];
  const part = h("section", { class: "part", "aria-labelledby": "choices" }, h("header", null, h("h2", { id: "choices" }, held.own ? "Your choices" : "Choices"), line), list, more);
  let seen = -1;

  async function page(before) {
    const spinner = ghosts(80);
    fill(more, spinner);
    try {
      const query = `?limit=${PAGE}${before ? `&before=${before}` : ""}`;
      const got = await get(of(held.user, `/choices${query}`));
      line.textContent = got.total ? `${count(got.total, "choice")}, the latest first.` : "";
      if (!before) fill(list, !got.total && h("li", null, state("No choices are kept", "Those you make appear here.", { inline: true })));
      add(list, got.choices.map((choice) => entry(held, choice, () => (toast("Deleted. What it taught is unlearned."), held.load()))));
      fill(more, got.next !== null && got.next !== undefined && button("Earlier choices", () => page(got.next)));
    } catch (error) {
      fill(more, troubled(error, () => page(before), { inline: true }));
    }
  }

  const draw = () => {
    const now = `${held.persona.choices + held.persona.pending}`;
    if (now === seen) return;
    seen = now;
    fill(list);
    page();
  };
  return { part, draw };
}
