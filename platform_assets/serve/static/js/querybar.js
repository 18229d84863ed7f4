/**
 * The line where a question is written: table and query.
 *
 * Belongs here: what the search and the live tail share. Does not: asking.
 */
import { html, nothing, select } from "./parts.js";
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

export const wrong = (problem) =>
  problem?.status === 422
    ? html`<p class="wrong" role="alert">${problem.message}${problem.hint ? html` <span class="dim">(${problem.hint})</span>` : nothing}</p>`
    : nothing;
