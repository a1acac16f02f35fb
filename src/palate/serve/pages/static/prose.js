// Texts as people wrote them, with paragraphs, lists, headings and code set apart; built of nodes, never parsed as HTML.

import { h } from "./dom.js";

const BULLET = /^\s*[-*•+]\s+(.*)$/;
const NUMBER = /^\s*(\d{1,3})[.)]\s+(.*)$/;
const HEADING = /^\s{0,3}#{1,6}\s+(.*?)\s*#*$/;
const FENCE = /^\s*```/;
const SPAN = /(\*\*[^*\n]+\*\*|``[^`\n]+``|`[^`\n]+`)/;

function inline(text) {
  return text.split(SPAN).map((part) => {
    if (part.length > 4 && part.startsWith("**") && part.endsWith("**")) return h("strong", null, part.slice(2, -2));
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return h("code", null, part.replace(/^`+|`+$/g, ""));
    return part;
  });
}

function list(lines, from, pattern, tag) {
  const items = [];
  let at = from;
  for (; at < lines.length && pattern.test(lines[at]); at++) items.push(h("li", null, inline(lines[at].match(pattern).at(-1))));
  const start = tag === "ol" ? lines[from].match(pattern)[1] : null;
  return [h(tag, { start: start === "1" ? null : start }, items), at];
}

function code(lines, from) {
  let end = from + 1;
  while (end < lines.length && !FENCE.test(lines[end])) end++;
  return [h("pre", { tabindex: 0 }, h("code", null, lines.slice(from + 1, end).join("\n"))), end + 1];
}

function paragraph(lines, from) {
  let end = from;
  const stops = [BULLET, NUMBER, HEADING, FENCE];
  while (end < lines.length && lines[end].trim() && (end === from || !stops.some((stop) => stop.test(lines[end])))) end++;
  return [h("p", null, inline(lines.slice(from, end).join("\n"))), end];
}

/** A text as a block of nodes. */
export function prose(text, cls = "") {
  const lines = String(text).replace(/\r\n?/g, "\n").split("\n");
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    let block;
    if (!line.trim()) {
      at++;
      continue;
    }
    if (FENCE.test(line)) [block, at] = code(lines, at);
    else if (BULLET.test(line)) [block, at] = list(lines, at, BULLET, "ul");
    else if (NUMBER.test(line)) [block, at] = list(lines, at, NUMBER, "ol");
    else if (HEADING.test(line)) [block, at] = [h("p", { class: "heading" }, inline(line.match(HEADING)[1])), at + 1];
    else [block, at] = paragraph(lines, at);
    blocks.push(block);
  }
  return h("div", { class: `prose ${cls}`.trim() }, blocks);
}
