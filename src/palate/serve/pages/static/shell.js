// What all pages share: the header, who is asking, and kind words when something is missing or wrong.

import { get, person, setPerson, setToken, takeFragment, token, tokenIn, Trouble } from "./api.js";
import { add, button, fill, ghosts, h, s, state } from "./dom.js";

const SECTIONS = [
  ["/choose", "Choose", (me) => me?.whose],
  ["/me", "My persona", (me) => me?.whose],
  ["/people", "People", (me) => me && !me.user && can(me, "read")],
  ["/operator", "Operator", (me) => me && can(me, "operator", "admin")],
  ["/docs", "API", () => true],
];

/** Whether the caller may do one of these. */
export const can = (me, ...scopes) => scopes.some((scope) => me.scopes.includes(scope));

function themeButton() {
  const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  const icon = s("svg", { viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true" }, s("circle", { cx: 12, cy: 12, r: 8, fill: "none", stroke: "currentColor", "stroke-width": 2 }), s("path", { d: "M12 4a8 8 0 0 1 0 16z", fill: "currentColor" }));
  const made = h("button", { type: "button", class: "round", title: "Light or dark" }, icon);
  const label = () => made.setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours");
  made.addEventListener("click", () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("palate-theme", next);
    } catch {
      // not kept then
    }
    label();
    dispatchEvent(new Event("palate-theme"));
  });
  label();
  return made;
}

function drawTop(me) {
  const here = location.pathname;
  const links = SECTIONS.filter(([, , shown]) => shown(me)).map(([href, text]) => h("a", { href, "aria-current": here === href ? "page" : null }, text));
  fill(document.getElementById("top"), h("a", { class: "mark", href: "/" }, "Palate"), h("nav", { "aria-label": "Pages" }, links), themeButton());
}

function drawFoot(me) {
  const foot = fill(document.getElementById("foot"));
  if (!me) return void add(foot, h("span", null, "Nothing on this page comes from anywhere but this server."));
  const who = me.user ? `Signed in as ${me.user}` : `Signed in with a key of ${me.tenant}${me.whose ? `, looking at ${me.whose}` : ""}`;
  if (me.tenant === "demo") add(foot, h("span", null, "A demo: its people are simulated."));
  add(foot, h("span", null, who), h("a", { href: "/", onclick: signOut }, "Sign out of this tab"));
}

function signOut() {
  setToken("");
  setPerson("");
}

function pasteForm(label, hint, act) {
  const field = h("input", { type: "text", id: "paste", autocomplete: "off", spellcheck: "false", placeholder: hint });
  return h("form", { onsubmit: (event) => (event.preventDefault(), field.value.trim() && act(field.value)) }, h("label", { for: "paste" }, label), field, h("div", { class: "row" }, h("button", { class: "first" }, "Continue")));
}

const linkForm = () =>
  pasteForm("Have a link or a token? Paste it here.", "https://…#token=pu_…", (pasted) => {
    setToken(tokenIn(pasted));
    location.reload();
  });

/** The page for somebody without a token, or with one that the server does not know. */
function welcome(error) {
  if (!error) return add(state("This page is personal", "It opens with the link you were given: the link holds a token that reaches you alone. If you have lost it, ask whoever runs this service for a new one."), linkForm());
  if (error.status === 401) return add(state("This link no longer works", "It may have expired or been withdrawn; nothing that is kept of you changed. Ask whoever runs this service for a new link.", { role: "alert" }), linkForm());
  return null;
}

const whoseForm = () =>
  add(
    state("Whose persona?", "Your key reaches many people. Name the one to look at."),
    pasteForm("The person's name, as your application calls it", "ann", (name) => {
      setPerson(name.trim());
      location.reload();
    }),
  );

/** An error as a person can read it, with a way on. */
export function troubled(error, again, { inline = false } = {}) {
  const actions = again ? [button("Try again", again, { kind: "first" })] : [];
  const [title, text] =
    error instanceof Trouble
      ? error.status === 0
        ? ["The server can't be reached", "Check your connection. Nothing is lost; this page goes on when the server answers."]
        : error.status === 403
          ? ["Your link doesn't reach this", "It was made for other things. Ask whoever runs this service if you need more."]
          : error.status === 404
            ? ["There is nothing here yet", error.message]
            : error.status === 429
              ? ["A little too fast", "The server asks for a pause. Try again in a few seconds."]
              : error.status >= 500
                ? ["The server is having trouble", `${error.message} It usually passes by itself.`]
                : ["That didn't work", error.message]
      : ["Something went wrong on this page", "Reload it to go on."];
  if (!(error instanceof Trouble)) console.error(error);
  return state(title, text, { inline, role: "alert", actions });
}

async function identify() {
  if (!token()) return null;
  const me = await get("/v1/whoami");
  return { ...me, whose: me.user ?? person() };
}

/**
 * Start a page.
 * @param draw receives the main element and who is asking: {tenant, user, scopes, whose}.
 * @param needs "person": somebody's own page; "token": any caller; "": everybody.
 */
export async function start(draw, { needs = "" } = {}) {
  const main = document.getElementById("main");
  takeFragment();
  addEventListener("hashchange", () => /[#&](token|user)=/.test(location.hash) && location.reload());
  drawTop(null);
  drawFoot(null);
  if (needs) fill(main, ghosts(44, 20, 180, 180));
  main.setAttribute("aria-busy", "true");
  let me = null;
  try {
    me = await identify();
  } catch (error) {
    if (needs || !(error.status === 401)) {
      main.removeAttribute("aria-busy");
      return void fill(main, welcome(error) ?? troubled(error, () => location.reload()));
    }
    signOut();
  }
  main.removeAttribute("aria-busy");
  drawTop(me);
  drawFoot(me);
  if (needs && !me) return void fill(main, welcome());
  if (needs === "person" && !me.whose) return void fill(main, whoseForm());
  try {
    await draw(fill(main), me);
  } catch (error) {
    fill(main, troubled(error, () => location.reload()));
  }
}

/** Poll while the page is looked at. */
export function poll(act, seconds) {
  const round = async () => {
    if (!document.hidden) await act();
    setTimeout(round, seconds * 1000);
  };
  setTimeout(round, seconds * 1000);
}
