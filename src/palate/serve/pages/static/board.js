// The leaderboard of methods, from a report: accuracy with its interval, and how far above the average model.

import { fill, h, s, state } from "./dom.js";
import { percent, signed } from "./words.js";

const key = ({ dataset, protocol, encoder }) => [dataset, protocol, encoder].filter(Boolean).join(" · ");

/** Rows of one place: a method with its figures by name, best first. */
function standings(report, place) {
  const found = new Map();
  for (const row of report.rows ?? []) {
    if (key(row) !== place) continue;
    const name = row.against ? `${row.metric} over` : row.metric;
    found.set(row.method, { ...found.get(row.method), [name]: row });
  }
  const about = new Map((report.methods ?? []).map((method) => [method.name, method]));
  return [...found]
    .map(([name, figures]) => ({ name, figures, ...about.get(name) }))
    .filter((method) => method.figures.accuracy && !method.bound)
    .sort((a, b) => b.figures.accuracy.value - a.figures.accuracy.value);
}

function interval(row, low, high) {
  const x = (value) => 6 + (168 * (value - low)) / (high - low || 1);
  const [from, to] = [row.low ?? row.value, row.high ?? row.value];
  return s("svg", { class: "dotplot", viewBox: "0 0 180 22", "aria-hidden": "true" }, s("line", { x1: x(from), x2: x(to), y1: 11, y2: 11, stroke: "currentColor", "stroke-width": 2 }), s("circle", { cx: x(row.value), cy: 11, r: 5, fill: "currentColor" }));
}

const points = (value) => signed(100 * value, 1);
const range = (row, show) => (row.low === null || row.low === undefined ? "" : ` [${show(row.low)}, ${show(row.high)}]`);

function gap(row) {
  if (!row) return h("td", null, "–");
  const cls = row.low > 0 ? "better" : row.high < 0 ? "worse" : "even";
  const sign = { better: "▲", worse: "▼", even: "○" }[cls];
  return h("td", null, h("b", { class: cls }, `${sign} ${points(row.value)}`), h("small", { class: "soft" }, range(row, points)));
}

function table(methods) {
  const all = methods.flatMap(({ figures: { accuracy: a } }) => [a.low ?? a.value, a.high ?? a.value]);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const share = (value) => (100 * value).toFixed(1);
  const rows = methods.map(({ name, label, summary, control, figures }) => {
    const { accuracy, "accuracy over": over, "helped over": helped, "harmed over": harmed } = figures;
    return h(
      "tr",
      { class: control ? "control" : null },
      h("th", { scope: "row", title: summary }, label ?? name, control && [" ", h("span", { class: "tag" }, "average model")]),
      h("td", null, `${share(accuracy.value)} %`, h("small", { class: "soft" }, range(accuracy, share))),
      h("td", { class: over?.low > 0 ? "better" : over?.high < 0 ? "worse" : "even" }, interval(accuracy, low, high)),
      control ? h("td", null, "–") : gap(over),
      h("td", null, helped && harmed ? [h("span", { class: "better" }, percent(helped.value)), " / ", h("span", { class: "worse" }, percent(harmed.value))] : "–"),
    );
  });
  const heads = ["Method", "Right on unseen choices", "With 95 % interval", "Points over the average model", "People helped / harmed"];
  return h("div", { class: "scroll" }, h("table", { class: "wide" }, h("thead", null, h("tr", null, heads.map((text) => h("th", { scope: "col" }, text)))), h("tbody", null, rows)));
}

/** The part of the page with the leaderboard; null report: says how to get one. */
export function board(report) {
  const places = [...new Set((report?.rows ?? []).map(key))];
  const body = h("div");
  const show = (place) => fill(body, table(standings(report, place)));
  const pick = places.length > 1 && h("select", { id: "place", onchange: (event) => show(event.target.value) }, places.map((place) => h("option", { value: place }, place)));
  if (places.length) show(places[0]);
  else fill(body, state("No report yet", ["Start the server with ", h("code", null, "--report"), " and the report.json of ", h("code", null, "palate bench"), " to see how methods compare."], { inline: true }));
  const note = report?.datasets?.some((set) => set.simulated) ? "The data are simulated: their figures say how methods work, not how people are." : "Each on choices that it never saw.";
  return h("section", { class: "part", "aria-labelledby": "board" }, h("header", null, h("h2", { id: "board" }, "Methods compared"), places.length > 0 && h("p", null, note)), pick && h("div", { class: "stack" }, h("label", { for: "place" }, "Data"), pick), body);
}
