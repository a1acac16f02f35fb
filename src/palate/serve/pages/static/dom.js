// Elements built from data: every text becomes a text node, so that nothing a user wrote is ever markup.

const SVG = "http://www.w3.org/2000/svg";

function build(element, props, kids) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, kids);
  return element;
}

/** An HTML element: `h("p", {class: "soft"}, "text", child, ...)`. Attributes that are null are left out. */
export const h = (tag, props, ...kids) => build(document.createElement(tag), props, kids);

/** The same for SVG. */
export const s = (tag, props, ...kids) => build(document.createElementNS(SVG, tag), props, kids);

/** Append nodes, strings and numbers; lists are flattened, null and false left out. */
export function add(element, ...kids) {
  for (const kid of kids.flat(Infinity)) {
    if (kid === null || kid === undefined || kid === false) continue;
    element.append(kid instanceof Node ? kid : document.createTextNode(String(kid)));
  }
  return element;
}

/** Replace what an element holds. */
export function fill(element, ...kids) {
  element.replaceChildren();
  return add(element, ...kids);
}

/** Set CSS properties; a style attribute would be refused by the page's own policy. */
export function style(element, values) {
  for (const [name, value] of Object.entries(values)) element.style.setProperty(name, value);
  return element;
}

/** A button; `act` may be async, and the button waits for it. */
export function button(text, act, { kind = "", label, key, ...props } = {}) {
  const made = h("button", { type: "button", class: kind, "aria-label": label, ...props }, text, key && h("kbd", { class: kind.includes("first") ? "on" : "", "aria-hidden": "true" }, key));
  made.addEventListener("click", async (event) => {
    const waits = act(event);
    if (!(waits instanceof Promise)) return;
    made.disabled = true;
    try {
      await waits;
    } finally {
      made.disabled = false;
    }
  });
  return made;
}

/** Tell screen readers something that the eye sees happen. */
export function say(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  setTimeout(() => (live.textContent = text), 30);
}

/** A short message at the foot of the window, with one thing to do about it. */
export function toast(text, { action, act, seconds = 6 } = {}) {
  const box = h("div", { class: "toast" }, h("span", null, text));
  const close = () => box.remove();
  if (action) add(box, button(action, () => (close(), act())));
  else add(box, button("Close", close));
  document.getElementById("toasts").replaceChildren(box);
  say(text);
  let timer = setTimeout(close, seconds * 1000);
  box.addEventListener("focusin", () => clearTimeout(timer));
  box.addEventListener("focusout", () => (timer = setTimeout(close, seconds * 1000)));
  return close;
}

/** A page's or a part's own state: nothing there, something wrong, what to do. */
export const state = (title, text, { inline = false, level = inline ? "h3" : "h1", role, actions = [] } = {}) =>
  h("section", { class: `state${inline ? " inline" : ""}`, role }, h(level, null, title), text && h("p", null, text), actions.length > 0 && h("div", { class: "row" }, actions));

/** Grey shapes where something will stand. */
export const ghosts = (...heights) =>
  h("div", { class: "stack", "aria-hidden": "true" }, heights.map((px) => style(h("div", { class: "ghost" }), { height: `${px}px` })));
