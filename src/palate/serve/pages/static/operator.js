// How the server is, what it serves, who may call, and what was done.

import { call, get } from "./api.js";
import { keysPart } from "./operator_keys.js";
import { poolPart } from "./operator_pool.js";
import { trafficPart } from "./operator_traffic.js";
import { add, button, fill, h, state, toast } from "./dom.js";
import { can, poll, start, troubled } from "./shell.js";
import { ago, count, lasting, moment, number } from "./words.js";

const EVERY = 3; // seconds between two looks

const tile = (value, text) => h("div", { class: "tile" }, h("b", { class: "figures" }, value), h("span", null, text));

function healthPart() {
  const tiles = h("div", { class: "tiles" });
  const note = h("div");
  const part = h("section", { "aria-label": "Health" }, tiles, note);
  async function look() {
    const [ready, now] = await Promise.allSettled([get("/readyz"), get("/v1/state")]);
    const well = ready.status === "fulfilled";
    const lamp = h("span", null, h("i", { class: `light${well ? "" : " off"}`, "aria-hidden": "true" }), well ? "Ready" : "Not ready");
    if (now.status === "rejected") {
      fill(tiles, tile(lamp, "server"));
      return void fill(note, troubled(now.reason, null, { inline: true }));
    }
    fill(note);
    const s = now.value;
    fill(tiles, tile(lamp, `up for ${lasting(Date.now() / 1000 - s.started)}`), tile(number(s.users), "people"), tile(number(s.choices), "choices kept"), tile(number(s.waiting), s.failed ? h("b", { class: "small worse" }, `waiting; ${number(s.failed)} failed`) : "personas waiting to be made anew"), tile({ sqlite: "SQLite", postgresql: "PostgreSQL" }[s.database] ?? s.database, `database; Palate ${s.version}`));
    return s;
  }
  return { part, look };
}

function modelPart(swapped) {
  const facts = h("div", { class: "stack" });
  const field = h("input", { type: "text", id: "folder", autocomplete: "off", spellcheck: "false", placeholder: "second" });
  const wrong = h("p", { class: "small worse", role: "status" });
  const form = h(
    "form",
    {
      class: "stack",
      onsubmit: async (event) => {
        event.preventDefault();
        fill(wrong);
        try {
          await call("PUT", "/v1/model", { folder: field.value.trim() }, { seconds: 120 });
          toast("The model is loading. Requests go on meanwhile; personas follow in the background.");
          field.value = "";
          swapped();
        } catch (error) {
          fill(wrong, error.message);
        }
      },
    },
    h("label", { for: "folder" }, "Serve another model"),
    h("div", { class: "row" }, h("div", { class: "grow" }, field), h("button", null, "Swap")),
    h("p", { class: "small soft" }, "A folder that ", h("code", null, "palate fit"), " wrote, below the server's model folder. No request is dropped."),
    wrong,
  );
  const part = h("section", { class: "card stack", "aria-labelledby": "model" }, h("h2", { id: "model" }, "Model"), facts, form);
  const draw = ({ model }) => {
    const all = model.current + model.behind;
    fill(
      facts,
      h("p", null, h("b", null, model.label || "A model")),
      h("p", { class: "small soft" }, "Fingerprint ", h("code", null, model.fingerprint.slice(0, 12)), model.folder && [" from ", h("code", null, model.folder)], `, since ${moment(model.activated)}.`),
      model.loading && h("p", { class: "note", role: "status" }, `Loading ${model.loading} …`),
      h("p", { class: "figures" }, all ? `${number(model.current)} of ${count(all, "persona")} are of this model` : "No personas yet", model.behind > 0 ? `; ${number(model.behind)} follow.` : "."),
    );
  };
  return { part, draw };
}

function auditPart() {
  const [body, more] = [h("tbody"), h("div")];
  const part = h("section", { class: "part", "aria-labelledby": "audit" }, h("header", null, h("h2", { id: "audit" }, "Audit log"), h("p", null, "Who read or changed what; never a text.")), h("div", { class: "scroll" }, h("table", { class: "wide" }, h("thead", null, h("tr", null, ["When", "Who", "Did", "Whose", "Detail"].map((text) => h("th", { scope: "col" }, text)))), body)), more);
  async function page(before) {
    try {
      const got = await get(`/v1/audit?limit=20${before ? `&before=${before}` : ""}`);
      add(body, got.rows.map((row) => h("tr", null, h("td", { title: ago(row.time) }, moment(row.time)), h("td", null, h("code", null, row.actor)), h("td", null, row.action), h("td", null, row.user ?? ""), h("td", null, row.detail))));
      if (!body.childElementCount) fill(more, state("Nothing yet", "Reads and changes appear here.", { inline: true }));
      else fill(more, got.next !== null && got.next !== undefined && button("Earlier entries", () => page(got.next)));
    } catch (error) {
      fill(more, troubled(error, () => page(before), { inline: true }));
    }
  }
  page();
  return part;
}

start(
  async (main, me) => {
    add(main, h("header", { class: "head" }, h("h1", null, "Operator")));
    if (!can(me, "operator", "admin")) return void add(main, state("Your link doesn't reach this", ["This page needs a key with the scope operator or admin; ", h("code", null, "palate serve keys make"), " makes one."], { level: "h2" }));
    const [operator, admin] = [can(me, "operator"), can(me, "admin")];
    const [health, traffic] = [healthPart(), trafficPart()];
    const model = modelPart(() => round());
    const round = async () => {
      const now = await health.look();
      if (now) model.draw(now);
      await traffic.look();
    };
    if (operator) {
      add(main, health.part, h("div", { class: "two part" }, traffic.part, model.part));
      await round();
      poll(round, EVERY);
    }
    if (admin) add(main, keysPart(), poolPart(), auditPart());
  },
  { needs: "token" },
);
