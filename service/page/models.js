// The models that are served, and the choice among those of a kind.
import { ask } from "./api.js";

const RETRY_MS = 5000;
const choices = new Map(); // kind -> Choice
let cards = [];
let trials = new Map(); // model -> {version, mode}
let timer = 0;

/** The choice among the models of one kind. */
class Choice {
  constructor(kind, select, version, changed) {
    this.kind = kind;
    this.select = select;
    this.version = version;
    this.changed = changed;
    this.trial = null;
    select.addEventListener("change", () => this.show());
  }

  /** The model chosen, as /v1/models tells of it; undefined if there is none. */
  get card() {
    return this.cards.find((card) => card.id === this.select.value);
  }

  get cards() {
    return cards.filter((card) => card.kind === this.kind);
  }

  fill() {
    const before = this.select.value;
    this.select.replaceChildren(...this.cards.map((card) => new Option(card.id)));
    this.select.disabled = this.cards.length === 0;
    if (this.cards.some((card) => card.id === before)) this.select.value = before;
    this.show();
  }

  show() {
    const card = this.card;
    this.version.textContent = card
      ? `version ${card.version}, ${card.precision}`
      : "no model of this kind is served";
    const trial = card && trials.get(card.id);
    if (trial) this.version.append(`; on trial: ${trial.version} (${trial.mode})`);
    this.changed(card);
  }
}

/**
 * Let `select` choose among the models of `kind`; `changed` is called with the card of the one
 * chosen, again whenever it is another or another version of it.
 */
export function chooseAmong(kind, select, version, changed) {
  const choice = new Choice(kind, select, version, changed);
  choices.set(kind, choice);
  return choice;
}

/** Ask which models are served; throws ApiError. */
export async function loadModels() {
  clearTimeout(timer);
  const found = (await (await ask("v1/models")).json()).data;
  cards = found;
  for (const choice of choices.values()) choice.fill();
  const missing = [...choices.values()].some((choice) => choice.cards.length === 0);
  // They may still be loading.
  if (missing) timer = setTimeout(() => loadModels().catch(() => {}), RETRY_MS);
  return cards;
}

/** Ask again if an answer's version is not the one shown. */
export function sawVersion(model, version) {
  const card = cards.find((one) => one.id === model);
  const onTrial = trials.get(model)?.version === version;
  if (card && card.version !== version && !onTrial) loadModels().catch(() => {});
}

/** Take in which versions are on trial: a map from a model to {version, mode}. */
export function sawTrials(seen) {
  const before = JSON.stringify([...trials]);
  trials = seen;
  if (JSON.stringify([...trials]) !== before) {
    for (const choice of choices.values()) choice.show();
  }
}
