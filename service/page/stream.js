// Server-sent events (WHATWG HTML, section 9.2) from a response to a POST.
import { ApiError, errorOf } from "./api.js";

/**
 * Yield the JSON of each event until `[DONE]`.
 * Throws ApiError for an error event, and where the connection ends before `[DONE]`.
 */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (true) {
    const { value, done } = await next(reader);
    if (done) throw broken();
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: ?/, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw errorOf(event, 500);
      yield event;
    }
  }
}

async function next(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw broken();
  }
}

function broken() {
  return new ApiError("The connection broke before the text was finished; what came is kept.");
}
