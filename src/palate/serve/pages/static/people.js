// Everyone in one picture: who is alike, whom personas help and harm, and how the methods compare.

import { get, setPerson } from "./api.js";
import { board } from "./board.js";
import { add, button, fill, h, state, style } from "./dom.js";
import { peopleMap } from "./map.js";
import { can, start, troubled } from "./shell.js";
import { count, number, percent, sentence } from "./words.js";

const MINORITY = 0.15; // share of all people below which a group is called a minority

function outcomes({ helped, harmed, even, untested }) {
  const tested = helped + harmed + even;
  const kinds = [
    ["better", helped, "predicted better with their persona"],
    ["even", even, "the same"],
    ["worse", harmed, "predicted worse"],
    ["none", untested, "not tested yet"],
  ];
  const strip = h("div", { class: "shares", "aria-hidden": "true" }, kinds.filter(([, n]) => n).map(([cls, n]) => style(h("i", { class: cls }), { flex: `${n} 0 3px` })));
  const legend = h("p", { class: "legend figures" }, kinds.map(([cls, n, text]) => h("span", null, h("i", { class: `key ${cls}` }), `${number(n)} ${text}`)));
  const line = tested ? `Of ${count(tested, "person", "people")} whose persona could be tested on choices it never saw, ${percent(helped / tested)} are predicted better with it and ${percent(harmed / tested)} worse. Where the test does not support a persona, it is set aside.` : "Nobody has made enough choices yet for a test.";
  return h("section", { class: "part", "aria-labelledby": "outcomes" }, h("header", null, h("h2", { id: "outcomes" }, "Helped and harmed"), h("p", null, line)), strip, legend);
}

const gainWords = (gain) => (gain === null || gain === undefined ? "not tested yet" : Math.abs(gain) < 0.005 ? "personas change little here" : `personas ${gain > 0 ? "add" : "cost"} ${Math.abs(100 * gain).toFixed(0)} points on average`);

/** "Prefers shorter answers, firm statements" of ["Prefers shorter answers", "Prefers firm statements"]. */
function inWords(words) {
  if (!words.length) return "No shared leaning";
  const rest = words.slice(1).map((text) => text.replace(/^prefers /i, ""));
  return sentence([words[0], ...(/^prefers /i.test(words[0]) ? rest : words.slice(1))].join(", "));
}

function groupList(groups, choose) {
  const buttons = groups.map((group) => {
    const name = inWords(group.words);
    const made = button("", () => {
      const on = made.getAttribute("aria-pressed") !== "true";
      for (const other of buttons) other.setAttribute("aria-pressed", "false");
      made.setAttribute("aria-pressed", String(on));
      choose(on ? group.number : null);
    }, { "aria-pressed": "false" });
    const minority = group.share < MINORITY;
    return add(made, h("i", { class: `dot c${group.number % 8}` }), h("b", null, name), h("span", { class: "figures" }, percent(group.share)), h("small", null, minority && h("span", { class: "tag" }, "minority"), minority && " ", `${count(group.users, "person", "people")}; ${gainWords(group.gain)}`));
  });
  return h("ul", { class: "groups", "aria-label": "Groups: choose one to see it on the map" }, buttons.map((made) => h("li", null, made)));
}

function mapPart(people) {
  if (!people.points.length) return h("section", { class: "part" }, h("h2", null, "The map"), state("Nobody is on the map yet", "People appear here when their first persona is made.", { inline: true }));
  const map = peopleMap(people, (user) => {
    setPerson(user);
    location.assign("/me");
  });
  const modes = [
    ["group", "Groups"],
    ["gain", "Helped and harmed"],
  ].map(([mode, text]) => button(text, () => show(mode), { "aria-pressed": String(mode === "group") }));
  const legend = h("p", { class: "legend" });
  const show = (mode) => {
    modes.forEach((made, at) => made.setAttribute("aria-pressed", String((at === 0) === (mode === "group"))));
    map.colour(mode);
    fill(legend, mode === "gain" && [h("span", null, h("b", { class: "worse", "aria-hidden": "true" }, "▼"), "worse with persona"), h("span", null, h("i", { class: "ramp", "aria-hidden": "true" })), h("span", null, h("b", { class: "better", "aria-hidden": "true" }, "●"), "better"), h("span", null, h("b", { class: "soft", "aria-hidden": "true" }, "○"), "not tested")]);
  };
  const [across, up] = people.explained;
  const shown = people.shown < people.users ? `${number(people.shown)} of ${number(people.users)} people are shown. ` : "";
  const axes = `${shown}Near means alike. Of all differences between personas, ${percent(across ?? 0)} lie across and ${percent(up ?? 0)} up.`;
  return h("section", { class: "part", "aria-labelledby": "map" }, h("header", null, h("h2", { id: "map" }, "The map"), h("p", null, axes)), h("div", { class: "segments", role: "group", "aria-label": "Colours" }, modes), h("div", { class: "map" }, h("div", { class: "stack" }, map.part, legend), groupList(people.groups, map.only)));
}

function findPart() {
  const field = h("input", { type: "search", id: "find", autocomplete: "off", placeholder: "Part of a name" });
  const found = h("div");
  let round = 0;
  const look = async () => {
    const mine = ++round;
    try {
      const like = field.value.trim();
      const page = await get(`/v1/users?limit=10${like && `&like=${encodeURIComponent(like)}`}`);
      if (mine !== round) return;
      const rows = page.users.map((row) => h("tr", null, h("th", { scope: "row" }, h("a", { href: `/me#user=${encodeURIComponent(row.user)}` }, row.user)), h("td", { class: "n" }, number(row.choices))));
      fill(found, rows.length ? h("div", { class: "scroll" }, h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Person"), h("th", { scope: "col", class: "n" }, "Choices"))), h("tbody", null, rows))) : h("p", { class: "soft" }, "Nobody of that name."));
    } catch (error) {
      fill(found, troubled(error, look, { inline: true }));
    }
  };
  let timer = 0;
  field.addEventListener("input", () => (clearTimeout(timer), (timer = setTimeout(look, 200))));
  look();
  return h("section", { class: "part", "aria-labelledby": "search" }, h("header", null, h("h2", { id: "search" }, "Find a person"), h("p", null, "Opens what is believed of them. Looking is noted in the audit log.")), h("label", { for: "find", class: "unseen" }, "Part of a name"), field, found);
}

start(
  async (main, me) => {
    const people = await get("/v1/people");
    add(main, h("header", { class: "head" }, h("h1", null, count(people.users, "person", "people")), h("p", { class: "lead" }, people.groups.length ? `In ${count(people.groups.length, "group")} of like taste${people.groups.some((g) => g.share < MINORITY) ? ", minorities among them" : ""}.${me.tenant === "demo" ? " This is a demo: the people are simulated." : ""}` : "Groups show once there are enough personas to compare.")));
    add(main, mapPart(people), outcomes(people), board(people.report), !me.user && can(me, "read") && findPart());
  },
  { needs: "token" },
);
