// Requests a second and how long they take, by route, from the server's own metrics.

import { get } from "./api.js";
import { fill, h, s } from "./dom.js";
import { quantile, routes } from "./metrics.js";
import { troubled } from "./shell.js";
import { number } from "./words.js";

const KEPT = 60; // looks that the line shows

const ms = (seconds) => (seconds === null ? "–" : seconds < 0.01 ? `${(1000 * seconds).toFixed(1)} ms` : seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`);

/** A path that may be broken before any of its slashes. */
const broken = (path) => path.split(/(?=\/)/).map((part) => [h("wbr"), part]);

function line(rates) {
  const most = Math.max(1, ...rates);
  const x = (at) => 300 - 300 * ((rates.length - 1 - at) / (KEPT - 1));
  const y = (rate) => 60 - 54 * (rate / most);
  const path = rates.map((rate, at) => `${at ? "L" : "M"}${x(at).toFixed(1)},${y(rate).toFixed(1)}`).join("");
  return s("svg", { viewBox: "0 0 300 64", preserveAspectRatio: "none", class: "spark", "aria-hidden": "true" }, s("line", { x1: 0, x2: 300, y1: 60.5, y2: 60.5, stroke: "var(--rule)" }), rates.length > 1 && s("path", { d: `${path}L300,60L${x(0)},60Z`, fill: "var(--tint)" }), rates.length > 1 && s("path", { d: path, fill: "none", stroke: "var(--accent)", "stroke-width": 2, "vector-effect": "non-scaling-stroke" }));
}

/** The part of the page about traffic; `look` reads the metrics once more. */
export function trafficPart() {
  const [now, chart, body, note] = [h("p", { class: "figures" }), h("div"), h("tbody"), h("div")];
  const table = h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Route"), ["In all", "Median", "99 %", "Failed"].map((text) => h("th", { scope: "col", class: "n" }, text)))), body);
  const part = h("section", { class: "card stack", "aria-labelledby": "traffic" }, h("h2", { id: "traffic" }, "Requests"), now, chart, note, h("div", { class: "scroll" }, table));
  const rates = [];
  let last = null;

  async function look() {
    let text;
    try {
      text = await get("/metrics");
    } catch (error) {
      return void fill(note, troubled(error, null, { inline: true }));
    }
    fill(note);
    const rows = [...routes(text).values()].sort((a, b) => b.total - a.total);
    const total = rows.reduce((sum, row) => sum + row.total, 0);
    const time = performance.now() / 1000;
    if (last) rates.push(Math.max(0, (total - last.total) / (time - last.time)));
    if (rates.length > KEPT) rates.shift();
    last = { total, time };
    const rate = rates.at(-1);
    now.textContent = rate === undefined ? `${number(total)} answered so far.` : `${rate.toFixed(1)} a second now; ${number(total)} answered so far.`;
    fill(chart, line(rates));
    const cells = ({ total: all, failed, buckets }) => [number(all), ms(quantile(buckets, 0.5)), ms(quantile(buckets, 0.99)), failed ? h("b", { class: "worse" }, number(failed)) : "0"];
    fill(body, rows.slice(0, 8).map((row) => h("tr", null, h("th", { scope: "row" }, h("code", null, broken(row.route))), cells(row).map((cell) => h("td", { class: "n" }, cell)))));
  }
  return { part, look };
}
