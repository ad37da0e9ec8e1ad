// The panel that writes: a prompt in, text as it comes.
import { ask } from "./api.js";
import { curlLine, showCurl } from "./curl.js";
import { chooseAmong, sawVersion } from "./models.js";
import { seedIn, wireSeed } from "./seed.js";
import { eventsOf } from "./stream.js";
import { showError } from "./trouble.js";

const PATH = "v1/completions";
const $ = (id) => document.getElementById(id);
const REASONS = { length: "as long as asked for", stop: "a stop was met" };
let running = null; // the AbortController of the text being written

/** Wire the panel. */
export function wireWrite() {
  const choice = chooseAmong("lstm", "write", line);
  wireSeed($("write-seed"), $("write-reseed"));
  for (const name of ["temperature", "top-p"]) {
    const shown = () => ($(`${name}-value`).textContent = Number($(name).value).toFixed(2));
    $(name).addEventListener("input", shown);
    shown();
  }

  function asked() {
    const max_tokens = $("max-tokens").value === "" ? null : Number($("max-tokens").value);
    return {
      model: choice.card?.id,
      prompt: $("prompt").value,
      max_tokens,
      temperature: Number($("temperature").value),
      top_p: Number($("top-p").value),
      seed: seedIn($("write-seed")),
      stream: true,
    };
  }

  function line() {
    showCurl($("write-curl"), curlLine(PATH, { json: asked(), stream: true }));
  }

  $("write-form").addEventListener("input", line);
  $("write-reseed").addEventListener("click", line);
  $("write-form").addEventListener("submit", (event) => {
    event.preventDefault();
    line();
    write(asked());
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("write-form").requestSubmit();
  });
  $("stop").addEventListener("click", () => running?.abort());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
  return line;
}

async function write(body) {
  running?.abort();
  const controller = (running = new AbortController());
  const { signal } = controller;
  const text = $("text");
  const prompt = document.createElement("span");
  prompt.className = "prompt";
  prompt.textContent = body.prompt;
  const written = document.createElement("span");
  written.id = "written";
  text.replaceChildren(prompt, written);
  text.setAttribute("aria-busy", "true");
  showError($("write-error"), null);
  $("write-status").textContent = "Writing…";
  $("stop").disabled = false;
  const start = performance.now();
  let chars = 0;
  let last = {};
  const rate = () => Math.round(chars / Math.max((performance.now() - start) / 1000, 1e-3));
  const tell = (end) =>
    ($("write-status").textContent =
      `${end} ${chars.toLocaleString("en")} characters, ${rate().toLocaleString("en")} a second` +
      (last.model ? `, by ${last.model} ${last.version}, seed ${last.seed}.` : "."));
  try {
    const response = await ask(PATH, { json: body, signal });
    for await (const event of eventsOf(response)) {
      const [choice] = event.choices;
      written.append(choice.text);
      chars += choice.text.length;
      last = { ...event, finish: choice.finish_reason };
      text.scrollTop = text.scrollHeight;
    }
    tell(`Finished, ${REASONS[last.finish] ?? last.finish}:`);
    sawVersion(last.model, last.version);
  } catch (error) {
    if (running !== controller) return; // another text has begun
    if (error.name === "AbortError") {
      tell("Stopped:");
    } else {
      showError($("write-error"), error);
      if (chars) tell("Broken off:");
      else $("write-status").textContent = "";
    }
  } finally {
    if (running === controller) {
      running = null;
      text.removeAttribute("aria-busy");
      $("stop").disabled = true;
    }
  }
}
