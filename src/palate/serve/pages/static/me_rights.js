// A person's rights: take everything along, or have everything deleted, with a receipt.

import { call, get, of, setPerson, setToken } from "./api.js";
import { button, fill, h, say, toast } from "./dom.js";
import { can } from "./shell.js";
import { moment, number, sentence } from "./words.js";

/** Let the browser save a value as a file. */
function download(name, value) {
  const link = h("a", { href: URL.createObjectURL(new Blob([JSON.stringify(value, null, 1)], { type: "application/json" })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function receiptPage(receipt, own) {
  const rows = Object.entries(receipt.erased).map(([what, n]) => [h("dt", null, sentence(what)), h("dd", null, number(n))]);
  return h(
    "section",
    { class: "state receipt", role: "alert" },
    h("h1", { tabindex: -1 }, "Everything is deleted"),
    h("p", null, own ? "Nothing here is tied to you any more, and your link no longer works. Keep this receipt: it proves the deletion and names nobody." : "Keep this receipt: it proves the deletion and names nobody."),
    h("div", { class: "card" }, h("dl", null, h("dt", null, "Receipt"), h("dd", null, h("code", null, receipt.id)), h("dt", null, "When"), h("dd", null, moment(receipt.time)), rows)),
    receipt.remains?.length > 0 && h("div", null, h("h2", null, "What remains, and how it goes"), h("ul", null, receipt.remains.map((text) => h("li", null, text)))),
    h("div", { class: "row" }, button("Download the receipt", () => download(`palate-receipt-${receipt.id}.json`, receipt), { kind: "first" }), h("a", { class: "button", href: "/" }, "To the start")),
  );
}

function erasing(held, gone) {
  const field = h("input", { type: "text", id: "name", autocomplete: "off", spellcheck: "false" });
  const wrong = h("p", { class: "small worse", role: "status" });
  const keep = h("button", { class: "first danger", disabled: true }, "Delete everything");
  field.addEventListener("input", () => (keep.disabled = field.value !== held.user));
  const submit = async (event) => {
    event.preventDefault();
    if (field.value !== held.user) return;
    keep.disabled = true;
    try {
      const receipt = await call("DELETE", of(held.user, ""), undefined, { seconds: 60 });
      if (held.own) setToken("");
      setPerson("");
      gone(receiptPage(receipt, held.own));
      document.querySelector("h1").focus();
    } catch (error) {
      fill(wrong, `Not deleted: ${error.message}`);
      keep.disabled = false;
    }
  };
  return h(
    "details",
    { class: "card" },
    h("summary", null, "Delete everything"),
    h("form", { class: "stack", onsubmit: submit }, h("p", null, "Choices, persona, its history, edits and links are deleted at once, for good. You get a receipt."), h("label", { for: "name" }, "To go on, type ", h("code", null, held.user)), field, wrong, h("div", { class: "row" }, keep)),
  );
}

/** The part of the page about export and deletion. */
export function rightsPart(held, gone) {
  const save = async () => {
    try {
      download(`palate-${held.user.replace(/[^\w.-]+/g, "_")}.json`, await get(of(held.user, "/export")));
      say("Downloaded.");
    } catch (error) {
      toast(`Not downloaded: ${error.message}`);
    }
  };
  const part = h(
    "section",
    { class: "part", "aria-labelledby": "rights" },
    h("header", null, h("h2", { id: "rights" }, held.own ? "Your data" : "The person's data"), h("p", null, "Everything that is kept, in one file; or everything gone.")),
    h("div", { class: "card stack" }, h("p", null, "All choices, the persona with its history and edits, and who looked at it, as JSON."), h("div", { class: "row" }, button("Download everything", save))),
    can(held.me, "erase") && erasing(held, gone),
  );
  return { part, draw: () => {} };
}
