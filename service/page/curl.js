// The command line that does the same as an action of the page.
import { address } from "./api.js";
import { hasKey } from "./key.js";

/** A word for a POSIX shell. */
export function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A curl line. `body` and `forms` are curl's own: "@file.png", "-", "name=@file". */
export function curlLine(path, { json, accept, body, forms = [], stream = false } = {}) {
  const words = ["curl", stream ? "-sN" : "-s"];
  if (hasKey()) words.push("-H", '"Authorization: Bearer $API_KEY"');
  if (accept) words.push("-H", quoted(`accept: ${accept}`));
  for (const form of forms) words.push("-F", quoted(form));
  if (body !== undefined) words.push("--data-binary", quoted(body));
  words.push(quoted(address(path)));
  if (json !== undefined) words.push("-d", quoted(JSON.stringify(json)));
  return words.join(" ");
}

/** Show `line` in `element`, with a button that copies it. */
export function showCurl(element, line) {
  let code = element.querySelector("code");
  if (!code) {
    const shown = document.createElement("pre");
    shown.tabIndex = 0;
    shown.setAttribute("role", "group"); // a region would be a landmark, one too many
    shown.setAttribute("aria-label", "The same with curl");
    code = document.createElement("code");
    shown.append(code);
    const copy = document.createElement("button");
    copy.type = "button";
    copy.className = "quiet";
    copy.textContent = "Copy";
    copy.setAttribute("aria-label", "Copy the curl line");
    copy.addEventListener("click", () => copyText(code, copy));
    element.replaceChildren(shown, copy);
  }
  code.textContent = line;
}

async function copyText(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code); // no clipboard over plain HTTP from another machine
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}
