// The panel that classifies: pictures in, classes and a heatmap out.
import { ask } from "./api.js";
import { emptyBars, percent, showBars } from "./bars.js";
import { curlLine, showCurl } from "./curl.js";
import { chooseAmong, sawVersion } from "./models.js";
import { paintHeat, showPicture } from "./picture.js";
import { showError } from "./trouble.js";

const MOST_BARS = 10;
const $ = (id) => document.getElementById(id);
const stage = {
  figure: $("figure"),
  image: $("picture"),
  crop: $("crop"),
  caption: $("caption"),
};
let choice;
let shots = []; // {blob, name, url, from}: `from` is the shell line that writes its bytes, if any
let answer = null;
let turn = 0; // of the latest request: an earlier one's answer comes to nothing

/** Wire the panel; `drawOne` draws a picture and gives it as `classify` takes it. */
export function wireClassify(drawOne) {
  choice = chooseAmong("cnn", "classify", (card) => {
    if (card && !answer) emptyBars($("bars"), Math.min(MOST_BARS, card.labels.length));
    line();
  });
  for (const id of ["drop", "choose"]) $(id).addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    take($("file").files);
    $("file").value = ""; // the same file may be chosen again
  });
  wireDrop($("stage"));
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
    if (files.length) event.preventDefault();
    take(files);
  });
  $("draw-one").addEventListener("click", async () => {
    try {
      await classify([await drawOne()]);
    } catch (error) {
      showError($("classify-error"), error);
    }
  });
  const opacity = () => {
    $("heat").style.opacity = $("heat-on").checked ? $("heat-opacity").value / 100 : 0;
    $("heat-opacity").disabled = !$("heat-on").checked;
  };
  $("heat-on").addEventListener("input", opacity);
  $("heat-opacity").addEventListener("input", opacity);
  opacity();
  for (const id of ["classify-model", "classify-named"]) {
    $(id).addEventListener("change", () => shots.length && classify(shots));
  }
  return line;
}

function wireDrop(element) {
  for (const name of ["dragenter", "dragover"]) {
    element.addEventListener(name, (event) => {
      event.preventDefault();
      element.classList.add("over");
    });
  }
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    take(event.dataTransfer.files);
  });
}

function take(files) {
  if (files.length) classify([...files].map((file) => ({ blob: file, name: file.name })));
}

function path() {
  const card = choice.card;
  if (!card) return "v1/classify?explain=true";
  const query = new URLSearchParams({
    model: card.id,
    top_k: Math.min(MOST_BARS, card.labels.length),
    explain: true,
  });
  return `v1/classify?${query}`.replaceAll("%40", "@"); // of model@version, to be read
}

function line() {
  const [one, ...more] = shots;
  let shown;
  if (more.length) {
    shown = curlLine(path(), { forms: shots.map(({ name }, i) => `image${i}=@${file(name)}`) });
  } else if (one?.from) {
    shown = `${one.from} | ${curlLine(path(), { body: "@-" })}`;
  } else {
    shown = curlLine(path(), { body: `@${one?.name ?? "picture.png"}` });
  }
  showCurl($("classify-curl"), shown);
}

/** A file's name as curl's -F takes it: quoted where it has a comma or a semicolon. */
function file(name) {
  return /[,;"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;
}

/** Classify pictures, {blob, name, from}. Errors are shown in the panel. */
export async function classify(pictures) {
  const mine = ++turn;
  if (pictures !== shots) {
    for (const { url } of shots) URL.revokeObjectURL(url);
    shots = pictures.map((one) => ({ ...one, url: URL.createObjectURL(one.blob) }));
  }
  answer = null;
  showError($("classify-error"), null);
  $("classify-status").textContent = "Classifying…";
  paintHeat($("heat"), null);
  line();
  thumbs();
  select(0);
  try {
    const response = await ask(path(), { body: body() });
    const found = await response.json();
    if (mine !== turn) return;
    answer = { ...found, ms: Number(response.headers.get("x-inference-time")) };
    select(0);
    sawVersion(found.model, found.version);
  } catch (error) {
    if (mine !== turn) return;
    $("classify-status").textContent = "";
    emptyBars($("bars"), Math.min(MOST_BARS, choice.card?.labels.length ?? 0));
    showError($("classify-error"), error);
  }
}

function body() {
  if (shots.length === 1) return shots[0].blob;
  const form = new FormData();
  shots.forEach(({ blob, name }, index) => form.append(`image${index}`, blob, name));
  return form;
}

/** Show picture `index`, and what was found in it once that is known. */
function select(index) {
  const shot = shots[index];
  $("drop").hidden = true;
  const tensor = choice.card?.inputs.find(({ name }) => name === "image");
  const [height, width] = tensor?.shape.slice(1, 3) ?? [1, 1];
  showPicture(stage, shot, width / height);
  $("save").hidden = false;
  $("save").href = shot.url;
  $("save").download = shot.name;
  [...$("thumbs").children].forEach((one, i) => one.setAttribute("aria-pressed", i === index));
  const found = answer?.predictions[index];
  if (!found) return;
  showBars($("bars"), found.top);
  paintHeat($("heat"), found.heatmap);
  $("classify-status").textContent =
    `${found.label}, ${percent(found.score)}. By ${answer.model} ${answer.version}` +
    ` in ${answer.ms.toFixed(1)} ms.`;
}

function thumbs() {
  $("thumbs").hidden = shots.length < 2;
  $("thumbs").replaceChildren(
    ...shots.map(({ url, name }, index) => {
      const button = document.createElement("button");
      button.type = "button";
      const image = document.createElement("img");
      image.src = url;
      image.alt = name;
      button.append(image);
      button.addEventListener("click", () => select(index));
      return button;
    }),
  );
}
