// The bar of a statement: how strong, how sure, and where most people stand.

import { h, style } from "./dom.js";
import { howStrong, onBar, unsure } from "./words.js";

const at = (value) => `${(100 * onBar(value)).toFixed(2)}%`;

/** Where most people stand on it, in words; "" where that is not known. */
export function mostPeople({ strength, shift }) {
  if (shift === null || shift === undefined) return "";
  const average = strength - shift;
  return average < -0.1 ? "lean the other way" : average < 0.1 ? "have no leaning" : `do so ${howStrong(average)}`;
}

function told(statement) {
  const { strength, low, high } = statement;
  const parts = [`Strength: ${howStrong(strength)}`];
  if (high - low > 0.02) parts.push(`likely between ${low <= 0 ? "none" : howStrong(low)} and ${howStrong(high)}`);
  if (mostPeople(statement)) parts.push(`most people ${mostPeople(statement)}`);
  return parts.join("; ");
}

/** A bar for a statement; `update` moves it to new figures. */
export function strengthBar(statement) {
  const [sure, may, guess, most] = ["sure", "may", "guess", "most"].map((cls) => h("i", { class: cls }));
  const bar = h("div", { class: "bar", role: "img" }, h("i", { class: "rail" }), sure, may, most, guess);
  const update = (now) => {
    const low = Math.min(now.low, now.strength);
    style(sure, { width: at(low) });
    style(may, { left: at(low), width: `${100 * (onBar(now.high) - onBar(low))}%` });
    style(guess, { left: at(now.strength) });
    most.hidden = now.shift === null || now.shift === undefined;
    if (!most.hidden) style(most, { left: at(now.strength - now.shift) });
    bar.setAttribute("aria-label", told(now));
  };
  update(statement);
  return Object.assign(bar, { update });
}

/** What the marks on the bars mean. */
export function barLegend() {
  const sample = (...parts) => h("span", { class: "bar", "aria-hidden": "true" }, h("i", { class: "rail" }), parts);
  const part = (cls, css) => style(h("i", { class: cls }), css);
  return h(
    "p",
    { class: "legend" },
    h("span", null, sample(part("sure", { width: "50%" }), part("guess", { left: "50%" })), "how strong"),
    h("span", null, sample(part("may", { left: "20%", width: "60%" })), "where it may lie (95 %)"),
    h("span", null, sample(part("most", { left: "50%" })), "most people"),
  );
}

/** Words beside a bar: "strongly", and whether that is hardly known yet. */
export const strengthWords = (statement) => howStrong(statement.strength) + (unsure(statement) ? ", not sure yet" : "");

/** The exact figures, for those who want them. */
export const figures = ({ strength, low, high, shift }) =>
  `${strength.toFixed(2)} log-odds per unit, 95 % interval ${low.toFixed(2)} to ${high.toFixed(2)}` +
  (shift === null || shift === undefined ? "" : `; ${Math.abs(shift).toFixed(2)} ${shift < 0 ? "below" : "above"} the average person`);
