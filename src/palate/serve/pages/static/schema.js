// JSON Schema in words: types, fields, and an example.

import { h } from "./dom.js";

const DEEPEST = 4;

/** Follow a reference inside the description. */
export function resolve(api, given) {
  let found = given;
  for (let hops = 0; found?.$ref && hops < 20; hops++) found = found.$ref.slice(2).split("/").reduce((node, part) => node?.[part.replace(/~1/g, "/").replace(/~0/g, "~")], api);
  return found ?? {};
}

const branches = (schema) => schema.anyOf ?? schema.oneOf ?? null;
const isNull = (schema) => schema.type === "null";

/** A schema's type in a few words, as "list of strings" or "number or null". */
export function typeName(api, given) {
  const schema = resolve(api, given);
  const many = branches(schema);
  if (many) return [...new Set(many.map((branch) => typeName(api, branch)))].join(" or ");
  if (schema.allOf?.length === 1) return typeName(api, schema.allOf[0]);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${typeName(api, schema.items ?? {})}`;
  if (schema.type === "object" || schema.properties) return schema.title ?? "object";
  return schema.type ?? "anything";
}

function limits(schema) {
  const told = [];
  if (schema.minLength) told.push(`at least ${schema.minLength} characters`);
  if (schema.maxLength) told.push(`at most ${schema.maxLength.toLocaleString("en")} characters`);
  if (schema.minItems) told.push(`at least ${schema.minItems}`);
  if (schema.maxItems) told.push(`at most ${schema.maxItems}`);
  if (schema.minimum !== undefined) told.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined) told.push(`up to ${schema.maximum}`);
  if (schema.default !== undefined && schema.default !== null) told.push(`default ${JSON.stringify(schema.default)}`);
  return told.join(", ");
}

/** The object that a schema is, or is a list of; null for plain values. */
function inner(api, given) {
  const schema = resolve(api, given);
  if (schema.properties) return schema;
  if (schema.items) return inner(api, schema.items);
  if (schema.allOf?.length === 1) return inner(api, schema.allOf[0]);
  return branches(schema)?.map((branch) => inner(api, branch)).find(Boolean) ?? null;
}

function field(api, name, given, required, depth) {
  const schema = resolve(api, given);
  const below = depth < DEEPEST && inner(api, given);
  return h(
    "div",
    null,
    h("div", null, h("code", null, name), !required && h("small", { class: "soft" }, " optional")),
    h("div", null, h("span", { class: "small" }, typeName(api, given)), " ", h("small", { class: "soft" }, limits(schema)), given.description && h("p", { class: "small soft" }, given.description)),
    below && h("details", { class: "fields" }, h("summary", { class: "small" }, `Fields of ${name}`), fields(api, below, depth + 1)),
  );
}

/** The fields of a schema, nested ones folded. */
export function fields(api, given, depth = 0) {
  const schema = inner(api, given);
  if (!schema) return h("p", { class: "small soft" }, typeName(api, given));
  const needed = new Set(schema.required ?? []);
  return h("div", { class: "fields" }, Object.entries(schema.properties ?? {}).map(([name, part]) => field(api, name, part, needed.has(name), depth)));
}

const SAMPLES = { user: "ann", users: ["ann", "bob"], conversation: "How do I fix a dripping tap?", responses: ["Turn the water off, then change the washer.", "Have you thought of calling somebody?"], first: "Change the washer.", second: "Call somebody.", text: "Answers in English, please.", model: "any-model", label: "chat application", folder: "second", messages: [{ role: "user", content: "Hi" }], about: "length" };

/** An example that the schema allows, of the required fields and those that make it clear. */
export function example(api, given, name = "", depth = 0) {
  const schema = resolve(api, given);
  if (schema.examples?.length) return schema.examples[0];
  if (schema.example !== undefined) return schema.example;
  if (name in SAMPLES) return SAMPLES[name];
  if (schema.default !== undefined) return schema.default;
  const many = branches(schema) ?? schema.allOf;
  if (many) return example(api, many.find((branch) => !isNull(resolve(api, branch))) ?? {}, name, depth);
  if (schema.enum) return schema.enum[0];
  if ("const" in schema) return schema.const;
  if (schema.type === "array") return depth > DEEPEST ? [] : [example(api, schema.items ?? {}, "", depth + 1)];
  if (schema.properties) {
    const wanted = Object.keys(schema.properties).filter((key) => schema.required?.includes(key) || ["user", "chosen"].includes(key));
    return Object.fromEntries(wanted.map((key) => [key, key === "chosen" ? 0 : example(api, schema.properties[key], key, depth + 1)]));
  }
  return { string: "text", integer: schema.minimum ?? 1, number: schema.minimum ?? 0.5, boolean: true, object: {} }[schema.type] ?? null;
}
