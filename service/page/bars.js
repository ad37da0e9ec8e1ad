// Classes as bars.

/** Show `count` empty bars, so that nothing moves when the answer comes. */
export function emptyBars(list, count) {
  list.replaceChildren(...Array.from({ length: count }, () => bar("–", null)));
}

/** Show scores in the places of the empty bars. */
export function showBars(list, top) {
  list.replaceChildren(...top.map(({ label, score }) => bar(label, score)));
}

function bar(label, score) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  name.className = "label";
  name.textContent = label;
  const track = document.createElement("span");
  track.className = "track";
  const fill = document.createElement("span");
  fill.style.setProperty("--share", score ?? 0);
  track.append(fill);
  const value = document.createElement("span");
  value.className = "value";
  value.textContent = score === null ? "" : percent(score);
  item.append(name, track, value);
  if (score === null) item.setAttribute("aria-hidden", "true");
  return item;
}

/** A share as a percentage. */
export function percent(share) {
  return `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)} %`;
}
