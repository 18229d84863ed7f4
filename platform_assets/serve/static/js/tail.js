/**
 * The live tail: events as they arrive, the latest on top.
 *
 * Belongs here: asking every two seconds for what is new. The cursor is the bronze commit (`seq`) by table, not the time: what
 * arrives late is new all the same, and so is what a clock that is ahead dates after now. Commits become visible index by index, so
 * the last few are asked again.
 */
import { ask, seg } from "./api.js";
import { OpenEvent } from "./event.js";
import { hitTable, keyOf, listKeys } from "./hits.js";
import { empty, failed, html, loading, nothing } from "./parts.js";
import { question, wrong } from "./querybar.js";
import { count, GRAIN_MS, narrowed } from "./text.js";

const EVERY_MS = 2000;
const AT_FIRST = 50;
const KEPT = 500;
const BACK_MS = GRAIN_MS.day;
const AHEAD_MS = 7 * GRAIN_MS.day; // more than a contract lets an event be ahead, or than this machine's clock is behind
const CURSOR = "seq";
const OVERLAP = 3;

export function tail(app) {
  const path = `/v1/${seg(app.system.system)}/search`;
  const pick = (wanted, without) => app.go("tail", { ...params, q: narrowed(params.q ?? "", wanted, without) });
  const event = new OpenEvent(app, pick, (hit) => app.link("search", { table: hit._table, q: `id:"${hit.id}"`, last: "7d" }));

  let params = {};
  let hits = null;
  let open = null;
  let fresh = new Set();
  let at = new Map(); // by table: {seq, seen}, the latest commit and the events of the last few by their commit
  let paused = false;
  let problem = null;
  let missed = false;
  let rate = 0;
  let timer = 0;
  let round = null; // the polling that counts; another question begins another one

  function begin() {
    clearTimeout(timer);
    event.choose(null);
    hits = open = problem = null;
    [fresh, at, missed, rate] = [new Set(), new Map(), false, 0];
    round = {};
    poll(round);
  }

  const tables = () => app.system.tables.filter((one) => !params.table || one.table === params.table);

  /** The latest events of a table, from its last commits on once one is known; `more` when there are others of those. */
  async function latest(table) {
    const known = at.get(table.table);
    const asked = params.q?.trim() ?? "";
    const since = known && !hidesCommit(table) ? `${CURSOR}:>=${known.seq - OVERLAP}` : "";
    const q = since && asked ? `${since} (${asked})` : since || asked;
    const [from, to] = [-BACK_MS, AHEAD_MS].map((ms) => new Date(Date.now() + ms).toISOString());
    const most = known ? KEPT : AT_FIRST;
    const found = [];
    let cursor;
    do {
      const page = await ask(path, { params: { q, table: table.table, from, to, size: most - found.length, cursor } });
      found.push(...page.hits);
      cursor = page.cursor;
    } while (cursor && found.length < most);
    return { table, found, more: Boolean(known && cursor) };
  }

  /** Those of them that were not there before; from now on they are known. */
  function take({ table, found, more }) {
    const known = at.get(table.table);
    const news = found.filter((hit) => !known?.seen.has(keyOf(hit)));
    missed ||= more;
    if (!found.length) return news;
    const seq = found.reduce((most, hit) => Math.max(most, hit._assay.seq), known?.seq ?? 0);
    const all = [...(known?.seen ?? []), ...found.map((hit) => [keyOf(hit), hit._assay.seq])];
    const kept = hidesCommit(table) ? all.slice(-KEPT) : all.filter(([, one]) => one >= seq - OVERLAP);
    at.set(table.table, { seq, seen: new Map(kept) });
    return news;
  }

  async function poll(mine) {
    if (!document.hidden && !paused) await look(mine);
    if (round === mine) timer = setTimeout(() => poll(mine), EVERY_MS);
  }

  async function look(mine) {
    const answers = await Promise.allSettled(tables().map(latest));
    if (round !== mine || paused) return;
    // A question about a field that one table lacks is still one for the others.
    const refused = answers.filter((one) => one.status === "rejected").map((one) => one.reason);
    const other = refused.find((one) => one.status !== 422);
    problem = other ?? (refused.length === answers.length ? refused[0] : null);
    const news = answers.flatMap((one) => (one.value ? take(one.value) : []));
    const first = hits === null;
    if (!problem || news.length) {
      const times = new Map(app.system.tables.map((one) => [one.table, one.event_time]));
      const later = (a, b) => (a[times.get(a._table)] < b[times.get(b._table)] ? 1 : -1);
      hits = [...news.sort(later), ...(hits ?? [])].slice(0, KEPT);
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
      return listKeys(pressed, {
        opened: open,
        close: () => {
          open = null;
          app.update();
        },
      });
    },
    render: () => html`<div class="search tail">
      <div class="ask">${question(app.system, params, (changed) => app.go("tail", { ...params, ...changed }))}
        <button id="pause" class="button" aria-pressed=${paused ? "true" : "false"}
          @click=${pause}>${paused ? "Go on" : "Pause"} <kbd aria-hidden="true">p</kbd></button>
      </div>
      ${wrong(problem, params.q)}
      <div class="bar"><p class="live" role="status">${state()}</p><span class="grow"></span><span class="dim small">the latest ${KEPT} at most</span></div>
      ${problem && problem.status !== 422 && hits === null ? failed(problem, begin) : nothing}
      ${missed ? html`<p class="notice">More arrives than is looked at here: only the newest ${KEPT} of each look, so that late ones may be missing. A query narrows it.</p>` : nothing}
      ${
        hits === null
          ? problem
            ? nothing
            : loading("Looking")
          : hits.length
            ? hitTable({
                system: app.system,
                hits,
                only: params.table,
                open,
                fresh,
                toggle,
                pick,
                detail: (hit) => event.render(hit),
                label: "Events as they arrive",
              })
            : empty("Nothing yet", "New events appear here within seconds.")
      }
    </div>`,
  };
}

/** A contract's own field of that name hides the commit: then what is shown tells what is new. */
const hidesCommit = (table) => table.fields.some((field) => field.name === CURSOR);
