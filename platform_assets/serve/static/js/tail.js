/**
 * The live tail: events as they arrive, the latest on top.
 *
 * Belongs here: asking every two seconds for what is new. The cursor is the bronze commit (`seq`) by table, not the time: what
 * arrives late is new all the same.
 */
import { ask, seg } from "./api.js";
import { OpenEvent } from "./event.js";
import { hitTable, keyOf, listKeys } from "./hits.js";
import { empty, failed, html, loading, nothing } from "./parts.js";
import { question, wrong } from "./querybar.js";
import { count, narrowed } from "./text.js";

const EVERY_MS = 2000;
const AT_FIRST = 50;
const AT_ONCE = 200;
const KEPT = 500;
const WITHIN = "24h";
const CURSOR = "seq";

export function tail(app) {
  const path = `/v1/${seg(app.system.system)}/search`;
  const pick = (wanted, without) => app.go("tail", { ...params, q: narrowed(params.q ?? "", wanted, without) });
  const event = new OpenEvent(app, pick, (hit) => app.link("search", { table: hit._table, q: `id:"${hit.id}"`, last: "7d" }));

  let params = {};
  let hits = null;
  let open = null;
  let fresh = new Set();
  let seen = new Set(); // of what is shown
  let at = new Map(); // the latest commit by table
  let paused = false;
  let problem = null;
  let missed = false;
  let rate = 0;
  let timer = 0;
  let round = null; // the polling that counts; another question begins another one

  function begin() {
    clearTimeout(timer);
    Object.assign(event, { key: null });
    hits = open = problem = null;
    [fresh, seen, at, missed, rate] = [new Set(), new Set(), new Map(), false, 0];
    round = {};
    poll(round);
  }

  const tables = () => app.system.tables.filter((one) => !params.table || one.table === params.table);

  /** What a table has that is new, as far as it can be told; the last commit is asked again, it may have become longer. */
  async function arrived(table) {
    const own = table.fields.some((field) => field.name === CURSOR); // a field of the contract hides the commit
    const known = at.get(table.table);
    const q = known === undefined || own ? (params.q ?? "") : `${params.q ?? ""} ${CURSOR}:>=${known}`;
    const found = await ask(path, { params: { q, table: table.table, last: WITHIN, size: known === undefined ? AT_FIRST : AT_ONCE } });
    const first = known === undefined;
    for (const hit of found.hits) at.set(table.table, Math.max(at.get(table.table) ?? 0, hit._assay.seq));
    const news = found.hits.filter((hit) => !seen.has(keyOf(hit)));
    if (!first && news.length === AT_ONCE) missed = true;
    return news;
  }

  async function poll(mine) {
    if (!document.hidden && !paused) await look(mine);
    if (round === mine) timer = setTimeout(() => poll(mine), EVERY_MS);
  }

  async function look(mine) {
    const answers = await Promise.allSettled(tables().map(arrived));
    if (round !== mine || paused) return;
    // A question about a field that one table lacks is still one for the others.
    const refused = answers.filter((one) => one.status === "rejected").map((one) => one.reason);
    const other = refused.find((one) => one.status !== 422);
    problem = other ?? (refused.length === answers.length ? refused[0] : null);
    const news = answers.flatMap((one) => one.value ?? []);
    const first = hits === null;
    if (!problem || news.length) {
      const times = new Map(app.system.tables.map((one) => [one.table, one.event_time]));
      const later = (a, b) => (a[times.get(a._table)] < b[times.get(b._table)] ? 1 : -1);
      hits = [...news.sort(later), ...(hits ?? [])].slice(0, KEPT);
      seen = new Set(hits.map(keyOf));
      fresh = first ? new Set() : new Set(news.map(keyOf));
      rate = first ? 0 : news.length / (EVERY_MS / 1000);
    }
    app.update();
  }

  function pause() {
    paused = !paused;
    app.update();
    if (!paused) {
      clearTimeout(timer);
      round = {};
      poll(round);
    }
  }

  const toggle = (hit) => {
    open = open === keyOf(hit) ? null : keyOf(hit);
    app.update();
  };

  function state() {
    if (paused) return html`<span class="pulse off"></span><span id="tail-state">Paused</span>`;
    if (problem) return html`<span class="pulse bad"></span><span id="tail-state">No answer; trying again</span>`;
    return html`<span class="pulse"></span><span id="tail-state">Live</span> <span class="dim">${rate ? `${count(Math.round(rate * 10) / 10)} new a second` : "waiting for events"}</span>`;
  }

  return {
    enter(given) {
      const changed = round === null || (given.q ?? "") !== (params.q ?? "") || (given.table ?? "") !== (params.table ?? "");
      params = given;
      if (changed) begin();
    },
    leave() {
      clearTimeout(timer);
      round = {};
    },
    keys(pressed) {
      if (pressed.key === "p") {
        pause();
        return true;
      }
      return listKeys(pressed, { opened: open, close: () => { open = null; app.update(); } });
    },
    render: () => html`<div class="search tail">
      <div class="ask">${question(app.system, params, (changed) => app.go("tail", { ...params, ...changed }))}
        <button id="pause" class="button" aria-pressed=${paused ? "true" : "false"} @click=${pause}>${paused ? "Go on" : "Pause"} <kbd aria-hidden="true">p</kbd></button>
      </div>
      ${wrong(problem)}
      <div class="bar"><p class="live" role="status">${state()}</p><span class="grow"></span><span class="dim small">the latest ${KEPT} at most</span></div>
      ${problem && problem.status !== 422 && hits === null ? failed(problem, begin) : nothing}
      ${missed ? html`<p class="notice">More arrived at once than is shown here: only the newest ${AT_ONCE} of each look. A query narrows it.</p>` : nothing}
      ${hits === null ? (problem ? nothing : loading("Looking")) : hits.length
        ? hitTable({ system: app.system, hits, only: params.table, open, fresh, toggle, pick, detail: (hit) => event.render(hit), label: "Events as they arrive" })
        : empty("Nothing yet", "New events appear here within seconds.")}
    </div>`,
  };
}
