// The API key: asked for in a dialog, kept for the tab.
const NAME = "triptych-key";
const dialog = document.getElementById("key-dialog");
const field = document.getElementById("key");
const opener = document.getElementById("key-open");
let key = "";

try {
  key = sessionStorage.getItem(NAME) ?? "";
} catch {
  // Storage is switched off: the key is kept until the page is left.
}

/** The header that carries the key; none without one. */
export function bearer() {
  return key ? { authorization: `Bearer ${key}` } : {};
}

/** Whether there is a key. */
export function hasKey() {
  return key !== "";
}

/** Ask for the key. */
export function openKey() {
  field.value = key;
  if (!dialog.open) dialog.showModal();
  field.focus();
}

function show() {
  opener.textContent = key ? "API key: set" : "API key";
}

/** Wire the dialog; `changed` is called with each new key. */
export function wireKey(changed) {
  show();
  opener.addEventListener("click", openKey);
  document.getElementById("key-close").addEventListener("click", () => dialog.close());
  document.getElementById("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key = field.value.trim();
    try {
      if (key) sessionStorage.setItem(NAME, key);
      else sessionStorage.removeItem(NAME);
    } catch {
      // As above.
    }
    dialog.close();
    show();
    changed();
  });
}
