/** What to type and which keys work. Belongs here: the dialog, nothing that changes. */
import { html } from "./parts.js";

/** What a query may be, in the names of a system's own fields; kinds of fields that it does not have are left out. */
function syntax(system) {
  const fields = system.tables.flatMap((table) => table.fields);
  const first = (fits) => fields.find(fits)?.name;
  const listed = fields.find((field) => field.enum.length > 1);
  const [one, other] = (listed?.enum ?? []).slice(-2);
  const number = first((field) => field.type === "integer");
  const word = first((field) => field.index === "keyword" && field.type === "string" && !field.enum.length && !field.pseudonym);
  const { attributes: more } = system.tables.find((table) => table.attributes_searchable) ?? {};
  return [
    ["timeout", "a word, in any text, or the whole of an id"],
    ['"payment failed"', "these words in this order"],
    listed && [`${listed.name}:${one},${other}`, `a field is any of these values; also ${listed.name}:(${one} ${other})`],
    number && [`${number}:>=500`, "also >, <, <= and 100..250"],
    word && [`${word}:a-*  time*`, "begins so; ? is any one character"],
    word && [`${word}:*`, "is there at all"],
    word && [`-${word}:a`, "not so"],
    ["(a OR b) NOT c", "also AND, &&, ||, !; a blank is an AND"],
    more && [`${more}.region:eu`, `a member of ${more}`],
    more && [`${more}."x request id":7`, "one whose name is no plain word"],
  ].filter(Boolean);
}

const KEYS = [
  ["/", "to the query"],
  ["j  k", "next, previous event (also ↓ ↑)"],
  ["Enter", "open or close the event"],
  ["Esc", "close the event; leave the query"],
  ["n", "older events"],
  ["p", "pause or go on (live tail)"],
  ["?", "this help"],
];

export const help = (system) => html`<dialog id="help" aria-labelledby="help-title">
  <form method="dialog"><button class="icon" aria-label="Close">×</button></form>
  <h2 id="help-title">Searching</h2>
  <p>All parts of a query must hold. A click on a value looks for it; with Shift it is left out.</p>
  <dl class="keys">${syntax(system).map(([code, text]) => html`<div><dt><code>${code}</code></dt><dd>${text}</dd></div>`)}</dl>
  <h2>Keys</h2>
  <dl class="keys">${KEYS.map(([code, text]) => html`<div><dt><kbd>${code}</kbd></dt><dd>${text}</dd></div>`)}</dl>
  <p class="dim">Times are UTC; your own time appears when you point at one. Drag across the chart to look closer. The address holds
    everything but the key, so it can be shared. Programs ask the <a href="/docs">HTTP API</a>.</p>
</dialog>`;
