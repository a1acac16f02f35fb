// Figures in plain words, and times, for people who did not come to read statistics.

const STEPS = [
  [0.4, "slightly"],
  [1, "somewhat"],
  [2, "strongly"],
  [Infinity, "very strongly"],
];

/** How strong an effect is, in words: `strength` is in log-odds per unit. */
export const howStrong = (strength) => STEPS.find(([end]) => Math.abs(strength) < end)[1];

/** Whether the 95 % interval is so wide that the strength is hardly known yet. */
export const unsure = ({ strength, low, high }) => high - low > 2 * Math.max(0.5, Math.abs(strength));

/** Whether a statement is a sentence of the person's own, with no strength; else they set a strength, or nothing. */
export const ownWords = ({ state, shift }) => state === "said" && (shift === null || shift === undefined);

/** Where a strength stands on the bar, 0 to 1: even steps at first, closer and closer later. */
export const onBar = (strength) => 1 - Math.exp(-Math.max(0, strength) / 1.4);

/** A statement as said to the person: "Prefers lists" becomes "You prefer lists". */
export function toYou(headline) {
  const match = headline.match(/^(Prefers|Likes|Wants|Enjoys|Values|Dislikes|Avoids|Has|Is)\b/);
  if (!match) return headline;
  const verb = { Has: "have", Is: "are" }[match[1]] ?? match[1].toLowerCase().replace(/s$/, "");
  return `You ${verb}${headline.slice(match[1].length)}`;
}

/** The same after "now believes": "you prefer lists". */
export const toYouInside = (headline) => {
  const said = toYou(headline);
  return said.replace(/^You /, "you ");
};

/** "3 choices", "1 choice", "no choices". */
export const count = (n, one, many = `${one}s`) => `${n === 0 ? "no" : number(n)} ${n === 1 ? one : many}`;

export const number = (n) => (n ?? 0).toLocaleString("en");
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
export const signed = (value, digits = 2) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const UNITS = [
  [60, "second", 1],
  [3600, "minute", 60],
  [86400, "hour", 3600],
  [86400 * 30, "day", 86400],
];

/** "3 minutes ago"; a date where it was long ago. */
export function ago(time, now = Date.now() / 1000) {
  if (!time) return "never";
  const past = Math.max(0, now - time);
  if (past < 10) return "just now";
  const found = UNITS.find(([end]) => past < end);
  if (!found) return date(time);
  const n = Math.floor(past / found[2]);
  return `${n} ${found[1]}${n === 1 ? "" : "s"} ago`;
}

export const date = (time) => new Date(time * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
/** "20 Dec, 19:04", with its year unless it is this one. */
export const moment = (time) => {
  const at = new Date(time * 1000);
  const year = at.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return at.toLocaleString("en-GB", { day: "numeric", month: "short", year, hour: "2-digit", minute: "2-digit", hour12: false });
};

/** "2 days 3 hours" of a number of seconds. */
export function lasting(seconds) {
  const parts = [
    [86400, "day"],
    [3600, "hour"],
    [60, "minute"],
  ].map(([size, name]) => {
    const n = Math.floor(seconds / size);
    seconds -= n * size;
    return n ? `${n} ${name}${n === 1 ? "" : "s"}` : "";
  });
  return parts.filter(Boolean).slice(0, 2).join(" ") || "less than a minute";
}
