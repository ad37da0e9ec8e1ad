// Requests to the service, and its errors in its own words.
import { bearer } from "./key.js";

const ROOT = new URL("..", import.meta.url); // the service may be under a prefix

/** The address of a path such as "v1/models". */
export function address(path) {
  return new URL(path, ROOT).href;
}

/** What the service refused, or that it could not be reached (status 0). */
export class ApiError extends Error {
  constructor(message, { status = 0, field = null, retryAfterS = null } = {}) {
    super(message);
    this.status = status;
    this.field = field;
    this.retryAfterS = retryAfterS;
  }

  /** What to do about it; empty where the message says so itself. */
  get advice() {
    if (this.status === 0) return "Look whether the service still runs, then try again.";
    if (this.status === 401 || this.status === 403) return "Enter a key that may do this.";
    if (this.status === 429) return `Try again in ${this.retryAfterS ?? 1} s.`;
    if (this.status === 503) return "Try again in a moment.";
    if (this.status >= 500) return "Try again; the service's log says what happened.";
    return "";
  }
}

/** The error that a body in the service's form tells of. */
export function errorOf(body, status, retryAfterS = null) {
  const told = body?.error;
  const message = typeof told === "string" ? told : told?.message;
  return new ApiError(message ?? `The service answered ${status}.`, {
    status,
    field: told?.param ?? null,
    retryAfterS,
  });
}

/**
 * Ask; give the response if it is a good one.
 * Throws ApiError, or AbortError if `signal` was used.
 */
export async function ask(path, { json, body, headers = {}, signal } = {}) {
  const sent = { ...headers, ...bearer() };
  if (json !== undefined) {
    body = JSON.stringify(json);
    sent["content-type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(address(path), {
      method: body === undefined ? "GET" : "POST",
      headers: sent,
      body,
      signal,
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The service did not answer.");
  }
  if (response.ok) return response;
  const wait = response.headers.get("retry-after");
  throw errorOf(await response.json().catch(() => null), response.status, wait);
}
