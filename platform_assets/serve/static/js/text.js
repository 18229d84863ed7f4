/**
 * Values as people read them: hidden characters made visible, times, numbers, clauses of a query, CSV.
 *
 * Belongs here: pure functions from data to text. Does not: the DOM (`parts.js`). What is in a log was written by anybody: text
 * leaves this module as text, never as markup.
 */

/** Escape sequences of terminals, as `core/ansi.py` has them. */
const SEQUENCE =
  /(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)|\x1b(?:[ -/][!-/]{0,2}[0-~]|[0-OQ-WYZ`-~])/u;
/** Control, format (direction, zero width), lone surrogate and line separator characters, and letters without a shape. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu;
const HIDDEN = new RegExp(`${SEQUENCE.source}|${UNSEEN.source}`, "gu");
const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;
/** How long a row of a mart counts, by its grain, in milliseconds. */
export const GRAIN_MS = { minute: 60_000, hour: HOUR_S * 1000, day: DAY_S * 1000 };

/** How a hidden character is shown: `\n`, `\u202e`, `\u{e0001}`. */
function escaped(character) {
  const code = character.codePointAt(0);
  const hex = code.toString(16);
  return SHORT[character] ?? (code > 0xffff ? `\\u{${hex}}` : `\\u${hex.padStart(4, "0")}`);
}

/**
 * Text in pieces, `{text, hidden}`: those that are hidden hold escapes. With `block`, lines and tabs stay as they are; without, the
 * escape sequences of terminals (colours) are left out.
 */
export function pieces(text, { block = false } = {}) {
  const found = [];
  let at = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (block && (match[0] === "\n" || match[0] === "\t")) continue;
    if (match.index > at) found.push({ text: text.slice(at, match.index), hidden: false });
    const sequence = [...match[0]].length > 1;
    if (block || !sequence) found.push({ text: match[0].replace(UNSEEN, escaped), hidden: true });
    at = match.index + match[0].length;
  }
  if (at < text.length) found.push({ text: text.slice(at), hidden: false });
  return found;
}

/** The same as one string, for titles, labels and files. */
export const visible = (text, how) =>
  pieces(text, how)
    .map((piece) => piece.text)
    .join("");

/** Full-width look-alikes as the signs they stand for: messages to chats need them, a page that shows text as text does not. */
export const narrow = (text) => text.replace(/[\uff01-\uff5e]/g, (sign) => String.fromCharCode(sign.charCodeAt(0) - 0xfee0));

/** The first `limit` characters, never half of one. */
export function cut(text, limit) {
  if (text.length <= limit) return text;
  const last = text.charCodeAt(limit - 1);
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? limit - 1 : limit);
}

/** Any JSON value as text; null is empty. */
export function asText(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? asJson(value) : String(value);
}

/** JSON with integers of any length as they were. */
export function asJson(value, indent) {
  const plain = (_, one) => (typeof one === "bigint" ? (JSON.rawJSON?.(String(one)) ?? String(one)) : one);
  return JSON.stringify(value, plain, indent);
}

/** JSON text as a value; integers that a double would round become BigInt. */
export function parseJson(text) {
  const exact = (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
      ? BigInt(context.source)
      : value;
  return JSON.parse(text, exact);
}

/** Members of nested objects as `[path, value]`, arrays as they are. */
export function flatten(value, path) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[path, value]];
  return Object.entries(value).flatMap(([name, one]) => flatten(one, `${path}.${name}`));
}

// -- numbers and times -----------------------------------------------------------------------------------------------------

export const count = (number) => Number(number).toLocaleString("en-US");

/** `a, b and c`. */
export const listed = (names) => names.join(", ").replace(/, ([^,]*)$/, " and $1");

/** `1 event`, `2 events`. */
export const many = (number, what) => `${count(number)} ${what}${Number(number) === 1 ? "" : "s"}`;

/** ISO 8601 as `2026-01-15 09:30:00.123` in UTC; what is no time stays as it is. */
export function utc(iso, { date = true, digits = 3 } = {}) {
  const match = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.(\d+))?(?:Z|\+00:00)$/.exec(iso ?? "");
  if (!match) return visible(asText(iso));
  const fraction = digits ? `.${(match[3] ?? "").padEnd(digits, "0").slice(0, digits)}` : "";
  return `${date ? `${match[1]} ` : ""}${match[2]}${fraction}`;
}

/** The same moment where the reader is. */
export function local(iso) {
  const time = new Date(iso);
  return Number.isNaN(time.getTime())
    ? ""
    : `Here: ${time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" })}`;
}

/** A length in its two largest units: `2 h 5 min`. */
export function length(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const [unit, below, size] = s < HOUR_S ? ["min", "s", 60] : s < DAY_S ? ["h", "min", HOUR_S] : ["d", "h", DAY_S];
  const rest = Math.floor((s % size) / { s: 1, min: 60, h: HOUR_S }[below]);
  return `${Math.floor(s / size)} ${unit}${rest && s < 10 * DAY_S ? ` ${rest} ${below}` : ""}`;
}

/** How long ago. */
export const ago = (iso, now = Date.now()) => `${length((now - Date.parse(iso)) / 1000)} ago`;

/** `15m` in seconds; null when it is none. */
export function duration(text) {
  const match = /^(\d{1,5})([smhdw])$/.exec(text ?? "");
  return match ? Number(match[1]) * { s: 1, m: 60, h: HOUR_S, d: DAY_S, w: 7 * DAY_S }[match[2]] : null;
}

// -- the query ---------------------------------------------------------------------------------------------------------------

const MARK = /\\.|"(?:[^"\\]|\\.)*"|[()]|\s+|[^\s"()\\]+|./gsu;
const OPERATOR = /^(?:AND|OR|NOT|!)$|&&|\|\|/;
const EITHER = /^OR$|\|\|/;
const BARE = /^(?!(?:AND|OR|NOT)$)[A-Za-z0-9_][A-Za-z0-9_-]*$/;
const NAME = /^[A-Za-z_]\w*(?:\.[\w@$/-]+)*$/;
const FILTER_LENGTH = 500;

