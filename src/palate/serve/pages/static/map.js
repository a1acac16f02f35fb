// The map of users, drawn on a canvas: thousands of points, named by group, found by the pointer.

import { h, style } from "./dom.js";
import { count, percent } from "./words.js";

const GROUPS = 8; // colours
const WIDEST = 0.3; // gain, in accuracy, at which a colour is full
const REACH = 14; // pixels from the pointer to the point it means

/** Resolve custom properties to plain colours, which a canvas wants. */
function palette(probe) {
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["ink", "soft", "rule", "card", "better", "worse", "even", ...Array.from({ length: GROUPS }, (_, i) => `g${i}`)];
  return Object.fromEntries(names.map((name) => [name, read(name)]));
}

function told(point, named) {
  const gain = point.gain === null ? "not tested yet" : Math.abs(point.gain) < 0.005 ? "the same with and without" : `${percent(Math.abs(point.gain))} ${point.gain > 0 ? "better" : "worse"} with their persona`;
  return [named && point.user, count(point.choices, "choice"), gain].filter(Boolean);
}

/**
 * A map of people.
 * @param people as /v1/people answers.
 * @param open called with a user's name when their point is clicked, where names are told.
 */
export function peopleMap(people, open) {
  const { points, groups } = people;
  const canvas = h("canvas", { role: "img", "aria-label": `Map of ${count(points.length, "person", "people")}; the list beside it names the groups.` });
  const tip = h("div", { class: "tip", hidden: true, "aria-hidden": "true" });
  const part = h("div", { class: "plot card" }, canvas, tip);
  const named = points.some((point) => point.user);
  const [xs, ys] = [points.map((p) => p.x), points.map((p) => p.y)];
  const box = [xs, ys].map((all) => [all.reduce((a, b) => Math.min(a, b), Infinity), all.reduce((a, b) => Math.max(a, b), -Infinity)]);
  let [mode, only, colours, size] = ["group", null, null, [0, 0]];

  const scale = (value, [low, high], length) => 24 + ((value - low) / (high - low || 1)) * (length - 48);
  const place = (point) => [scale(point.x, box[0], size[0]), size[1] - scale(point.y, box[1], size[1])];

  function mark(pen, x, y, r, kind) {
    pen.beginPath();
    if (kind === "down") pen.moveTo(x - r, y - r * 0.8), pen.lineTo(x + r, y - r * 0.8), pen.lineTo(x, y + r);
    else pen.arc(x, y, r, 0, 2 * Math.PI);
    if (kind === "ring") pen.stroke();
    else pen.fill();
  }

  function dot(pen, point, r) {
    const [x, y] = place(point);
    if (mode === "group") {
      pen.fillStyle = colours[`g${point.group % GROUPS}`];
      return mark(pen, x, y, r, "dot");
    }
    pen.strokeStyle = colours.even;
    if (point.gain === null) return mark(pen, x, y, r * 0.8, "ring");
    const far = Math.min(1, Math.abs(point.gain) / WIDEST);
    const tone = point.gain > 0.005 ? colours.better : point.gain < -0.005 ? colours.worse : colours.even;
    pen.fillStyle = tone;
    pen.globalAlpha *= 0.45 + 0.55 * far;
    mark(pen, x, y, point.gain < -0.005 ? r * 1.25 : r * (0.75 + 0.35 * far), point.gain < -0.005 ? "down" : "dot");
  }

  function names(pen) {
    pen.font = `600 13px ${getComputedStyle(document.body).fontFamily}`;
    pen.textAlign = "center";
    pen.lineJoin = "round";
    for (const group of groups) {
      const own = points.filter((p) => p.group === group.number);
      if (!own.length || !group.words.length || (only !== null && only !== group.number)) continue;
      const middle = own.reduce(([a, b], p) => [a + p.x / own.length, b + p.y / own.length], [0, 0]);
      const [x, y] = place({ x: middle[0], y: middle[1] });
      const text = group.words[0].replace(/^prefers /i, "");
      const half = pen.measureText(text).width / 2 + 6;
      const at = Math.min(size[0] - half, Math.max(half, x));
      pen.strokeStyle = colours.card;
      pen.lineWidth = 5;
      pen.strokeText(text, at, y + 4);
      pen.fillStyle = colours.ink;
      pen.fillText(text, at, y + 4);
    }
  }

  function draw() {
    size = [canvas.clientWidth, canvas.clientHeight];
    if (!size[0]) return;
    const dense = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = size.map((length) => Math.round(length * dense));
    const pen = canvas.getContext("2d");
    pen.scale(dense, dense);
    colours ??= palette(tip);
    const r = points.length > 2000 ? 2.4 : points.length > 400 ? 3.2 : 5;
    for (const point of points) {
      pen.globalAlpha = only === null || point.group === only ? 0.78 : 0.08;
      dot(pen, point, r);
    }
    pen.globalAlpha = 1;
    names(pen);
  }

  function nearest(event) {
    const frame = canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - frame.left, event.clientY - frame.top];
    let best = [REACH ** 2, null];
    for (const point of points) {
      const [x, y] = place(point);
      const far = (x - px) ** 2 + (y - py) ** 2;
      if (far < best[0]) best = [far, point];
    }
    return best[1];
  }

  function point(event) {
    const found = nearest(event);
    tip.hidden = !found;
    canvas.style.cursor = found?.user ? "pointer" : "";
    if (!found) return;
    const [x, y] = place(found);
    tip.replaceChildren(...told(found, named).flatMap((line, at) => (at ? [h("br"), line] : [line])));
    tip.style.color = "";
    const right = x > size[0] / 2;
    style(tip, { left: right ? "auto" : `${x + 30}px`, right: right ? `${size[0] - x + 34}px` : "auto", top: `${Math.max(4, y - 10)}px` });
  }

  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", () => (tip.hidden = true));
  canvas.addEventListener("click", (event) => {
    const found = nearest(event);
    if (found?.user && matchMedia("(hover: hover)").matches) open(found.user);
  });
  const anew = () => ((colours = null), draw());
  addEventListener("palate-theme", anew);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", anew);
  new ResizeObserver(draw).observe(canvas);
  return { part, colour: (next) => ((mode = next), draw()), only: (group) => ((only = group), draw()) };
}
