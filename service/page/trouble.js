// An error beside the action that it belongs to.
import { openKey } from "./key.js";

/** Show `error` in `element`, with what to do; null takes it away. */
export function showError(element, error) {
  element.replaceChildren();
  if (!error) return;
  if (error.name !== "AbortError" && error.status === undefined) console.error(error);
  const message = error.message.replace(/\.?$/, ".");
  element.append(message[0].toUpperCase() + message.slice(1));
  if (error.advice) element.append(` ${error.advice}`);
  if (error.status === 401 || error.status === 403) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Enter the API key";
    button.addEventListener("click", openKey);
    element.append(" ", button);
  }
}
