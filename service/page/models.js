// The models that are served and their versions, and the choice among those of a kind.
import { ask } from "./api.js";

const RETRY_MS = 5000;
const choices = new Map(); // kind -> Choice
let cards = [];
let named = new Map(); // "model@version" -> card, of models of which there is a choice
let timer = 0;

/** The choice among the models of one kind, and among the versions of the one chosen. */
class Choice {
  constructor(kind, panel, changed) {
    this.kind = kind;
    const part = (name) => document.getElementById(`${panel}-${name}`);
    this.select = part("model");
    this.versions = part("named");
    this.field = part("named-field");
    this.told = part("version");
    this.changed = changed;
    this.lost = ""; // the model@version that was chosen until it was no longer to be had
    for (const one of [this.select, this.versions]) {
      one.addEventListener("change", () => {
        this.lost = "";
        this.fill();
      });
    }
  }

  /**
   * What is chosen, as /v1/models tells of it; undefined if there is none. Its `id` is what a
   * request says: the model, or model@version where a version is chosen.
   */
  get card() {
    return named.get(this.versions.value) ?? this.model;
  }

  get model() {
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
    this.offer();
    this.show();
  }

  /** Fill the versions; they are shown where there is a choice. */
  offer() {
    const before = this.versions.value;
    const model = this.model;
    const options = (model?.versions ?? [])
      .map(({ version, role }) => new Option(`${version} (${role})`, `${model.id}@${version}`))
      .filter(({ value }) => named.has(value));
    this.field.hidden = options.length < 2;
    this.versions.replaceChildren(new Option("the service chooses", ""), ...options);
    if (options.some(({ value }) => value === before)) this.versions.value = before;
    else if (before) this.lost = before;
  }

  show() {
    const card = this.card;
    this.told.textContent = card
      ? `version ${card.version}, ${card.precision}`
      : "no model of this kind is served";
    const trial = card?.versions.find(({ role }) => role !== "served");
    if (trial) {
      const which = trial.version === card.version ? "" : `: ${trial.version}`;
      this.told.append(`; on trial${which} (${trial.role})`);
    }
    this.told.append(this.word());
    this.changed(card);
  }

  /** What became of the version that was chosen. */
  word() {
    const [name, version] = this.lost.split("@");
    if (name !== this.model?.id || named.has(this.lost)) return "";
    return version === this.model.version
      ? `; ${version} is the one served now`
      : `; ${version} is no longer to be had`;
  }
}

/**
 * Let the selects of `panel` choose among the models of `kind` and their versions; `changed` is
 * called with the card of what is chosen, again whenever it is another or another version of it.
 */
export function chooseAmong(kind, panel, changed) {
  const choice = new Choice(kind, panel, changed);
  choices.set(kind, choice);
  return choice;
}

/** Ask which models are served; throws ApiError. */
export async function loadModels() {
  clearTimeout(timer);
  const found = (await (await ask("v1/models")).json()).data;
  named = new Map((await Promise.all(found.map(versionsOf))).flat());
  cards = found;
  for (const choice of choices.values()) choice.fill();
  const missing = [...choices.values()].some((choice) => choice.cards.length === 0);
  // They may still be loading.
  if (missing) timer = setTimeout(() => loadModels().catch(() => {}), RETRY_MS);
  return cards;
}

/** A model's cards by "model@version"; none where there is no choice. */
async function versionsOf(card) {
  if (card.versions.length < 2) return [];
  try {
    return await Promise.all(
      card.versions.map(async ({ version, role }) => {
        const id = `${card.id}@${version}`;
        const one = role === "served" ? { ...card, id } : await (await ask(`v1/models/${id}`)).json();
        return [id, one];
      }),
    );
  } catch {
    return []; // the trial has just ended, or this worker does not know of it yet
  }
}

/** Ask again if an answer's version is not one of those shown. */
export function sawVersion(model, version) {
  const card = cards.find((one) => one.id === model);
  if (card && !card.versions.some((one) => one.version === version)) {
    loadModels().catch(() => {});
  }
}

/** Ask again if other versions are on trial than those shown: a map from a model to {version}. */
export function sawTrials(seen) {
  const isShown = ({ id, versions }) =>
    versions.find(({ role }) => role !== "served")?.version === seen.get(id)?.version;
  if (!cards.every(isShown)) loadModels().catch(() => {});
}
