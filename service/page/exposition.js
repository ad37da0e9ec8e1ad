// Prometheus' text format, and what two readings of it tell.

const SAMPLE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Samples of a text: a list of {name, labels, value}. */
export function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : SAMPLE.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(LABEL)) {
      labels[name] = value.replace(/\\(.)/g, (_, char) => (char === "n" ? "\n" : char));
    }
    samples.push({ name: found[1], labels, value: Number(found[3].replace("Inf", "Infinity")) });
  }
  return samples;
}

/** The sum of the samples of a name that fit. */
export function total(samples, name, fits = () => true) {
  return samples
    .filter((one) => one.name === name && fits(one.labels))
    .reduce((sum, one) => sum + one.value, 0);
}

/** A histogram's cumulative counts by upper bound, added up over the samples that fit. */
export function buckets(samples, name, fits) {
  const found = new Map();
  for (const { name: one, labels, value } of samples) {
    if (one !== `${name}_bucket` || !fits(labels)) continue;
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    found.set(bound, (found.get(bound) ?? 0) + value);
  }
  return new Map([...found].sort(([a], [b]) => a - b));
}

/** What came between two readings of a histogram. */
export function between(before, after) {
  return new Map([...after].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)]));
}

/**
 * The q-quantile of a histogram, linear within its bucket, as Prometheus' histogram_quantile has
 * it; null if it is empty.
 */
export function quantile(q, cumulative) {
  const all = cumulative.get(Infinity) ?? 0;
  if (!all) return null;
  const rank = q * all;
  let lower = 0;
  let below = 0;
  for (const [bound, count] of cumulative) {
    if (count >= rank) {
      if (bound === Infinity) return lower;
      return count === below ? bound : lower + ((bound - lower) * (rank - below)) / (count - below);
    }
    lower = bound;
    below = count;
  }
  return lower;
}
