// Calls of the license server's REST API.

const BASE = "/api/v1";
let csrf = "";

/** An answer that is not a success; `status` 0: no answer at all. */
export class ApiError extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Which token calls that change something carry. */
export function useToken(token) {
  csrf = token;
}

/** Called when a session has ended: set by main.js. */
export const ended = { handler: () => {} };

/**
 * One call. `json` is sent as JSON, `text` as it is; `refresh` marks calls that no person asked for;
 * `gate`: a 401 is an answer like others here, not the end of a session.
 */
export async function call(method, path, options = {}) {
  const { json, text, signal, refresh = false, gate = false, again = false } = options;
  const headers = { Accept: "application/json" };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (text !== undefined) headers["Content-Type"] = "text/plain; charset=utf-8";
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (refresh) headers["X-Refresh"] = "1";
  const body = json !== undefined ? JSON.stringify(json) : text;
  const answer = await send(BASE + path, { method, headers, body, signal, cache: "no-store", credentials: "same-origin" });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const error = await refusal(answer);
  if (error.code === "csrf" && !again) { // signed in anew in another tab: its word holds here, too
    useToken((await call("GET", "/session", { signal })).csrf);
    return call(method, path, { ...options, again: true });
  }
  if (!gate && answer.status === 401 && error.code === "not-signed-in") ended.handler();
  throw error;
}

const TRIES = 3;
const PAUSE_MS = 300;

/** One request; asked again where it changes nothing and the network failed, as it does when a cable or VPN changes. */
async function send(url, options, tries = options.method === "GET" ? TRIES : 1) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (tries > 1) {
      await new Promise((go) => setTimeout(go, PAUSE_MS));
      return send(url, options, tries - 1);
    }
    throw new ApiError("The license server does not answer. Check that it runs and that this computer reaches it.", 0, "no-answer");
  }
}

async function refusal(answer) {
  try {
    const problem = await answer.json();
    return new ApiError(String(problem.detail), answer.status, String(problem.code));
  } catch {
    return new ApiError(`The license server answered with an error (${answer.status}).`, answer.status, "http");
  }
}

/** The path of a resource or report with its query; empty values are left out. */
export function query(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return text ? `${path}?${text}` : path;
}

/** A link to a report as a file. */
export function download(path, values) {
  return BASE + query(path, values);
}
