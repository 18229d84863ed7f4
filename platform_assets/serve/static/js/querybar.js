/**
 * The line where a question is written: table and query.
 *
 * Belongs here: what the search and the live tail share. Does not: asking.
 */
import { html, nothing, select } from "./parts.js";
import { visible } from "./text.js";
import { times } from "./timerange.js";

/** Table and query; `set` takes the parameters that change. What is half typed stays when the view is drawn again. */
export function question(system, params, set) {
  const submit = (event) => {
    event.preventDefault();
    set({ q: event.target.elements.q.value.trim() });
  };
  return html`<form class="question" role="search" @submit=${submit}>
    ${select("Table", [["", "All tables"], ...system.tables.map((one) => [one.table, one.table])], params.table ?? "", (table) => set({ table }), "table")}
    <div class="query">
      <input id="q" name="q" type="search" aria-label="Query" .value=${params.q ?? ""} maxlength="4096" spellcheck="false"
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

/** What a question is, without what is only of the reader. */
export const asked = (params) => ({ q: params.q, table: params.table, ...times(params) });

/** What is wrong with a query, and where in it. */
export const wrong = (problem, query = "") =>
  problem?.status === 422
    ? html`<div class="wrong" role="alert">
        <p>${problem.message}${problem.hint ? html` <span class="dim">(${problem.hint})</span>` : nothing}</p>
        ${problem.position === undefined ? nothing : place([...query], problem.position)}
      </div>`
    : nothing;

/** The characters of a query, marked from where the mistake is to the next blank, or behind the last. */
function place(characters, at) {
  const blank = characters.findIndex((one, i) => i > at && /\s/.test(one));
  const end = blank < 0 ? characters.length : blank;
  const text = (from, to) => visible(characters.slice(from, to).join(""));
  return html`<code class="place">${text(0, at)}<mark>${at < characters.length ? text(at, end) : "\u00a0"}</mark>${text(end)}</code>`;
}
