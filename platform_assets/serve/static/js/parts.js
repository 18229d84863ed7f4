/**
 * Small pieces of the page that every view uses.
 *
 * Belongs here: templates without state, the clipboard, files for the reader. Does not: asking the API, or one view's own layout.
 */
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ago, asText, count, cut, local, pieces, utc, visible } from "./text.js";

export { html, nothing };

/** Data as text nodes; hidden characters as marked escapes. `limit` cuts what would be too long to read here. */
export function shown(value, { limit = Infinity, block = false } = {}) {
  const text = asText(value);
  const short = cut(text, limit);
  const parts = pieces(short, { block });
  const nodes = parts.map((part) =>
    part.hidden ? html`<span class="escape" title="A hidden character of the text">${part.text}</span>` : part.text,
  );
  return short.length < text.length ? [...nodes, html`<span class="dim">…</span>`] : nodes;
}

/** A moment in UTC, with the reader's own time on hover. */
export const moment = (iso, how) =>
  iso
    ? html`<time datetime=${iso} title=${`${utc(iso, { digits: 6 })} UTC\n${local(iso)}`}>${utc(iso, how)}</time>`
    : html`<span class="dim">–</span>`;

/** How long ago a moment was, with the moment on hover. */
export const since = (iso) =>
  iso
    ? html`<time class="ago" datetime=${iso} title=${`${utc(iso)} UTC\n${local(iso)}`}>${ago(iso)}</time>`
    : html`<span class="dim">never</span>`;

/** A number for people; four digits of what is not whole. */
export const figure = (number) =>
  Number.isInteger(number) ? count(number) : number.toLocaleString("en-US", { maximumSignificantDigits: 4 });

export const badge = (text, kind = "") => html`<span class="badge ${kind}">${text}</span>`;

/** Classes of how severe a row is, by the scale of its table; empty where the contract gives none. */
export function severityKind(table, row) {
  if (!table.severity) return "";
  const { field, scale } = table.severity;
  return `severity ${Object.hasOwn(scale, row[field] ?? "") ? scale[row[field]] : ""}`;
}

const WORDS = {
  0: "No answer",
  403: "Not allowed",
  404: "Not there",
  409: "Busy",
  422: "The question is not understood",
  429: "Too many requests",
  503: "Not available now",
};

/** A problem in plain words, and a way to try again. */
export function failed(problem, again) {
  const title = WORDS[problem.status] ?? "That did not work";
  return html`<div class="notice bad" role="alert">
    <p><strong>${title}.</strong> ${visible(problem.message)}</p>
    ${problem.hint ? html`<p>${visible(problem.hint)}</p>` : nothing}
    ${problem.request ? html`<p class="dim small">Request <code>${problem.request}</code></p>` : nothing}
    ${again ? html`<p><button class="button" @click=${again}>Try again</button></p>` : nothing}
  </div>`;
}

export const empty = (title, text = "") =>
  html`<div class="empty"><p class="title">${title}</p>${text ? html`<p>${text}</p>` : nothing}</div>`;

export const loading = (text = "Loading") =>
  html`<p class="loading" role="status"><span class="spinner" aria-hidden="true"></span>${text}…</p>`;

/** One choice of several, as a row of buttons: `[value, label]`. */
export function choice(label, options, chosen, pick) {
  return html`<div class="segments" role="group" aria-label=${label}>
    ${options.map(
      ([value, text]) =>
        html`<button type="button" aria-pressed=${value === chosen ? "true" : "false"} @click=${() => pick(value)}>${text}</button>`,
    )}
  </div>`;
}

/** A drop-down list: `[value, label]`. */
export function select(label, options, chosen, pick, id) {
  return html`<label class="select"><span class="hidden">${label}</span
    ><select id=${id} aria-label=${label} @change=${(event) => pick(event.target.value)}>
      ${options.map(([value, text]) => html`<option value=${value} .selected=${value === chosen}>${text}</option>`)}
    </select></label
  >`;
}

/** Names and values, one a line. */
export const facts = (pairs) =>
  html`<dl class="facts">${pairs.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

/** Hand the reader a file. */
export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

let told = 0;
/** Say something for a moment. */
export function tell(text) {
  const box = document.getElementById("told");
  box.textContent = text;
  box.classList.add("on");
  clearTimeout(told);
  told = setTimeout(() => box.classList.remove("on"), 2500);
}

/** Copy text. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    tell(`${what} copied`);
  } catch {
    tell("The browser does not let this page copy; mark the text instead");
  }
}
