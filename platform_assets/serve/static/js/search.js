/**
 * Searching: a question, a chart of its answer over time, the hits newest first.
 *
 * Belongs here: asking for pages and showing them. The question is the address's fragment; nothing else holds it.
 */
import { ask, seg } from "./api.js";
import { Chart, legend, merged } from "./chart.js";
import { OpenEvent } from "./event.js";
import { hitTable, keyOf, listKeys } from "./hits.js";
import { copy, empty, failed, html, loading, moment, nothing, save, tell } from "./parts.js";
import { Person } from "./person.js";
import { asked, question, wrong } from "./querybar.js";
import { anyOf, count, csv, listed, narrowed } from "./text.js";
import { range } from "./timerange.js";

const PAGE = 100;
const MOST_SHOWN = 5000;
const MOST_EXPORTED = 10_000;
const EXPORT_PAGE = 1000;

/** The question that only this event answers. */
const alone = (hit) => ({ table: hit._table, q: `id:"${hit.id}"`, last: "7d" });

/** The API's counts by severity as the chart takes them. */
const bySeverity = (histogram) =>
  Object.fromEntries(
    Object.entries(histogram).map(([table, { interval, buckets }]) => [
      table,
      { interval, buckets: buckets.map(({ time, total, severities }) => ({ time, total, parts: severities })) },
    ]),
  );

/** UTC as an address likes it: a plus would be a space there. */
const asZ = (iso) => iso.replace("+00:00", "Z");

