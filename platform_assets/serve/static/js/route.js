/**
 * Where the reader is, in the address's fragment: `#/orders/search?q=status%3A500&last=1h`.
 *
 * Belongs here: reading and writing it. Everything that can be shared is in it, and the key never is.
 */

/** `{system, view, params}` of the present fragment; params are plain strings. */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [system = "", view = ""] = path.split("/").map(decode);
  return { system, view, params: Object.fromEntries(new URLSearchParams(query)) };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** The fragment of a place; empty parameters are left out. */
export function fragment(system, view, params = {}) {
  const kept = Object.entries(params).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(kept).toString();
  return `#/${encodeURIComponent(system)}/${view}${query ? `?${query}` : ""}`;
}

/** Go there; with `replace` without a new entry in the history. */
export function go(system, view, params, { replace = false } = {}) {
  const target = fragment(system, view, params);
  if (target === location.hash) return;
  if (replace) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}