/** Whether a click can look for this value: it must fit into one line of a query. */
export function filterable(value) {
  const text = asText(value);
  return text.trim() !== "" && text.length <= FILTER_LENGTH && typeof value !== "object" && !/[\p{Cc}\p{Cs}]/u.test(text);
}

/** Whether a query can name this member: names fit into one line too. */
export const nameable = (name) => name.length <= FILTER_LENGTH && !/[\p{Cc}\p{Cs}]/u.test(name);

const quoted = (text) => `"${text.replace(/[\\"]/g, "\\$&")}"`;

/** `field:value` as the query language takes it literally. */
export function clause(field, value) {
  const text = String(value);
  return `${NAME.test(field) ? field : quoted(field)}:${BARE.test(text) ? text : quoted(text)}`;
}

/** `field:(a b)`: the field is any of these values. */
export function anyOf(field, values) {
  if (values.length === 1) return clause(field, values[0]);
  const [name] = clause(field, "x").split(/:x$/);
  return `${name}:(${values.map((one) => (BARE.test(one) ? one : quoted(one))).join(" ")})`;
}

/** What stands between the blanks of a query, parentheses and quotation marks as a whole. */
function parts(query) {
  const found = [""];
  let depth = 0;
  for (const [mark] of query.matchAll(MARK)) {
    if (mark === "(") depth += 1;
    if (mark === ")") depth -= 1;
    if (depth < 1 && /^\s/.test(mark)) found.push("");
    else found[found.length - 1] += mark;
  }
  return found.filter((one) => one !== "");
}

/** The query with that clause, or its negation; where nothing but blanks joins its parts, not twice and never both. */
export function narrowed(query, wanted, without) {
  const added = without ? `-${wanted}` : wanted;
  const given = parts(query);
  const bare = (one) => one.replace(/"(?:[^"\\]|\\.)*"/gs, "").replace(/\(.*\)/gs, "");
  if (!given.some((one) => OPERATOR.test(bare(one))))
    return [...given.filter((one) => one !== wanted && one !== `-${wanted}`), added].join(" ");
  if (given.some((one) => EITHER.test(bare(one)))) return `(${query.trim()}) ${added}`;
  return given.at(-1) === added ? query : `${query.trim()} ${added}`;
}

// -- CSV ---------------------------------------------------------------------------------------------------------------------

/** What spreadsheets take for a formula, full-width forms included; `reports/render.py` has the same. `\s` alone differs there. */
const FORMULA = /^[\s\0\x1c-\x1f\x85\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20|%]|^[\t\r\n]/;

/** One cell, quoted. Text that a spreadsheet would run is made text by an apostrophe; numbers stay numbers. */
function cell(value, decimal) {
  const text = asText(value);
  const safe = typeof value === "string" && !decimal && FORMULA.test(text) ? `'${text}` : text;
  return `"${visible(safe, { block: true }).replaceAll('"', '""')}"`;
}

/** Rows as CSV (RFC 4180, with the mark by which spreadsheets know UTF-8); `decimals` are columns of numbers given as text. */
export function csv(columns, rows, decimals = new Set()) {
  const header = columns.map((name) => cell(name)).join(",");
  const lines = rows.map((row) => columns.map((name) => cell(row[name], decimals.has(name))).join(","));
  return `\ufeff${[header, ...lines].join("\r\n")}\r\n`;
}
