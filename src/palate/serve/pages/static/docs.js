// The API's reference, drawn from the description that the server gives of itself.

import { get, token } from "./api.js";
import { add, button, h, say, state, toast } from "./dom.js";
import { prose } from "./prose.js";
import { example, fields, resolve, typeName } from "./schema.js";
import { start } from "./shell.js";
import { sentence } from "./words.js";

const VERBS = ["get", "post", "put", "patch", "delete"];

/** All operations, by tag, in the order of the description. */
function operations(api) {
  const found = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const verb of VERBS) {
      const op = item[verb];
      if (!op) continue;
      const tag = op.tags?.[0] ?? "other";
      found.set(tag, [...(found.get(tag) ?? []), { path, verb, ...op, parameters: [...(item.parameters ?? []), ...(op.parameters ?? [])], id: `${verb}-${path}`.replace(/[^a-z0-9]+/gi, "-") }]);
    }
  }
  return found;
}

const bodyOf = (api, op) => Object.entries(resolve(api, op.requestBody ?? {}).content ?? {})[0] ?? [];

function exampleBody(api, [, media]) {
  const given = media?.example ?? Object.values(media?.examples ?? {})[0]?.value ?? resolve(api, media?.schema ?? {}).examples?.[0];
  return given ?? example(api, media?.schema ?? {});
}

const quoted = (text) => `'${text.replace(/'/g, `'\\''`)}'`;

function curl(api, op) {
  const path = op.path.replace(/\{(\w+)[^}]*\}/g, (_, name) => (name === "user" ? "ann" : name.toUpperCase()));
  const parts = [`curl ${op.verb === "get" ? "" : `-X ${op.verb.toUpperCase()} `}${location.origin}${path}`];
  if (path.startsWith("/v1") || path === "/metrics") parts.push(`-H "Authorization: Bearer $PALATE_KEY"`);
  const body = bodyOf(api, op);
  if (body[0]) parts.push(`-H 'Content-Type: ${body[0]}'`, `-d ${quoted(JSON.stringify(exampleBody(api, body)))}`);
  return parts.join(" \\\n  ");
}

function curlBox(text) {
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied.");
    } catch {
      toast("Select the line and copy it by hand.");
    }
  });
  return h("div", { class: "curl" }, h("pre", { tabindex: 0, "aria-label": "Line to try" }, text), copy);
}

function parameters(api, list) {
  if (!list.length) return null;
  const rows = list.map((given) => {
    const p = resolve(api, given);
    return h("div", null, h("div", null, h("code", null, p.name), " ", h("small", { class: "soft" }, `${typeName(api, p.schema ?? {})}, in the ${p.in}${p.required ? "" : ", optional"}`)), h("div", { class: "soft" }, p.description ?? p.schema?.description ?? ""));
  });
  return h("details", { open: true }, h("summary", null, "Parameters"), h("div", { class: "fields" }, rows));
}

function answers(api, op) {
  const rows = Object.entries(op.responses ?? {}).map(([status, given]) => {
    const answer = resolve(api, given);
    const media = Object.values(answer.content ?? {})[0];
    return h("div", null, h("div", null, h("code", null, status)), h("div", null, h("span", { class: "soft" }, answer.description ?? ""), status.startsWith("2") && media?.schema && fields(api, media.schema)));
  });
  return h("details", null, h("summary", null, "Answers"), h("div", { class: "fields" }, rows));
}

function drawOp(api, op) {
  const [kind, media] = bodyOf(api, op);
  return h(
    "article",
    { class: "op", id: op.id, "data-find": `${op.verb} ${op.path} ${op.summary ?? ""}`.toLowerCase() },
    h("h3", null, h("span", { class: `verb ${op.verb}` }, op.verb.toUpperCase()), h("code", null, op.path)),
    h("p", null, op.description ? prose(op.description) : sentence(op.summary ?? "")),
    parameters(api, op.parameters),
    kind && h("details", { open: true }, h("summary", null, "Body"), fields(api, media.schema ?? {})),
    answers(api, op),
    curlBox(curl(api, op)),
  );
}

function finder(groups, index) {
  const field = h("input", { type: "search", id: "filter", placeholder: "rank, persona, …", autocomplete: "off" });
  const none = h("p", { class: "soft", hidden: true, role: "status" }, "No request of that name.");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (node) => words.every((word) => node.dataset.find.includes(word));
    for (const { part, ops } of groups) {
      for (const op of ops) op.hidden = !fits(op);
      part.hidden = ops.every((op) => op.hidden);
    }
    for (const link of index.querySelectorAll("[data-find]")) link.hidden = !fits(link);
    none.hidden = groups.some(({ part }) => !part.hidden);
  });
  return h("div", { class: "stack" }, h("label", { for: "filter" }, "Find a request"), field, none);
}

start(async (main) => {
  const api = await get("/openapi.json");
  const byTag = operations(api);
  const about = new Map((api.tags ?? []).map(({ name, description }) => [name, description]));
  const groups = [...byTag].map(([tag, list]) => {
    const ops = list.map((op) => drawOp(api, op));
    return { tag, list, ops, part: h("section", { class: "part", id: `tag-${tag}` }, h("header", null, h("h2", null, sentence(tag)), h("p", null, about.get(tag) ?? "")), h("div", null, ops)) };
  });
  const index = h("div", { class: "stack" }, groups.map(({ tag, list }) => h("div", null, h("b", null, sentence(tag)), h("ul", null, list.map((op) => h("li", { "data-find": `${op.verb} ${op.path} ${op.summary ?? ""}`.toLowerCase() }, h("a", { href: `#${op.id}` }, op.summary ? sentence(op.summary.toLowerCase()) : op.path)))))));
  const nav = h("nav", { "aria-label": "Requests" }, button("All requests", () => nav.classList.toggle("open"), { kind: "plain only-small" }), index);
  const key = token() ? "The lines take your key from the variable PALATE_KEY; it is not shown here." : ["Set PALATE_KEY to a key of yours; ", h("code", null, "palate serve keys make"), " makes one."];
  const head = h("header", { class: "head" }, h("h1", null, "API"), h("p", { class: "lead" }, `Everything the server answers, version ${api.info.version}. JSON in, JSON out. `, key), h("p", null, h("a", { href: "/openapi.json" }, "openapi.json")));
  if (!groups.length) return void add(main, head, state("Nothing is described", "The server's description holds no requests."));
  add(main, head, h("div", { class: "docs" }, nav, h("div", null, finder(groups, index), groups.map(({ part }) => part))));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
});
