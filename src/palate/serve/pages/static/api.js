// The server, asked with the caller's token. The token comes in the address after "#", which no server sees.

const TOKEN = "palate-token";
const PERSON = "palate-person";
const held = new Map(); // where the browser forbids storage

const keep = (name, value) => {
  try {
    if (value) sessionStorage.setItem(name, value);
    else sessionStorage.removeItem(name);
  } catch {
    held.set(name, value);
  }
};
const kept = (name) => {
  try {
    return sessionStorage.getItem(name) ?? held.get(name) ?? "";
  } catch {
    return held.get(name) ?? "";
  }
};

export const token = () => kept(TOKEN);
export const setToken = (value) => keep(TOKEN, value.trim());
export const person = () => kept(PERSON);
export const setPerson = (name) => keep(PERSON, name);

/** Take the token out of what was pasted: a whole link, or the bare token. */
export const tokenIn = (pasted) => new URLSearchParams(pasted.trim().replace(/^[^#]*#/, "")).get("token") ?? pasted.trim();

/** Take token and person from the address, and leave it clean: it may be shown, shared, or kept in a history. */
export function takeFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  const secret = given.get("token");
  if (secret !== null) {
    setToken(secret);
    setPerson("");
  }
  if (given.get("user") !== null) setPerson(given.get("user"));
  if (secret !== null || given.get("user") !== null) history.replaceState(null, "", location.pathname + location.search);
}

/** Why a request was not served. `status` 0: the server could not be reached. */
export class Trouble extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    Object.assign(this, { status, retryAfter });
  }

  /** Whether the same request may go well later. */
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

async function fault(answer) {
  const retryAfter = Number(answer.headers.get("retry-after")) || 0;
  let error = {};
  try {
    error = (await answer.json()).error ?? {};
  } catch {
    // a proxy's page, or nothing: the status must do
  }
  return new Trouble(answer.status, error.message || `The server answered ${answer.status}.`, retryAfter);
}

/** Send a request and return its body: parsed JSON, or text. */
export async function call(method, path, body, { seconds = 20 } = {}) {
  const headers = { Accept: "application/json, text/plain;q=0.9" };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    const signal = AbortSignal.timeout(seconds * 1000);
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    throw new Trouble(0, error.name === "TimeoutError" ? `The server did not answer within ${seconds} seconds.` : "The server cannot be reached.");
  }
  if (!answer.ok) throw await fault(answer);
  if (answer.status === 204) return null;
  try {
    return (answer.headers.get("content-type") ?? "").includes("json") ? await answer.json() : await answer.text();
  } catch {
    throw new Trouble(0, "The server's answer broke off.");
  }
}

export const get = (path) => call("GET", path);

/** The path of a user's things: names may hold any character. */
export const of = (user, rest) => `/v1/users/${encodeURIComponent(user)}${rest}`;

/** A name for a choice that nobody else gives: 128 random bits. */
export const freshKey = () => "p-" + Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
