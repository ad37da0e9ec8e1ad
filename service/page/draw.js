// The panel that draws: classes and a seed in, pictures out.
import { ApiError, ask } from "./api.js";
import { curlLine, showCurl } from "./curl.js";
import { chooseAmong, sawVersion } from "./models.js";
import { freshSeed, seedIn, wireSeed } from "./seed.js";
import { showError } from "./trouble.js";

const PATH = "v1/sample";
const JSON_TYPE = "application/json";
const $ = (id) => document.getElementById(id);
let choice;
let shown = null; // the gallery's request and answer
let labels = "";

/** Wire the panel; `classify` takes a picture that was clicked. */
export function wireDraw(classify) {
  choice = chooseAmong("gan", "draw", (card) => {
    chips(card?.labels ?? []);
    line();
  });
  wireSeed($("draw-seed"), $("draw-reseed"));
  wireSeed($("draw-to"), $("draw-reseed-to"));
  const form = $("draw-form");
  form.addEventListener("input", () => {
    const walk = form.elements.mode.value === "walk";
    $("draw-to-field").hidden = !walk;
    $("chips-hint").textContent = walk
      ? "of several the first is drawn"
      : "none chosen: every class in turn";
    line();
  });
  form.addEventListener("click", line); // chips and seeds
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    draw(asked());
  });
  $("gallery").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) classify(picked(Number(button.dataset.index)));
  });
  return line;
}

/** Draw one picture of one of the chosen classes, as `classify` takes it; throws ApiError. */
export async function drawOne() {
  const card = choice.card;
  if (!card) throw new ApiError("No model that draws is served.", { status: 404 });
  const among = chosen().length ? chosen() : card.labels;
  const label = among[freshSeed() % among.length];
  const body = { model: card.id, labels: [label], n: 1, seed: freshSeed() };
  const response = await ask(PATH, { json: body });
  return {
    blob: await response.blob(),
    name: `${label}-${body.seed}.png`,
    from: curlLine(PATH, { json: body }),
  };
}

function chosen() {
  return [...$("chips").querySelectorAll("[aria-pressed=true]")].map((one) => one.textContent);
}

function chips(names) {
  if (JSON.stringify(names) === labels) return; // what is chosen stays so
  labels = JSON.stringify(names);
  $("chips").replaceChildren(
    ...names.map((name) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.textContent = name;
      chip.setAttribute("aria-pressed", "false");
      chip.addEventListener("click", () => {
        chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") === "false");
      });
      return chip;
    }),
  );
}

function asked() {
  const walk = $("draw-form").elements.mode.value === "walk";
  const body = { model: choice.card?.id };
  const names = chosen();
  // A walk between seeds shows what they change: it keeps to one class.
  if (walk) body.labels = names.length ? [names[0]] : (choice.card?.labels.slice(0, 1) ?? []);
  else if (names.length) body.labels = names;
  body.n = $("draw-n").value === "" ? null : Number($("draw-n").value);
  body.seed = seedIn($("draw-seed"));
  if (walk) body.seed_to = seedIn($("draw-to"));
  return body;
}

function line() {
  showCurl($("draw-curl"), curlLine(PATH, { json: asked(), accept: JSON_TYPE }));
}

async function draw(body) {
  showError($("draw-error"), null);
  $("draw-status").textContent = "Drawing…";
  line();
  try {
    const response = await ask(PATH, { json: body, headers: { accept: JSON_TYPE } });
    const answer = await response.json();
    shown = { body, answer };
    gallery(answer, body.seed_to);
    const to = body.seed_to === undefined ? "" : ` to ${body.seed_to}`;
    const ms = Number(response.headers.get("x-inference-time")).toFixed(1);
    $("draw-status").textContent =
      `${answer.images.length} drawn by ${answer.model} ${answer.version} in ${ms} ms,` +
      ` seed ${answer.seed}${to}.`;
    sawVersion(answer.model, answer.version);
  } catch (error) {
    $("draw-status").textContent = "";
    showError($("draw-error"), error);
  }
}

function gallery({ images }, to) {
  $("gallery").classList.toggle("walk", to !== undefined);
  $("gallery").replaceChildren(
    ...images.map(({ label, b64_json }, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.index = index;
      button.title = `${label}: classify it`;
      const image = document.createElement("img");
      image.src = `data:image/png;base64,${b64_json}`;
      image.alt = `${label}, picture ${index + 1} of ${images.length}: classify it`;
      button.append(image);
      return button;
    }),
  );
}

/** A picture of the gallery as `classify` takes it, with the line that makes the same bytes. */
function picked(index) {
  const { body, answer } = shown;
  const { label, b64_json } = answer.images[index];
  const bytes = Uint8Array.from(atob(b64_json), (char) => char.charCodeAt(0));
  return {
    blob: new Blob([bytes], { type: "image/png" }),
    name: `${label}-${answer.seed}-${index}.png`,
    from:
      `${curlLine(PATH, { json: body, accept: JSON_TYPE })} | grep -o '"b64_json":"[^"]*"'` +
      ` | sed -n ${index + 1}p | cut -d '"' -f 4 | base64 -d`,
  };
}
