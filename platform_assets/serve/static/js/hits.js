/**
 * Events as a table, each of which opens to all that is known of it.
 *
 * Belongs here: columns from the contract's `display`, rows, moving from row to row. Does not: the open event (`event.js`), asking
 * for the rows.
 */
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, severityKind, moment, nothing, shown } from "./parts.js";
import { asText, clause, filterable } from "./text.js";

const CELL_LENGTH = 300;
const SUMMARY_LENGTH = 600;

/** Columns of one table, or those that all tables can be shown in: `{name, label, of(hit)}`; `wide` takes the room that is left. */
export function columns(system, only) {
  const byName = new Map(system.tables.map((table) => [table.table, table]));
  if (only && byName.has(only)) {
    const table = byName.get(only);
    const names = table.display.length ? table.display : table.fields.slice(0, 6).map((field) => field.name);
    const widest = wide(table, names);
    return names.map((name) => ({ name, field: name, kind: kindOf(table, name), wide: name === widest }));
  }
  const severe = system.tables.some((table) => table.severity);
  return [
    { name: "time", kind: "time" },
    { name: "table", kind: "table" },
    ...(severe ? [{ name: "severity", kind: "severity" }] : []),
    { name: "event", kind: "summary", wide: true },
  ];
}

function kindOf(table, name) {
  if (name === table.event_time) return "time";
  if (name === table.severity?.field) return "severity";
  return table.fields.find((field) => field.name === name)?.type ?? "string";
}

/** The column with the longest texts, by what the contract says of them. */
function wide(table, names) {
  const fields = names.map((name) => table.fields.find((field) => field.name === name)).filter(Boolean);
  const free = fields.filter((field) => field.type === "string" && !field.enum.length);
  return (free.find((field) => field.index === "text") ?? free.at(-1) ?? fields.at(-1))?.name;
}

export const keyOf = (hit) => `${hit._table}/${hit.id}`;
export const tableOf = (system, hit) => system.tables.find((table) => table.table === hit._table);

/** The table of `hits`. `open` is the open one's key; `toggle(hit)`, `pick(clause, without)`; `detail(hit)` shows an open event. */
export function hitTable({ system, hits, only, open, fresh, toggle, pick, detail, label }) {
  const shape = columns(system, only);
  return html`<table class="hits" aria-label=${label}>
    <thead>
      <tr><th class="opener"><span class="hidden">Open</span></th>${shape.map(head)}</tr>
    </thead>
    <tbody @keydown=${move}>
      ${repeat(hits, keyOf, (hit) => row({ system, hit, shape, open, fresh, toggle, pick, detail }))}
    </tbody>
  </table>`;
}

const head = (column) =>
  html`<th class="${column.kind} ${column.wide ? "wide" : ""}">
    ${column.name}${column.kind === "time" ? html` <span class="dim">UTC</span>` : nothing}
  </th>`;

function row({ system, hit, shape, open, fresh, toggle, pick, detail }) {
  const table = tableOf(system, hit);
  const key = keyOf(hit);
  const opened = key === open;
  const time = hit[table.event_time];
  const click = (event) => {
    if (event.target.closest("button, a") || getSelection().type === "Range") return;
    toggle(hit);
  };
  return html`<tr class="hit ${severityKind(table, hit)} ${opened ? "open" : ""} ${fresh?.has(key) ? "fresh" : ""}" data-key=${key} @click=${click}>
      <td class="opener"><button aria-expanded=${opened ? "true" : "false"} aria-label=${`Event of ${asText(time)}`}
        @click=${() => toggle(hit)}></button></td>
      ${shape.map((column) => html`<td class="${column.kind} ${column.wide ? "wide" : ""}">${cell(table, hit, column, pick)}</td>`)}
    </tr>
    ${opened ? html`<tr class="detail"><td colspan=${shape.length + 1}>${detail(hit)}</td></tr>` : nothing}`;
}

function cell(table, hit, column, pick) {
  if (column.kind === "time") return moment(hit[table.event_time]);
  if (column.kind === "table") return html`<span class="dim">${hit._table}</span>`;
  if (column.kind === "summary") return summary(table, hit);
  const field = column.field ?? table.severity?.field;
  const value = hit[field];
  if (value === null || value === undefined) return nothing;
  const text =
    column.kind === "severity"
      ? html`<span class="badge ${severityKind(table, hit)}">${shown(value, { limit: 20 })}</span>`
      : shown(value, { limit: CELL_LENGTH });
  if (column.wide || column.kind === "number" || !canPick(table, field, value)) return text;
  return html`<button class="value" tabindex="-1" title="Only this (Shift: without)"
    @click=${(event) => pick(clause(field, value), event.shiftKey)}>${text}</button>`;
}

/** Whether the index can be asked for this field's value. */
export function canPick(table, name, value) {
  const field = table.fields.find((one) => one.name === name);
  return Boolean(field) && field.index !== "none" && filterable(value);
}

/** The fields that people look at first, in one line. */
function summary(table, hit) {
  const names = table.display.filter((name) => name !== table.event_time && name !== table.severity?.field && asText(hit[name]) !== "");
  return names.map(
    (name, i) =>
      html`<span class="said" title=${name}>${i ? html`<i>·</i>` : nothing}${shown(hit[name], { limit: SUMMARY_LENGTH })}</span>`,
  );
}

function move(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && event.target.matches(".opener button")) {
    event.preventDefault();
    focusRow(step, event.target);
  }
}

/** Put the focus on the next or the previous event; true when there is one. */
function focusRow(step, from = document.activeElement) {
  const rows = [...document.querySelectorAll("tr.hit .opener button")];
  const at = rows.indexOf(from.closest?.("tr.hit")?.querySelector(".opener button"));
  const next = rows[at < 0 ? 0 : at + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
  return Boolean(next);
}

/** Keys of a list of events; true when the key was one of them. */
export function listKeys(event, { opened, close }) {
  if (event.key === "j" || (event.key === "ArrowDown" && event.target === document.body)) return focusRow(1);
  if (event.key === "k") return focusRow(-1);
  if (event.key === "Escape" && opened) {
    const button = document.querySelector("tr.hit.open .opener button");
    close();
    button?.focus();
    return true;
  }
  return false;
}
