// Prometheus' text, read back: rates between two looks, and quantiles out of histograms.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Samples of a text: {name, labels, value} each. */
function samples(text) {
  const found = [];
  for (const line of text.split("\n")) {
    const match = line[0] !== "#" && line.match(LINE);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value.replace(/\\(.)/g, "$1")]));
    found.push({ name: match[1], labels, value: Number(match[3]) });
  }
  return found;
}

/** What a text tells of every route: answers by status, and the histogram of seconds. */
export function routes(text) {
  const found = new Map();
  const of = (route) => found.get(route) ?? found.set(route, { route, total: 0, failed: 0, refused: 0, buckets: new Map() }).get(route);
  for (const { name, labels, value } of samples(text)) {
    if (name === "palate_requests_total") {
      const row = of(labels.route);
      row.total += value;
      if (labels.status >= "500") row.failed += value;
      else if (labels.status >= "400") row.refused += value;
    } else if (name === "palate_request_seconds_bucket") {
      const end = labels.le === "+Inf" ? Infinity : Number(labels.le);
      const row = of(labels.route);
      row.buckets.set(end, (row.buckets.get(end) ?? 0) + value);
    }
  }
  return found;
}

/** The share q of a histogram's values lies below this; null where there are none. */
export function quantile(buckets, q) {
  const rows = [...buckets].sort(([a], [b]) => a - b);
  const all = rows.at(-1)?.[1] ?? 0;
  if (!all) return null;
  let [below, from] = [0, 0];
  for (const [end, upto] of rows) {
    if (upto >= q * all) return end === Infinity ? from : from + ((end - from) * (q * all - below)) / Math.max(1, upto - below);
    [below, from] = [upto, end];
  }
  return from;
}
