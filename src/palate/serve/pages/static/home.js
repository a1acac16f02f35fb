// The front door: what this is, and where to go.

import { get, of } from "./api.js";
import { add, h } from "./dom.js";
import { can, start } from "./shell.js";
import { count, percent } from "./words.js";

const door = (href, title, text) => h("a", { class: "card door", href }, h("h2", null, title), h("p", null, text));

async function standing(me) {
  try {
    const persona = await get(of(me.whose, "/persona"));
    return `${count(persona.choices + persona.pending, "choice")} so far; what can be learned is ${percent(persona.settled)} settled.`;
  } catch {
    return "Every choice teaches it a little more of what you like.";
  }
}

async function doors(me) {
  const found = [];
  if (me?.whose) {
    found.push(door("/choose", "Choose between answers", await standing(me)));
    found.push(door("/me", me.user ? "My persona" : `The persona of ${me.whose}`, "What is believed, why, and how to change or delete it."));
  }
  if (me && !me.user && can(me, "read")) found.push(door("/people", "People", "Everyone in one picture: groups, minorities, and whom personas help."));
  if (me && can(me, "operator", "admin")) found.push(door("/operator", "Operator", "Health, model, keys, jobs, and the audit log."));
  found.push(door("/docs", "API", "Every request that this server answers, with lines to try."));
  return found;
}

async function draw(main, me) {
  const lead = me?.user
    ? `You are signed in as ${me.user}. Make a few choices, then see what Palate believes and whether it holds.`
    : "You choose between two answers. Palate learns what you like, tests it on choices that it never saw, and tells you what it believes. You can change any of it, or delete everything.";
  add(main, h("section", { class: "hero" }, h("h1", null, "Answers the way you like them."), h("p", { class: "lead" }, lead)));
  add(main, h("nav", { class: "cards", "aria-label": "Where to go" }, await doors(me)));
  if (!me) add(main, h("p", { class: "note part" }, "Your own pages open with the link you were given by whoever runs this service."));
  add(
    main,
    h(
      "section",
      { class: "part" },
      h("h2", null, "How it works"),
      h(
        "ol",
        { class: "three" },
        h("li", null, h("h3", null, "You choose"), h("p", null, "Two answers side by side. The next pair is the one that would teach the most about you.")),
        h("li", null, h("h3", null, "It believes, and tests"), h("p", null, "Every statement names the choices behind it. A persona that does not predict you better than the average is not used.")),
        h("li", null, h("h3", null, "You decide"), h("p", null, "Change a statement, lock it, or have it forgotten. Take all that is kept of you along, or have it deleted, with a receipt.")),
      ),
    ),
  );
}

start(draw);
