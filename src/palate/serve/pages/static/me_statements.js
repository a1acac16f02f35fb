// The statements: each with its strength and the choices behind it, to be locked, changed or forgotten.

import { barLegend, figures, mostPeople, strengthBar, strengthWords } from "./bar.js";
import { add, button, fill, h, state } from "./dom.js";
import { prose } from "./prose.js";
import { proposal } from "./proposal.js";
import { count, howStrong, ownWords, sentence, toYou } from "./words.js";

const WIDEST = 4; // log-odds per unit beyond the average: ends of the slider

/** What the person did to a statement, in two words; "" where nothing. */
function tag(statement, own) {
  if (ownWords(statement)) return own ? "You said so" : "Said by the person";
  return { locked: own ? "Locked by you" : "Locked", said: own ? "Set by you" : "Set by the person", forgotten: "Forgotten" }[statement.state] ?? "";
}

const beyond = (shift) =>
  Math.abs(shift) < 0.13 ? "about like most people" : `${howStrong(shift) === "slightly" ? "a little" : howStrong(shift) === "somewhat" ? "" : howStrong(shift) === "strongly" ? "much" : "very much"} ${shift > 0 ? "more" : "less"} than most people`.trim();

function quotes(statement) {
  const one = (quote, cls, name) =>
    h("li", { class: cls }, h("p", { class: "small soft" }, `${name}: ${quote.asked}`), h("div", { class: "clip" }, prose(quote.chosen)), h("details", null, h("summary", null, "The answer not chosen"), h("div", { class: "other" }, prose(quote.other))));
  const list = h("ul", { class: "quotes" }, statement.supports.map((q) => one(q, "agrees", "Agrees")), statement.contradicts.map((q) => one(q, "against", "Speaks against")));
  const shown = statement.supports.length + statement.contradicts.length;
  const all = statement.n_supports + statement.n_contradicts;
  return [list, all > shown && h("p", { class: "small soft" }, `The first ${shown} of ${all}. All are among your choices below.`)];
}

function evidence(statement) {
  if (ownWords(statement)) return null;
  const { n_supports: yes, n_contradicts: no } = statement;
  const line = yes || no ? sentence(`${count(yes, "choice agrees", "choices agree")}${no ? `, ${count(no, "speaks", "speak")} against` : ""}`) : "Figures";
  return h("details", null, h("summary", null, line), h("div", { class: "stack" }, (yes > 0 || no > 0) && quotes(statement), h("p", { class: "small soft figures" }, `${statement.text} Kept as ${figures(statement)}.`)));
}

function slider(statement, changed) {
  const average = statement.strength - statement.shift;
  const range = h("input", { type: "range", min: -WIDEST, max: WIDEST, step: 0.25, id: `far-${statement.about}`, "aria-label": `${toYou(statement.headline)}: how much, beside most people` });
  range.value = String(Math.round(statement.shift * 4) / 4);
  const words = h("p", null);
  const draw = () => {
    range.setAttribute("aria-valuetext", beyond(Number(range.value)));
    fill(words, h("b", null, sentence(beyond(Number(range.value)))));
  };
  range.addEventListener("input", () => {
    draw();
    const strength = average + Number(range.value);
    changed({ ...statement, strength, low: strength, high: strength, shift: Number(range.value) });
  });
  draw();
  return { part: [words, h("div", null, range, h("div", { class: "ends", "aria-hidden": "true" }, h("span", null, "less"), h("span", null, "like most people"), h("span", null, "more")))], value: () => Number(range.value) };
}

function actions(held, statement, open, bar) {
  const about = statement.about;
  const { state: now } = statement;
  const simple = (text, edit, options) => button(text, () => open(() => [edit], options), { kind: "plain", label: `${text}: ${statement.headline}` });
  if (now === "forgotten") return [simple("Restore", { do: "unlock", about }, { save: "Restore it", done: "Restored: it is learned from your choices again." })];
  if (ownWords(statement)) return [simple("Take back", { do: "unlock", about }, { save: "Take it back", done: "Taken back." })];
  const made = [];
  if (now === "said") made.push(simple("Undo my change", { do: "unlock", about }, { save: "Undo it", done: "Undone: it is learned from your choices again." }));
  else if (now === "locked") made.push(simple("Unlock", { do: "unlock", about }, { save: "Unlock it", done: "Unlocked: your choices may move it again." }));
  else made.push(simple("Lock", { do: "lock", about }, { save: "Lock it", done: "Locked: later choices leave it as it stands." }));
  if (statement.shift !== null && statement.shift !== undefined)
    made.push(
      button(
        "Change",
        () => {
          const moved = slider(statement, (preview) => (bar.update(preview), panel.refresh()));
          const panel = open(() => [{ do: "set", about, shift: moved.value() }], { save: "Save the change", done: "Changed, and kept so until you unlock it.", extra: moved.part });
        },
        { kind: "plain", label: `Change: ${statement.headline}` },
      ),
    );
  made.push(simple("Forget", { do: "forget", about }, { save: "Forget it", danger: true, done: "Forgotten. It is not learned again unless you restore it." }));
  return made;
}

