/** What to type and which keys work. Belongs here: the dialog, nothing that changes. */
import { html } from "./parts.js";

const SYNTAX = [
  ["timeout", "a word, in any text, or the whole of an id"],
  ['"payment failed"', "these words in this order"],
  ["level:ERROR,FATAL", "a field is any of these values; also level:(ERROR FATAL)"],
  ["status:>=500", "also >, <, <= and 100..250"],
  ["host:web-*  time*", "begins so; ? is any one character"],
  ["trace_id:*", "is there at all"],
  ["-service:users", "not so"],
  ["(a OR b) NOT c", "also AND, &&, ||, !; a blank is an AND"],
  ["attributes.region:eu", "a member of the attributes"],
  ['attributes."x request id":7', "one whose name is no plain word"],
];

const KEYS = [
  ["/", "to the query"],
  ["j  k", "next, previous event (also ↓ ↑)"],
  ["Enter", "open or close the event"],
  ["Esc", "close the event; leave the query"],
  ["n", "older events"],
  ["p", "pause or go on (live tail)"],
  ["?", "this help"],
];

export const help = html`<dialog id="help" aria-labelledby="help-title">
  <form method="dialog"><button class="icon" aria-label="Close">×</button></form>
  <h2 id="help-title">Searching</h2>
  <p>All parts of a query must hold. A click on a value looks for it; with Shift it is left out.</p>
  <dl class="keys">${SYNTAX.map(([code, text]) => html`<div><dt><code>${code}</code></dt><dd>${text}</dd></div>`)}</dl>
  <h2>Keys</h2>
  <dl class="keys">${KEYS.map(([code, text]) => html`<div><dt><kbd>${code}</kbd></dt><dd>${text}</dd></div>`)}</dl>
  <p class="dim">Times are UTC; your own time appears when you point at one. Drag across the chart to look closer. The address holds
    everything but the key, so it can be shared. Programs ask the <a href="/docs">HTTP API</a>.</p>
</dialog>`;
