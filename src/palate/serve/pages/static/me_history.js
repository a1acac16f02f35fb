// What was believed before, what changed, and the way back.

import { call, get, of } from "./api.js";
import { changed, standing } from "./beliefs.js";
import { add, button, fill, ghosts, h, state, toast } from "./dom.js";
import { troubled } from "./shell.js";
import { moment, sentence } from "./words.js";

const PAGE = 6;
const CAUSES = { adapted: "Learned from choices", edited: "Edited", reverted: "Went back", model: "A new shared model" };

function entry(held, version, before, latest, revert) {
  const news = before ? changed(standing(before), standing(version)) : standing(version).map((s) => [s.headline]);
  return h(
    "li",
    null,
    h("div", { class: "row spread" }, h("b", null, CAUSES[version.cause] ?? sentence(version.cause)), h("small", { class: "soft" }, `Version ${version.version} · ${moment(version.time)}`)),
    h("p", { class: "small soft" }, sentence(version.told)),
    news.length > 0 && h("details", null, h("summary", null, before ? "What changed" : "What was believed"), h("ul", { class: "diff" }, news.map(([text]) => h("li", null, text)))),
    latest ? h("p", { class: "small" }, "This is how it stands now.") : held.mayEdit && h("div", { class: "row acts" }, button("Go back to this", () => revert(version), { kind: "plain", label: `Go back to version ${version.version}` })),
  );
}

/** The part of the page with earlier versions. */
export function historyPart(held) {
  const [list, more] = [h("ol", { class: "versions", reversed: true }, h("li", null, ghosts(60, 60))), h("div")];
  const part = h("section", { class: "part", "aria-labelledby": "history" }, h("header", null, h("h2", { id: "history" }, "History"), h("p", null, "Going back brings the edits of that time back; choices made since stay.")), list, more);
  let seen = -1;

  async function revert(version) {
    try {
      await call("POST", of(held.user, "/persona/revert"), { version: held.persona.version, to: version.version });
      toast(`Back to the edits of version ${version.version}.`);
    } catch (error) {
      toast(error.status === 409 ? "Somebody edited this persona meanwhile. Here is how it stands now." : `Not done: ${error.message}`);
    }
    await held.load();
  }

  /** Show versions before one, or the latest; one more is asked for, to tell what the last one changed. */
  async function page(before) {
    try {
      const got = await get(of(held.user, `/persona/versions?limit=${PAGE + 1}${before ? `&before=${before}` : ""}`));
      const rows = got.slice(0, PAGE).map((version, at) => entry(held, version, got[at + 1], !before && at === 0, revert));
      if (!before) fill(list, rows.length ? null : h("li", null, state("No history yet", "It begins with the first full look at the choices.", { inline: true })));
      add(list, rows);
      fill(more, got.length > PAGE && button("Earlier versions", () => page(got[PAGE - 1].version)));
    } catch (error) {
      fill(more, troubled(error, () => page(before), { inline: true }));
    }
  }

  const draw = () => {
    if (held.persona.version === seen) return;
    seen = held.persona.version;
    page();
  };
  return { part, draw };
}