/** The strength in words and as a bar; `update` moves both, to show what a change would make of it. */
function strengthLine(statement) {
  const [bar, words] = [strengthBar(statement), h("p", { class: "soft small" })];
  const tell = (now) => (words.textContent = sentence(strengthWords(now)) + (mostPeople(now) ? `; most people ${mostPeople(now)}` : ""));
  tell(statement);
  return { parts: [words, bar], update: (now) => (bar.update(now), tell(now)) };
}

function card(held, statement) {
  const bar = strengthLine(statement);
  const place = h("div");
  const acts = h("div", { class: "row acts" });
  const close = () => {
    fill(place);
    bar.update(statement);
    acts.hidden = false;
    acts.querySelector("button")?.focus();
  };
  const open = (edits, options) => {
    const panel = proposal(held, edits, { ...options, close });
    fill(place, panel);
    acts.hidden = true;
    (panel.querySelector("input") ?? panel.querySelector("button"))?.focus();
    return panel;
  };
  if (held.mayEdit) add(acts, actions(held, statement, open, bar));
  const [said, done] = [ownWords(statement), tag(statement, held.own)];
  const title = held.own ? toYou(statement.headline) : statement.headline;
  return h(
    "article",
    { class: "card statement", "data-about": statement.about },
    h("div", { class: "row" }, h("h3", null, title), h("div", { class: "tags" }, done && h("span", { class: "tag on" }, done))),
    !said && statement.state !== "forgotten" && bar.parts,
    evidence(statement),
    place,
    acts,
  );
}

function sayPart(held) {
  const field = h("input", { type: "text", id: "say", maxlength: 300, autocomplete: "off", placeholder: "For example: I am left-handed, and I cook without a microwave" });
  const place = h("div");
  const close = () => (fill(place), (field.value = ""));
  const form = h(
    "form",
    {
      class: "stack",
      onsubmit: (event) => {
        event.preventDefault();
        const text = field.value.trim();
        if (text) fill(place, proposal(held, () => [{ do: "say", text }], { save: "Add it", done: "Added: it is told whenever answers are written for you.", close }));
        place.querySelector("button")?.focus();
      },
    },
    h("label", { for: "say" }, "Something it should know, in your own words"),
    h("div", { class: "row" }, h("div", { class: "grow" }, field), h("button", null, "See its effect")),
    place,
  );
  return h("div", { class: "card" }, form);
}

/** The part of the page with all statements. */
export function statementsPart(held) {
  const list = h("div", { class: "statements" });
  const legend = barLegend();
  const more = h("div", { class: "stack" });
  const part = h("section", { class: "part", "aria-labelledby": "statements" }, h("header", null, h("h2", { id: "statements" }, "Statements"), h("p", null, "Each rests on choices. Lock what is right, change what is off, forget what should not be known.")), legend, list, held.mayEdit && sayPart(held), more);
  const folded = (title, statements) => statements.length > 0 && h("details", null, h("summary", null, `${title} (${statements.length})`), h("div", { class: "statements" }, statements.map((s) => card(held, s))));
  const draw = () => {
    const of = (...states) => held.persona.statements.filter((s) => states.includes(s.state));
    const shown = of("found", "locked", "said");
    legend.hidden = !of("found", "locked").length;
    fill(list, shown.length ? shown.map((s) => card(held, s)) : state("Nothing is believed yet", "A statement appears here as soon as choices bear it out.", { inline: true, actions: [h("a", { class: "button", href: "/choose" }, "Make some choices")] }));
    fill(more, folded("Forgotten", of("forgotten")), folded("Not borne out by the choices", of("dropped")));
  };
  return { part, draw };
}
