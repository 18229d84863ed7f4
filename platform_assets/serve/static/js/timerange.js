/**
 * The time that a question is about: the last so-and-so long, a day, from … to …, or a length that ends at a moment.
 *
 * Belongs here: choosing it, and saying which was chosen. It is UTC throughout, and the address holds it as `last`, `from`, `to` and
 * `as_of`, which mean what they mean to the API. Does not: asking.
 */
import { choice, html } from "./parts.js";
import { GRAIN_MS, utc } from "./text.js";

const LASTS = [
  ["15m", "15 min"],
  ["1h", "1 h"],
  ["24h", "24 h"],
  ["7d", "7 d"],
];
const USUAL = "1h";
const A_DAY = "24h";
const DAY = /^\d{4}-\d{2}-\d{2}$/;

const today = () => new Date().toISOString().slice(0, 10);

/** The time as the API takes it; `usual` is the length when none was chosen. */
export const times = ({ last, from, to, as_of: asOf }, usual = USUAL) => ({
  from,
  to,
  as_of: asOf,
  last: from || to ? "" : (last ?? usual),
});

/** Lengths, today, and whatever else; `set` takes the parameters that change. */
export function range(params, set, { lasts = LASTS, usual = USUAL } = {}) {
  const { last = usual, from, to, as_of: asOf } = params;
  const custom = Boolean(from || to || asOf);
  const isToday = asOf === today() && last === A_DAY && !from && !to;
  const chosen = isToday ? "today" : custom ? "custom" : last;
  const pick = (value) => {
    if (value === "custom") return document.getElementById("custom").showPopover();
    if (value === "today") return set({ last: A_DAY, from: "", to: "", as_of: today() });
    return set({ last: value, from: "", to: "", as_of: "" });
  };
  const lengths = lasts.some(([value]) => value === chosen) || custom ? lasts : [...lasts, [chosen, chosen]];
  const options = [...lengths, ["today", "Today"], ["custom", chosen === "custom" ? said({ last, from, to, asOf }) : "Custom"]];
  return html`<div class="range">
    ${choice("Time range", options, chosen, pick)}
    ${panel({ ...params, last }, set)}
  </div>`;
}

/** The chosen time in few words. */
function said({ last, from, to, asOf }) {
  const short = (iso) => utc(iso, { digits: 0 }).replace(/:00$/, "");
  if (from || to)
    return `${from ? short(from) : "…"} – ${to ? short(to).slice(from?.slice(0, 10) === to.slice(0, 10) ? 11 : 0) : "now"}`;
  if (last === A_DAY && DAY.test(asOf)) return asOf;
  return `${last} to ${short(asOf)}`;
}

/** A moment as a date field has it, and back: the field knows no zone, UTC is meant. A day is its end. */
const toField = (iso = "") =>
  (DAY.test(iso) ? new Date(Date.parse(iso) + GRAIN_MS.day).toISOString() : iso).replace(/(\.\d+)?(Z|\+00:00)$/, "").slice(0, 19);
const fromField = (text) => (text ? `${text.length === 16 ? `${text}:00` : text}Z` : "");

function panel({ last, from, to, as_of: asOf }, set) {
  const form = (title, fields, take) => {
    const submit = (event) => {
      event.preventDefault();
      document.getElementById("custom").hidePopover();
      set({ from: "", to: "", last: "", as_of: "", ...take(event.target.elements) });
    };
    return html`<form @submit=${submit}><p class="title">${title}</p>${fields}<button class="button">Show</button></form>`;
  };
  const moment = (name, label, value) =>
    html`<label>${label}<input name=${name} type="datetime-local" step="1" .value=${toField(value)} /></label>`;
  return html`<div id="custom" popover class="panel" aria-label="Another time range">
    ${form(
      "One day",
      html`<label>Day (UTC)<input name="day" type="date" required .value=${DAY.test(asOf ?? "") ? asOf : ""} /></label>`,
      ({ day }) => ({ last: A_DAY, as_of: day.value }),
    )}
    ${form(
      "From – to",
      html`${moment("from", "From (UTC)", from)}${moment("to", "To (empty: now)", to)}`,
      ({ from: since, to: until }) => ({ from: fromField(since.value), to: fromField(until.value) }),
    )}
    ${form(
      "A length that ends at a moment",
      html`<label>Length<input name="length" required pattern="[0-9]{1,5}[smhdw]" title="90s, 15m, 24h, 7d, 2w"
          .value=${from || to ? "" : last} /></label>
        ${moment("end", "Ends at (UTC; empty: now)", asOf)}`,
      ({ length, end }) => ({ last: length.value.trim(), as_of: fromField(end.value) }),
    )}
  </div>`;
}
