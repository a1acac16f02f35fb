// Keys of applications, and links for people.

import { call, get } from "./api.js";
import { add, button, fill, h, toast } from "./dom.js";
import { troubled } from "./shell.js";
import { date } from "./words.js";

const SCOPES = [
  ["feedback", "send choices"],
  ["read", "read personas"],
  ["use", "rank and write"],
  ["edit", "edit personas"],
  ["erase", "delete people"],
  ["admin", "keys and pool"],
  ["operator", "model and state"],
];

function secretShown(title, secret, hint) {
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(secret);
      toast("Copied.");
    } catch {
      toast("Select the text and copy it by hand.");
    }
  });
  return h("div", { class: "note stack", role: "status" }, h("b", null, title), h("div", { class: "secret" }, secret), h("p", { class: "small" }, hint), h("div", { class: "row" }, copy));
}

function linkForm(made) {
  const field = h("input", { type: "text", id: "who", autocomplete: "off", spellcheck: "false", placeholder: "ann" });
  const out = h("div");
  const submit = async (event) => {
    event.preventDefault();
    const user = field.value.trim();
    if (!user) return;
    try {
      const token = await call("POST", "/v1/tokens", { user });
      fill(out, secretShown(`A link for ${user}`, `${location.origin}/choose#token=${token.secret}`, `Shown this once. It reaches ${user} alone${token.expires ? `, until ${date(token.expires)}` : ""}.`));
      field.value = "";
      made();
    } catch (error) {
      fill(out, h("p", { class: "worse", role: "alert" }, error.message));
    }
  };
  return h("form", { class: "card stack", onsubmit: submit }, h("h3", null, "A link for a person"), h("label", { for: "who" }, "Their name, as your application calls it"), h("div", { class: "row" }, h("div", { class: "grow" }, field), h("button", { class: "first" }, "Make the link")), out);
}

function keyForm(made) {
  const label = h("input", { type: "text", id: "label", autocomplete: "off", placeholder: "chat application" });
  const boxes = SCOPES.map(([scope]) => h("input", { type: "checkbox", value: scope, id: `scope-${scope}`, checked: ["feedback", "read", "use"].includes(scope) }));
  const out = h("div");
  const submit = async (event) => {
    event.preventDefault();
    const scopes = boxes.filter((box) => box.checked).map((box) => box.value);
    try {
      const key = await call("POST", "/v1/keys", { label: label.value.trim(), scopes });
      fill(out, secretShown("A new key", key.secret, "Shown this once; only its hash is kept."));
      label.value = "";
      made();
    } catch (error) {
      fill(out, h("p", { class: "worse", role: "alert" }, error.message));
    }
  };
  const choices = SCOPES.map(([scope, what], at) => h("label", { class: "row", for: `scope-${scope}` }, boxes[at], h("span", null, scope, " ", h("small", { class: "soft" }, what))));
  return h("form", { class: "card stack", onsubmit: submit }, h("h3", null, "A key for an application"), h("label", { for: "label" }, "What it is for"), label, h("fieldset", { class: "scopes" }, h("legend", { class: "label" }, "What it may do"), choices), h("div", { class: "row" }, h("button", { class: "first" }, "Make the key")), out);
}

/** The part of the page about keys. */
export function keysPart() {
  const body = h("tbody");
  const note = h("div");
  const table = h("table", { class: "wide" }, h("thead", null, h("tr", null, ["Key", "For", "May", "Made", "Ends", ""].map((text) => h("th", { scope: "col" }, text || h("span", { class: "unseen" }, "Revoke"))))), body);

  function row(key) {
    const place = h("span", { class: "row" });
    const revoke = async () => {
      try {
        await call("DELETE", `/v1/keys/${encodeURIComponent(key.id)}`);
        toast("Revoked.");
      } catch (error) {
        toast(`Not revoked: ${error.message}`);
      }
      await load();
    };
    const idle = () => fill(place, button("Revoke", () => (fill(place, button("Revoke it", revoke, { kind: "plain danger" }), button("Keep", idle, { kind: "plain" })), place.firstChild.focus()), { kind: "plain", label: `Revoke ${key.label || key.user || key.id}` }));
    idle();
    return h("tr", null, h("th", { scope: "row" }, h("code", null, key.id)), h("td", null, key.user ? `${key.user}'s link` : key.label), h("td", { class: "small" }, key.scopes.join(", ")), h("td", null, date(key.created)), h("td", null, key.expires ? date(key.expires) : "never"), h("td", null, place));
  }

  async function load() {
    try {
      const keys = await get("/v1/keys");
      fill(body, keys.map(row));
      fill(note);
    } catch (error) {
      fill(note, troubled(error, load, { inline: true }));
    }
  }
  load();
  return add(h("section", { class: "part", "aria-labelledby": "keys" }, h("header", null, h("h2", { id: "keys" }, "Keys and links")), h("div", { class: "two" }, linkForm(load), keyForm(load))), note, h("div", { class: "scroll" }, table));
}
