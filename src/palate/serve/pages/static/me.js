// My persona: what is believed, why, whether it holds, and how to change or delete it.

import { call, get, of } from "./api.js";
import { add, fill, h, say, toast } from "./dom.js";
import { choicesPart } from "./me_choices.js";
import { historyPart } from "./me_history.js";
import { rightsPart } from "./me_rights.js";
import { statementsPart } from "./me_statements.js";
import { verdictPart } from "./me_verdict.js";
import { can, start, troubled } from "./shell.js";
import { ago, count, percent } from "./words.js";

/** One person's persona as this page holds it; parts draw themselves anew when it changes. */
class Held {
  constructor(me) {
    this.me = me;
    this.user = me.whose;
    this.own = me.user !== null;
    this.mayEdit = can(me, "edit");
    this.parts = [];
  }

  async load() {
    this.set(await get(of(this.user, "/persona")));
  }

  set(persona) {
    this.persona = persona;
    for (const part of this.parts) part.draw();
  }

  /** What edits would change, without making them. */
  async effect(edits) {
    return (await call("PATCH", of(this.user, "/persona"), { version: this.persona.version, edits, try: true })).effect;
  }

  /** Make edits, or show what somebody else made of the persona meanwhile. */
  async edit(edits, told) {
    try {
      this.set((await call("PATCH", of(this.user, "/persona"), { version: this.persona.version, edits })).persona);
    } catch (error) {
      if (error.status !== 409) throw error;
      await this.load();
      return void toast("Somebody edited this persona meanwhile. Here is how it stands now; make your change again if it is still right.", { seconds: 12 });
    }
    toast(told);
  }
}

function head(held) {
  const facts = h("p", { class: "soft" });
  const part = h("header", { class: "head" }, h("h1", null, held.own ? "What Palate believes about you" : `What Palate believes about ${held.user}`), facts);
  const draw = () => {
    const { choices, pending, updated, settled } = held.persona;
    const parts = [`From ${count(choices, "choice")}`, pending > 0 && `${count(pending, "more", "more")} about to be taken in`, updated && `updated ${ago(updated)}`, `${percent(settled)} settled`];
    fill(facts, `${parts.filter(Boolean).join(" · ")}. `, settled < 0.9 && can(held.me, "feedback") && h("a", { href: "/choose" }, "Teach it more"));
  };
  return { part, draw };
}

start(
  async (main, me) => {
    const held = new Held(me);
    try {
      await held.load();
    } catch (error) {
      if (error.status !== 404) throw error;
      fill(main, troubled(error), h("p", { class: "state row" }, h("a", { class: "button first", href: "/choose" }, "Make a first choice")));
      return;
    }
    const gone = (receipt) => fill(main, receipt);
    held.parts = [head(held), verdictPart(held), statementsPart(held), choicesPart(held), historyPart(held), rightsPart(held, gone)];
    add(
      main,
      held.parts.map((made) => made.part),
    );
    held.set(held.persona);
    say("Persona loaded.");
  },
  { needs: "person" },
);
