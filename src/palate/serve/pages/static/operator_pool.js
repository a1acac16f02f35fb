// The pairs of answers that people may be shown.

import { call, get } from "./api.js";
import { add, button, fill, h, state, toast } from "./dom.js";
import { prose } from "./prose.js";
import { troubled } from "./shell.js";
import { count } from "./words.js";

const PAGE = 10;

function addForm(added) {
  const field = (id, label) => [h("label", { for: id }, label), h("textarea", { id, required: true })];
  const parts = [field("asked", "Question"), field("one", "One answer"), field("two", "Another answer")];
  const text = (at) => parts[at][1].value.trim();
  const wrong = h("p", { class: "worse small", role: "status" });
  const submit = async (event) => {
    event.preventDefault();
    fill(wrong);
    try {
      await call("POST", "/v1/pool", { offers: [{ conversation: text(0), responses: [text(1), text(2)] }] });
      for (const [, area] of parts) area.value = "";
      toast("Added.");
      added();
    } catch (error) {
      fill(wrong, error.message);
    }
  };
  return h("details", { class: "card" }, h("summary", null, "Add a pair"), h("form", { class: "stack", onsubmit: submit }, parts, wrong, h("div", { class: "row" }, h("button", { class: "first" }, "Add it"))));
}

/** The part of the page about the pool. */
export function poolPart() {
  const [line, list, more] = [h("p"), h("ul", { class: "kept" }), h("div")];

  function entry(offer) {
    const remove = async () => {
      try {
        await call("DELETE", `/v1/pool/${encodeURIComponent(offer.id)}`);
        await page();
      } catch (error) {
        toast(`Not removed: ${error.message}`);
      }
    };
    const asked = offer.conversation.at(-1).content;
    return h("li", null, h("details", null, h("summary", null, asked.length > 160 ? `${asked.slice(0, 160)} …` : asked), h("div", { class: "pair" }, offer.responses.map((text) => h("div", null, prose(text))))), button("Remove", remove, { kind: "plain", label: `Remove: ${asked.slice(0, 80)}` }));
  }

  async function page(after) {
    try {
      const got = await get(`/v1/pool?limit=${PAGE}${after ? `&after=${encodeURIComponent(after)}` : ""}`);
      line.textContent = `${count(got.total, "pair")} that people may be shown; each sees those that teach most about them.`;
      if (!after) fill(list, !got.total && h("li", null, state("The pool is empty", "People have nothing to choose from until pairs are added, here or by POST /v1/pool.", { inline: true })));
      add(list, got.offers.map(entry));
      fill(more, got.next && button("More pairs", () => page(got.next)));
    } catch (error) {
      fill(more, troubled(error, () => page(after), { inline: true }));
    }
  }
  page();
  return h("section", { class: "part", "aria-labelledby": "pool" }, h("header", null, h("h2", { id: "pool" }, "Pool"), line), list, more, addForm(() => page()));
}
