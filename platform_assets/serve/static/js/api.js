/**
 * Asking the API: the key, requests, and problems in plain words.
 *
 * Belongs here: everything that goes over the wire. The key lives in this tab's session storage, is sent in a header, and is never
 * part of an address.
 */
import { parseJson } from "./text.js";

const KEY = "assay.key";

/** An answer that is no result: `status` 0 when there was none at all; `position` is where in the query the mistake is. */
class Problem extends Error {
  constructor(status, detail, hint = "", request = "", position = undefined) {
    super(detail);
    Object.assign(this, { status, hint, request, position });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

let refused = () => {};
/** Whom to tell that the key is no longer taken. */
export const onRefused = (tell) => (refused = tell);

/** `/path?name=value`; empty values are left out, lists repeat their name. */
function address(path, params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") query.append(name, one);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** The response of the API. Throws Problem; an aborted request throws AbortError. */
async function send(path, { params = {}, method = "GET", body, signal, as = key.get() } = {}) {
  const headers = { authorization: `Bearer ${as}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(address(path, params), {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer.", "Check that it runs and that you are connected, then try again.");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const problem = new Problem(response.status, said.detail ?? response.statusText, said.hint, said.request, said.position);
  if (response.status === 401 && as === key.get()) refused(problem);
  throw problem;
}

/** The JSON of an answer. */
export async function ask(path, how) {
  return parseJson(await (await send(path, how)).text());
}

/** An answer as a file's content. */
export async function file(path, how) {
  return (await send(path, how)).blob();
}

export const seg = encodeURIComponent;
