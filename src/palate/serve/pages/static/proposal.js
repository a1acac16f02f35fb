// Before an edit is made: what it would change, tried on choices that were held back.

import { button, fill, h } from "./dom.js";
import { count } from "./words.js";

const PAUSE = 250; // milliseconds without another change, before the server is asked

function told({ choices, differ, better, worse }) {
  if (choices === 0) return ["There are no held-back choices yet to try this on."];
  const tried = `Tried on ${count(choices, "choice")} that the persona never saw: `;
  if (differ === 0) return [tried, "none would be predicted differently."];
  const parts = [better > 0 && h("b", { class: "better" }, `${better} better`), worse > 0 && h("b", { class: "worse" }, `${worse} worse`)].filter(Boolean);
  const sides = parts.flatMap((part, at) => (at ? [" and ", part] : [part]));
  return [tried, `${differ} would now be predicted differently`, sides.length ? [": ", sides] : "", "."];
}

/**
 * A panel that shows the effect of edits, with "save" and "cancel".
 * @param held the persona's holder.
 * @param edits a function that returns the edits as they are now, or null where there is nothing to save.
 */
export function proposal(held, edits, { save = "Save", danger = false, done = "Saved.", close, extra = null }) {
  const line = h("p", { class: "figures", role: "status" });
  const keep = button(save, () => commit(), { kind: `first${danger ? " danger" : ""}` });
  const panel = h("div", { class: "editor" }, extra, line, h("div", { class: "row" }, keep, button("Cancel", () => close())));
  let [timer, round] = [0, 0];

  async function commit() {
    const now = edits();
    if (!now) return;
    try {
      await held.edit(now, done);
      close();
    } catch (error) {
      fill(line, h("span", { class: "worse" }, `Not saved: ${error.message}`));
    }
  }

  async function look() {
    const mine = ++round;
    const now = edits();
    keep.disabled = !now;
    if (!now) return void fill(line);
    fill(line, h("span", { class: "soft" }, "Trying it on choices that were held back …"));
    try {
      const effect = await held.effect(now);
      if (mine === round) fill(line, told(effect));
    } catch (error) {
      if (mine === round) fill(line, h("span", { class: "worse" }, error.status === 409 ? "Somebody edited this persona meanwhile; saving shows you how it stands now." : `Its effect can't be told: ${error.message}`));
    }
  }

  const refresh = () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  };
  look();
  panel.addEventListener("keydown", (event) => event.key === "Escape" && close());
  return Object.assign(panel, { refresh });
}
