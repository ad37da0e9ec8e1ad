// The page: three panels, the live figures, the key.
import { classify, wireClassify } from "./classify.js";
import { drawOne, wireDraw } from "./draw.js";
import { openKey, wireKey } from "./key.js";
import { readAgain, wireLive } from "./live.js";
import { loadModels } from "./models.js";
import { showError } from "./trouble.js";
import { wireWrite } from "./write.js";

const state = document.getElementById("service-state");
const trouble = document.getElementById("models-error");

async function begin() {
  showError(trouble, null);
  try {
    const cards = await loadModels();
    state.textContent = `${cards.length} models served`;
  } catch (error) {
    state.textContent = "no models";
    showError(trouble, error);
    if (error.status === 401) openKey();
  }
}

const lines = [
  wireDraw((picture) => {
    document.getElementById("stage").scrollIntoView({ block: "nearest" });
    classify([picture]);
  }),
  wireClassify(drawOne),
  wireWrite(),
  wireLive(),
];
wireKey(() => {
  for (const line of lines) line(); // with the header, or without it
  begin();
  readAgain();
});
begin();
