// How the persona did on choices that it never saw, and whether it is used.

import { fill, h, s } from "./dom.js";
import { proposal } from "./proposal.js";
import { percent } from "./words.js";

const MOST_DOTS = 40;

const HOW = [
  ["tested", "As far as the test supports", "Recommended: it is used only where it predicts you better."],
  ["always", "Always", "Whatever the test says."],
  ["never", "Never", "You get the average answer. Choices are still learned from."],
];

const whole = (n, share) => Math.abs(n * share - Math.round(n * share)) < 0.02;

/** One row of marks: as many as there were choices, the right ones filled. */
function marks(n, share, cls) {
  const right = n * share;
  if (n > MOST_DOTS) {
    return s("svg", { viewBox: "0 0 300 16", width: 300, height: 16, "aria-hidden": "true", class: cls }, s("rect", { width: 300, height: 10, y: 3, rx: 5, fill: "currentColor", opacity: 0.2 }), s("rect", { width: 300 * share, height: 10, y: 3, rx: 5, fill: "currentColor" }));
  }
  const across = Math.min(n, 20);
  const dots = [...Array(n).keys()].map((i) => {
    const [cx, cy] = [8 + 16 * (i % across), 8 + 16 * Math.floor(i / across)];
    return s("circle", { cx, cy, r: 5, fill: i < Math.round(right) ? "currentColor" : "none", stroke: "currentColor", "stroke-width": 2 });
  });
  const [width, height] = [16 * across, 16 * Math.ceil(n / across)];
  return s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true", class: cls }, dots);
}

function result(persona, own) {
  const { choices: n, accuracy, control_accuracy: without } = persona.verdict;
  const [mine, plain] = whole(n, accuracy) && whole(n, without) && n <= MOST_DOTS ? [`${Math.round(n * accuracy)} of ${n}`, `${Math.round(n * without)}`] : [percent(accuracy), percent(without)];
  const cls = accuracy > without ? "better" : accuracy < without ? "worse" : "even";
  return [
    h("p", { class: "big" }, "Right on ", h("b", { class: cls }, mine), n <= MOST_DOTS && mine.includes("of") ? " choices that it never saw; without it, " : ` of ${n} choices that it never saw; without it, `, h("b", null, plain), "."),
    h("div", { class: "dots" }, h("span", null, own ? "With your persona" : "With the persona"), marks(n, accuracy, cls), h("span", { class: "soft" }, "Without"), marks(n, without, "even")),
    h("details", null, h("summary", null, "Figures"), h("p", { class: "small soft figures" }, `${persona.told} Mean log-loss ${persona.verdict.log_loss.toFixed(3)} nats, ${persona.verdict.control_log_loss.toFixed(3)} without.`)),
  ];
}

function used({ apply, weight, verdict }, own) {
  const what = own ? "Your persona" : "The persona";
  if (apply === "always") return `${what} is always used, as ${own ? "you" : "the person"} said.`;
  if (apply === "never") return `${what} is not used, as ${own ? "you" : "the person"} said.`;
  if (!verdict || weight === null) return `${what} has not been tested yet: that takes a few more choices.`;
  if (weight > 0.75) return `${what} is used: ${why(verdict, own)}.`;
  if (weight < 0.05) return `${what} is not used: it predicts ${own ? "you" : "them"} no better than the average.`;
  return `${what} is used in part (${percent(weight)}): the evidence is not clear yet.`;
}

/** Why a persona is used whole; few choices rarely prove more than this, and it says no more. */
function why({ accuracy, control_accuracy: without }, own) {
  if (accuracy > without) return `so far it predicts ${own ? "you" : "them"} better than the average does`;
  return `so far nothing speaks clearly against it, and such personas help most people`;
}

function applied(held) {
  const place = h("div");
  const radios = HOW.map(([how, name, why]) => {
    const radio = h("input", { type: "radio", name: "apply", value: how, id: `apply-${how}`, disabled: !held.mayEdit, "aria-describedby": `why-${how}`, onchange: () => propose(how) });
    return [how, radio, h("label", { for: `apply-${how}` }, radio, h("span", null, name), h("small", { id: `why-${how}` }, why))];
  });
  const draw = () => {
    fill(place);
    for (const [how, radio] of radios) radio.checked = how === held.persona.apply;
  };
  function propose(how) {
    if (how === held.persona.apply) return draw();
    fill(place, proposal(held, () => [{ do: "apply", how }], { save: "Save", done: "Saved.", close: draw }));
  }
  return { part: h("fieldset", { class: "choice3" }, h("legend", { class: "label" }, "When is it used?"), radios.map(([, , label]) => label), place), draw };
}

/** The part of the page about the test. */
export function verdictPart(held) {
  const [line, found] = [h("h2", { id: "holds" }), h("div", { class: "stack" })];
  const how = applied(held);
  const part = h("section", { class: "card stack", "aria-labelledby": "holds" }, line, h("div", { class: "verdict" }, found, how.part));
  const draw = () => {
    line.textContent = used(held.persona, held.own);
    fill(found, held.persona.verdict ? result(held.persona, held.own) : h("p", { class: "soft" }, held.persona.told));
    how.draw();
  };
  return { part, draw };
}
