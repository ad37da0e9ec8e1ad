// The panel of live figures: /metrics, once a second while the page is seen.
import { ask } from "./api.js";
import { curlLine, showCurl } from "./curl.js";
import { between, buckets, parse, quantile, total } from "./exposition.js";
import { sawTrials, sawVersion } from "./models.js";
import { columns, sparkline } from "./spark.js";
import { showError } from "./trouble.js";

const EVERY_MS = 1000;
const AGAIN_MS = 5000; // after a refusal, or no answer
const KEPT = 61; // readings: a minute
const LARGEST = 64; // rows: the last column but one
const RECENT = 5; // seconds that a rate is taken over
const $ = (id) => document.getElementById(id);
let readings = []; // {atS, samples}, the newest last
let timer = 0;

/** Wire the panel and begin. */
export function wireLive() {
  const line = () => showCurl($("live-curl"), curlLine("metrics"));
  line();
  document.addEventListener("visibilitychange", readAgain);
  readAgain();
  return line;
}

/** Read now, and from now on; not while the page is hidden. */
export function readAgain() {
  clearTimeout(timer);
  if (!document.hidden) read();
}

async function read() {
  let waitMs = EVERY_MS;
  try {
    const text = await (await ask("metrics")).text();
    take({ atS: performance.now() / 1000, samples: parse(text) });
  } catch (error) {
    waitMs = AGAIN_MS;
    readings = [];
    $("gauges").replaceChildren();
    showError($("live-state"), error);
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(read, waitMs);
}

function take(reading) {
  const last = readings.at(-1);
  // Fewer than before: the service was started anew. A gap: the page was hidden.
  const anew =
    last &&
    (total(reading.samples, "triptych_requests_total") <
      total(last.samples, "triptych_requests_total") ||
      reading.atS - last.atS > 10);
  readings = anew ? [reading] : [...readings, reading].slice(-KEPT);
  versions(reading.samples);
  const models = [
    ...new Set(named(reading.samples, "triptych_model_info").map(({ labels }) => labels.model)),
  ].sort();
  $("gauges").replaceChildren(...models.map(gauge));
  const rate = rateOf((labels) => labels.model !== "");
  $("live-state").textContent =
    `${figure(rate)} requests a second, all workers together. Latencies and batches are of the last minute.`;
}

function named(samples, name) {
  return samples.filter((one) => one.name === name && one.value === 1);
}

function versions(samples) {
  for (const { labels } of named(samples, "triptych_model_info")) {
    sawVersion(labels.model, labels.version);
  }
  sawTrials(new Map(named(samples, "triptych_trial").map(({ labels }) => [labels.model, labels])));
}

/** Requests a second over the last few seconds. */
function rateOf(fits) {
  const after = readings.at(-1);
  const before = readings.at(-1 - RECENT) ?? readings[0];
  if (before === after) return 0;
  const count = (reading) => total(reading.samples, "triptych_requests_total", fits);
  return (count(after) - count(before)) / (after.atS - before.atS);
}

function gauge(model) {
  const mine = (labels) => labels.model === model;
  const [first, last] = [readings[0], readings.at(-1)];
  const over = (name) =>
    between(buckets(first.samples, name, mine), buckets(last.samples, name, mine));
  const counts = readings.map(({ samples }) => total(samples, "triptych_requests_total", mine));
  const rates = counts
    .slice(1)
    .map((count, i) => (count - counts[i]) / (readings[i + 1].atS - readings[i].atS));
  const rate = rateOf(mine);
  const latency = over("triptych_request_seconds");
  const batches = over("triptych_batch_rows");
  const runs = batches.get(Infinity) ?? 0;
  const rowsIn = ({ samples }) => total(samples, "triptych_batch_rows_sum", mine);
  const rows = rowsIn(last) - rowsIn(first);
  const bounds = [...batches.keys()].filter((bound) => bound <= LARGEST || bound === Infinity);
  const upTo = bounds.map((bound) => batches.get(bound));
  const perBucket = upTo.map((count, i) => count - (upTo[i - 1] ?? 0));

  const card = document.createElement("article");
  const title = document.createElement("h3");
  title.textContent = model;
  const most = Math.max(...rates, 0);
  card.append(
    title,
    row("Requests a second", figure(rate), sparkline(rates, KEPT - 1,
      `Requests a second over the last minute: ${figure(rate)} now, ${figure(most)} at most`)),
    row("Rows a batch, mean", runs ? figure(rows / runs) : "–", columns(perBucket,
      `Batches of the last minute by rows: ${described(bounds, perBucket)}`), under(bounds)),
    numbers({
      "p50": seconds(quantile(0.5, latency)),
      "p99": seconds(quantile(0.99, latency)),
      "Waiting": figure(total(last.samples, "triptych_queue_rows", mine)),
    }),
  );
  return card;
}

function described(bounds, counts) {
  const parts = counts.flatMap((count, i) => {
    if (!count) return [];
    return bounds[i] === Infinity ? [`${count} of more`] : [`${count} of up to ${bounds[i]}`];
  });
  return parts.join(", ") || "none";
}

/** The upper bounds of the columns, below them. */
function under(bounds) {
  const made = document.createElement("div");
  made.className = "bounds";
  made.ariaHidden = "true"; // the chart's label says it
  for (const bound of bounds) {
    const one = document.createElement("span");
    one.textContent = bound === Infinity ? "+" : bound;
    made.append(one);
  }
  return made;
}

function row(name, value, ...pictures) {
  const made = document.createElement("div");
  made.className = "row";
  const right = document.createElement("div");
  right.append(...pictures);
  made.append(numbers({ [name]: value }), right);
  return made;
}

function numbers(values) {
  const list = document.createElement("dl");
  for (const [name, value] of Object.entries(values)) {
    const group = document.createElement("div");
    const term = document.createElement("dt");
    term.textContent = name;
    const told = document.createElement("dd");
    told.textContent = value;
    group.append(term, told);
    list.append(group);
  }
  return list;
}

function figure(value) {
  return value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 1 : 0 });
}

function seconds(value) {
  if (value === null) return "–";
  const ms = 1000 * value;
  return ms < 1000 ? `${ms.toPrecision(ms < 100 ? 2 : 3)} ms` : `${value.toPrecision(3)} s`;
}
