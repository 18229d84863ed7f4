/**
 * The line where a question is written: table, query, time.
 *
 * Belongs here: what the search and the live tail share. Does not: asking.
 */
import { live } from "../vendor/lit-html/directives/live.js";
import { choice, html, nothing, select } from "./parts.js";
import { utc } from "./text.js";

const LASTS = [
  ["15m", "15 min"],
  ["1h", "1 h"],
  ["24h", "24 h"],
  ["7d", "7 d"],
];

/** Table and query; `set` takes the parameters that change. */
export function question(system, params, set) {
  const submit = (event) => {
    event.preventDefault();
    set({ q: event.target.elements.q.value.trim() });
  };
  return html`<form class="question" role="search" @submit=${submit}>
    ${select("Table", [["", "All tables"], ...system.tables.map((one) => [one.table, one.table])], params.table ?? "", (table) => set({ table }), "table")}
    <div class="query">
      <input id="q" name="q" type="search" aria-label="Query" .value=${live(params.q ?? "")} maxlength="4096" spellcheck="false"
        autocapitalize="off" autocomplete="off" placeholder=${example(system)} />
      <kbd aria-hidden="true">/</kbd>
    </div>
    <button class="button main">Search</button>
  </form>`;
}

/** A query that this system's contract makes sense of. */
function example(system) {
  const parts = [];
  for (const field of system.tables.flatMap((table) => table.fields)) {
    if (field.enum.length && !parts.length) parts.push(`${field.name}:${field.enum.at(-2) ?? field.enum[0]}`);
    if (field.type === "integer" && parts.length === 1) parts.push(`${field.name}:>=500`);
  }
  return [...parts, '"a phrase"'].join("  ");
}

/** The time range: the last so-and-so long, or from … to …, or as of a moment. */
export function range(params, set) {
  const { last, from, to } = params;
  const custom = Boolean(from || to || params.as_of);
  const chosen = custom ? "custom" : (last ?? "1h");
  const pick = (value) => {
    if (value === "custom") return document.getElementById("custom").showPopover();
    return set({ last: value, from: "", to: "", as_of: "" });
  };
  const words = custom ? spanned(params) : "Custom";
  const options = LASTS.some(([value]) => value === chosen) || custom ? LASTS : [...LASTS, [chosen, chosen]];
  return html`<div class="range">
    ${choice("Time range", [...options, ["custom", words]], chosen, pick)}
    ${customPanel(params, set)}
  </div>`;
}

function spanned({ last, from, to, as_of: asOf }) {
  const short = (iso) => utc(iso, { digits: 0 });
  if (from || to)
    return `${from ? short(from) : "…"} – ${to ? short(to).slice(from?.slice(0, 10) === to.slice(0, 10) ? 11 : 0) : "now"}`;
  return `${last ?? "1h"} before ${short(asOf)}`;
}

/** `2026-01-15T09:30:00Z` as a date field has it, and back: the field knows no zone, UTC is meant. */
const toField = (iso) => (iso ?? "").replace(/(\.\d+)?(Z|\+00:00)$/, "").slice(0, 19);
const fromField = (text) => (text ? `${text.length === 16 ? `${text}:00` : text}Z` : "");

function customPanel(params, set) {
  const take = (event) => {
    event.preventDefault();
    const { from, to, asof, length } = event.target.elements;
    const [since, until, moment] = [from, to, asof].map((field) => fromField(field.value));
    document.getElementById("custom").hidePopover();
    if (since || until) set({ from: since, to: until, last: "", as_of: "" });
    else set({ from: "", to: "", last: length.value.trim() || "1h", as_of: moment });
  };
  const field = (name, label, value) =>
    html`<label>${label}<input name=${name} type="datetime-local" step="1" .value=${live(toField(value))} /></label>`;
  return html`<div id="custom" popover class="panel" aria-label="Custom time range">
    <form @submit=${take}>
      <p class="title">From – to <span class="dim">(UTC)</span></p>
      ${field("from", "From", params.from)} ${field("to", "To (empty: now)", params.to)}
      <p class="title">or a length, as of a moment</p>
      <label>Length<input name="length" pattern="[0-9]{1,5}[smhdw]" placeholder="1h" title="90s, 15m, 24h, 7d, 2w"
        .value=${live(params.from || params.to ? "" : (params.last ?? "1h"))} /></label>
      ${field("asof", "As of (empty: now)", params.as_of)}
      <button class="button main">Apply</button>
    </form>
  </div>`;
}

/** What a question is, without what is only of the reader. */
export const asked = ({ q, table, last, from, to, as_of: asOf }) => ({
  q,
  table,
  from,
  to,
  as_of: asOf,
  last: from || to ? "" : (last ?? "1h"),
});

export const wrong = (problem) =>
  problem?.status === 422
    ? html`<p class="wrong" role="alert">${problem.message}${problem.hint ? html` <span class="dim">(${problem.hint})</span>` : nothing}</p>`
    : nothing;