export function search(app) {
  const path = `/v1/${seg(app.system.system)}/search`;
  const set = (changed) => {
    const next = { ...params, open: "", ...changed };
    if (JSON.stringify(asked(next)) === put)
      run(); // asked again: time has gone on
    else app.go("search", next);
  };
  const pick = (wanted, without) => set({ q: narrowed(params.q ?? "", wanted, without) });
  const person = new Person(app, () => {
    answer = null; // whose events are shown must not be in doubt
    run();
  });
  const event = new OpenEvent(app, pick, (hit) =>
    app.link("search", { ...(person.asked ? alone(hit) : frozen()), open: keyOf(hit) }),
  );
  const chart = new Chart((from, to) => set({ from, to, last: "", as_of: "" }), app.system.severities);

  let params = {};
  let put = ""; // the question that was asked, to know when it changes
  let answer = null; // {hits, total, cursor, from, to, took_ms, histogram, of}; `of` is the question that it answers
  let problem = null;
  let asking = null; // what ends the request that is under way
  let more = null; // "busy", or the problem of the last page
  let exporting = false;

  /** The question with its time range as it was answered: it gives the same answer tomorrow. */
  const frozen = () =>
    answer
      ? { ...params, last: "", as_of: "", from: asZ(answer.from), to: asZ(answer.to) }
      : params;

  /** One page of the answer to a question; a person's is asked for in a body, which no address shows. */
  function page(of, more, signal) {
    const put = { ...of.params, ...more };
    if (!of.person) return ask(path, { params: put, signal });
    const given = Object.fromEntries(Object.entries(put).filter(([, value]) => value !== undefined && value !== ""));
    return ask(`${path}/user`, { method: "POST", body: { ...given, ...of.person }, signal });
  }

  async function run() {
    asking?.abort();
    const mine = (asking = new AbortController());
    const of = { params: asked(params), person: person.asked };
    problem = more = null;
    app.update();
    try {
      const found = await page(of, { size: PAGE, histogram: true }, mine.signal);
      if (asking !== mine) return;
      answer = { ...found, of };
      more = null; // it was about the answer before
      chart.show(bySeverity(found.histogram), found.from, found.to);
    } catch (error) {
      if (asking !== mine || error.name === "AbortError") return;
      problem = error;
    }
    asking = null;
    app.update();
  }

  async function older() {
    if (!answer?.cursor || more === "busy") return;
    const before = answer;
    more = "busy";
    app.update();
    try {
      const found = await page(before.of, { size: PAGE, cursor: before.cursor });
      if (answer !== before) return;
      answer = { ...before, hits: [...before.hits, ...found.hits], cursor: found.cursor };
      more = null;
    } catch (error) {
      if (answer === before) more = error;
    }
    app.update();
  }

  /** All of the answer that is shown now, whatever is asked meanwhile. */
  async function download() {
    const shown = answer;
    exporting = true;
    app.update();
    try {
      let { hits, cursor } = shown;
      while (cursor && hits.length < MOST_EXPORTED) {
        const found = await page(shown.of, { size: EXPORT_PAGE, cursor });
        hits = [...hits, ...found.hits];
        cursor = found.cursor;
      }
      const tables = app.system.tables.filter((one) => hits.some((hit) => hit._table === one.table));
      const names = tables.flatMap((one) => [
        ...one.fields.map((field) => field.name),
        ...(one.attributes ? [one.attributes] : []),
      ]);
      const decimals = tables.flatMap((one) => one.fields.filter((field) => field.type.startsWith("decimal")).map((field) => field.name));
      const text = csv(["id", "_table", ...new Set(names)], hits.slice(0, MOST_EXPORTED), new Set(decimals));
      save(
        `${app.system.system}-${shown.to.slice(0, 19).replaceAll(":", "")}.csv`,
        new Blob([text], { type: "text/csv;charset=utf-8" }),
      );
      if (cursor || hits.length > MOST_EXPORTED)
        tell(`The newest ${count(MOST_EXPORTED)} events are in the file; narrow the search for the others`);
    } catch (error) {
      tell(error.message);
    }
    exporting = false;
    app.update();
  }

  /** Looks for a severity, where the tables of the answer agree on the field that says it. */
  function severityPicker() {
    const scales = app.system.tables.filter((one) => answer.tables.includes(one.table) && one.severity).map((one) => one.severity);
    if (new Set(scales.map((one) => one.field)).size !== 1) return null;
    const values = (rank) => scales.flatMap(({ scale }) => Object.keys(scale).filter((value) => scale[value] === rank));
    return (rank, without) => pick(anyOf(scales[0].field, [...new Set(values(rank))]), without);
  }

  /** What a limited key does not see of the tables that are asked. */
  function closed() {
    const { only } = app.me;
    const names = app.system.tables
      .filter((one) => !one.row_policy && (!params.table || one.table === params.table))
      .map((one) => one.table);
    if (only === null || !names.length) return nothing;
    return html`<p class="dim small" id="closed">This key is limited to ${listed(only)}. It sees no row of ${listed(names)}: no row policy
      says which of them are its own.</p>`;
  }

  const toggle = (hit) => app.go("search", { ...params, open: params.open === keyOf(hit) ? "" : keyOf(hit) }, { replace: true });

  function results() {
    if (problem && problem.status !== 422) return failed(problem, run);
    if (problem) return nothing;
    if (!answer) return loading("Searching");
    const { hits, cursor } = answer;
    if (!hits.length)
      return empty("Nothing found", "No event of this time range matches. A longer range or fewer conditions may help.");
    return html`${hitTable({ system: app.system, hits, only: params.table, open: params.open, toggle, pick, detail: (hit) => event.render(hit), label: "Events, newest first" })}
      ${more && more !== "busy" ? failed(more, older) : nothing}
      <div class="end">${
        !cursor
          ? html`<p class="dim">These are all.</p>`
          : hits.length >= MOST_SHOWN
            ? html`<p class="dim">${count(hits.length)} events are shown. Narrow the search to see older ones, or export them.</p>`
            : html`<button class="button" id="older"
              ?disabled=${more === "busy"}
              @click=${older}>${more === "busy" ? "Loading…" : "Older events"}</button>`
      }</div>`;
  }

  function summary() {
    if (!answer || problem) return nothing;
    const { total, from, to, took_ms: took, hits } = answer;
    const otherDay = from.slice(0, 10) !== to.slice(0, 10);
    const counted = merged(bySeverity(answer.histogram), app.system.severities);
    return html`<section class="over" aria-label="Events over time">
      <div class="bar">
        <p class="total"><strong id="total">${total.exact ? "" : "over "}${count(total.value)}</strong> ${total.value === 1 ? "event" : "events"}
          <span class="dim">${moment(asZ(from), { digits: 0 })} – ${moment(asZ(to), { digits: 0, date: otherDay })} · ${count(took)} ms</span></p>
        ${legend(counted, severityPicker())}
        <span class="grow"></span>
        <span class="pair">${
          person.asked
            ? nothing
            : html`<button class="button quiet" title="Copy a link to this question and this time"
          @click=${() => copy(new URL(app.link("search", frozen()), location).href, "The link")}>Copy link</button>`
        }
        <button class="button quiet"
          ?disabled=${exporting || !hits.length} title="These events as CSV, formulas made harmless"
          @click=${download}>${exporting ? "Exporting…" : "Export CSV"}</button></span>
      </div>
      ${chart.node}
    </section>`;
  }

  return {
    enter(given) {
      params = given;
      event.choose(params.open ?? null);
      const wanted = JSON.stringify(asked(params));
      if (wanted === put) return;
      put = wanted;
      run();
    },
    leave() {
      asking?.abort();
      chart.destroy();
    },
    keys(pressed) {
      if (pressed.key === "n" && answer?.cursor) {
        older();
        return true;
      }
      return listKeys(pressed, {
        opened: params.open,
        close: () => app.go("search", { ...params, open: "" }, { replace: true }),
      });
    },
    render: () => html`<div class="search ${asking ? "busy" : ""}">
      <div class="ask">${question(app.system, params, set)} ${range(params, set)} ${person.render()}</div>
      ${closed()} ${wrong(problem, params.q)} ${summary()}
      <div aria-busy=${asking ? "true" : "false"}>${results()}</div>
    </div>`,
  };
}
