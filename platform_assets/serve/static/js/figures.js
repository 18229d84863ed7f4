/**
 * Figures of the gold marts that the system declares, and its reports of a day.
 *
 * Belongs here: sums over time and the largest groups, of all rows or of those with chosen values, and the rows behind them. Marts,
 * their columns and keys, and reports come from the API. A chosen value is in the address as `is.<column>`; `report` and `day` there
 * say which report is meant: messages link to it so.
 */
import { ask, file, seg } from "./api.js";
import { Chart, legend, merged } from "./chart.js";
import { empty, failed, figure, html, loading, moment, nothing, save, select, shown, tell } from "./parts.js";
import { asText, clause, count, csv, filterable, GRAIN_MS, listed, visible } from "./text.js";
import { range, times } from "./timerange.js";

const LASTS = [
  ["1h", "1 h"],
  ["24h", "24 h"],
  ["7d", "7 d"],
  ["31d", "31 d"],
];
const WIDTHS = { minute: "1m", hour: "1h", day: "1d" };
const GROUPS = 6;
const OTHERS = "others";
const ROWS = 200;
const TOP = 100;
const USUAL = "24h";
const ALL = "*";
const CHOSEN = "is.";
const DAY = /^\d{4}-\d{2}-\d{2}$/;
const NESTED = /\[\]$/;

export function figures(app) {
  const system = app.system.system;
  const marts = app.system.marts;
  const chart = new Chart((from, to) => set({ from, to, last: "", as_of: "" }));
  let params = {};
  let put = "";
  let found = null; // {mart, by, figures, measure, totals, rows, from, to, histogram}
  let problem = null;
  let turn = 0;
  let reporting = false;

  const set = (changed) => app.go("figures", { ...params, ...changed });

  /** What is looked at: the mart, the count, the chosen values and the columns to group by, with what is missing filled in. */
  function choices() {
    const mart = marts.find((one) => one.mart === params.mart) ?? marts[0];
    const having = (figure) => mart.columns.filter((one) => one.figures.includes(figure)).map((one) => one.name);
    const counts = having("sum");
    const means = having("mean").filter((name) => !counts.includes(name));
    const percentile = having("percentile").filter((name) => !NESTED.test(mart.columns.find((one) => one.name === name).type));
    const columns = mart.key.filter((name) => name !== mart.time);
    const where = columns.map((name) => [name, params[CHOSEN + name] ?? ""]).filter(([, value]) => value !== "");
    const groups = columns.filter((name) => !where.some(([chosen]) => chosen === name));
    // Who has chosen a value where examples are wants to see what is behind it.
    const usual = mart.example && where.length ? ALL : (groups[0] ?? "");
    const by = params.by === "-" ? "" : params.by === ALL || groups.includes(params.by) ? params.by : usual;
    return {
      mart,
      counts,
      more: { mean: means, min: having("min"), max: having("max") },
      percentile,
      groups,
      where,
      measure: counts.includes(params.sum) ? params.sum : (counts.find((name) => name === "errors") ?? counts[0]),
      by: by === ALL ? groups : by ? [by] : [],
    };
  }

  const choose = (column, value) => set({ [CHOSEN + column]: value, by: "" });

  async function run() {
    const mine = ++turn;
    const { mart, counts, more, percentile, where, measure, by } = choices();
    const asked = { mart: mart.mart, ...times(params, USUAL), where: where.map(([name, value]) => `${name}:${value}`) };
    const stats = (more) => ask(`/v1/${seg(system)}/stats`, { params: { ...asked, ...more } });
    const sum = [measure, ...counts.filter((name) => name !== measure)];
    // Percentiles of a long time rest on too many rows: then the other figures are shown without them.
    const inAll = () => {
      const figures = { by, sum, ...more, top: TOP };
      return stats({ ...figures, percentile }).catch((error) => {
        if (error.status === 422 && percentile.length) return stats(figures);
        throw error;
      });
    };
    problem = null;
    app.update();
    try {
      const [sums, totals, rows] = await Promise.all([
        measure ? stats({ by: [mart.time, ...by.slice(0, 1)], sum: measure }) : null,
        measure && by.length ? inAll() : null,
        stats({ size: ROWS }),
      ]);
      if (mine !== turn) return;
      found = {
        mart,
        by,
        figures: [...counts, ...Object.values(more).flat(), ...percentile],
        measure,
        totals: totals?.rows,
        rows: rows.rows,
        from: rows.from,
        to: rows.to,
        histogram: sums && histogram(mart, sums.rows, by[0], measure),
      };
      if (found.histogram) chart.show({ sums: found.histogram }, found.from, found.to);
    } catch (error) {
      if (mine !== turn) return;
      problem = error;
    }
    app.update();
  }

  async function report(event) {
    event.preventDefault();
    const { report: name, day, form } = Object.fromEntries(new FormData(event.target));
    reporting = true;
    app.update();
    try {
      save(
        `${system}-${name}-${day}.${form}`,
        await file(`/v1/reports/${seg(name)}/${seg(day)}`, { params: { system, format: form } }),
      );
    } catch (error) {
      tell(error.message);
    }
    reporting = false;
    app.update();
  }

  const yesterday = new Date(Date.now() - GRAIN_MS.day).toISOString().slice(0, 10);
  const reports = () => html`<form class="report" @submit=${report} aria-label="Report of a day">
    <select name="report" aria-label="Report">${app.system.reports.map((one) => html`<option value=${one.name} title=${one.about} ?selected=${one.name === params.report}>${one.title}</option>`)}</select>
    <label for="day">of</label><input id="day" name="day" type="date" required value=${DAY.test(params.day ?? "") ? params.day : yesterday} max=${new Date().toISOString().slice(0, 10)} />
    <select name="form" aria-label="Form"><option value="html">HTML</option><option value="csv">CSV</option><option value="json">JSON</option></select>
    <button class="button" ?disabled=${reporting}>${reporting ? "Fetching…" : "Download"}</button>
  </form>`;

  function controls() {
    const { mart, counts, groups, where, measure, by } = choices();
    const ways = [["-", "in all"], ...groups.map((name) => [name, `by ${name}`])];
    if (groups.length > 1) ways.push([ALL, `by ${listed(groups)}`]);
    return html`<div class="bar wrap">
      ${select(
        "Mart",
        marts.map((one) => [one.mart, one.mart]),
        mart.mart,
        (name) => set({ mart: name, sum: "", by: "" }),
        "mart",
      )}
      ${
        counts.length
          ? select(
              "Count",
              counts.map((name) => [name, `sum of ${name}`]),
              measure,
              (sum) => set({ sum }),
              "count",
            )
          : nothing
      }
      ${groups.length ? select("By", ways, by.length > 1 ? ALL : (by[0] ?? "-"), (name) => set({ by: name }), "by") : nothing}
      <span class="grow"></span>
      ${range(params, set, { lasts: LASTS, usual: USUAL })}
    </div>
    <p class="dim">${mart.description} ${mart.visibility}</p>
    ${
      where.length
        ? html`<ul class="chosen" aria-label="Chosen values">${where.map(
            ([name, value]) => html`<li><button class="button" title="No longer only this ${name}"
              @click=${() => choose(name, "")}>${name} <b>${shown(value, { limit: 80 })}</b> <span aria-hidden="true">×</span></button></li>`,
          )}</ul>`
        : nothing
    }`;
  }

  /** The events behind an example, found in the time that was looked at. */
  function example(id) {
    const { mart, from, to } = found;
    const until = new Date(Date.parse(to) + GRAIN_MS[mart.grain]).toISOString();
    return html`<a href=${app.link("search", { q: clause("id", id), from: new Date(from).toISOString(), to: until })}>one of them</a>`;
  }

  function value(mart, name, one) {
    if (name === mart.time) return moment(one, { digits: 0 });
    if (name === mart.example && one) return example(one);
    const text = shown(one, { limit: 300 });
    if (!choices().groups.includes(name) || !filterable(one)) return typeof one === "number" ? figure(one) : text;
    return html`<button class="value" title="Only this ${name}" @click=${() => choose(name, asText(one))}>${text}</button>`;
  }

  const numeric = (mart, name) =>
    /int|double|float|decimal/i.test(mart.columns.find((one) => one.name === name)?.type ?? "") && !mart.key.includes(name);

  /** What is shown, as a file. */
  function download(mart, names, rows) {
    const decimals = new Set(mart.columns.filter((one) => /^decimal/i.test(one.type)).map((one) => one.name));
    const name = `${system}-${mart.mart}-${found.to.slice(0, 19).replaceAll(":", "")}.csv`;
    save(name, new Blob([csv(names, rows, decimals)], { type: "text/csv;charset=utf-8" }));
  }

  function grid(mart, names, rows, label) {
    return html`<div class="bar"><span class="grow"></span><button class="button quiet" title="This table as CSV, formulas made harmless"
      aria-label=${`Export ${label} as CSV`} @click=${() => download(mart, names, rows)}>Export CSV</button></div>
      <div class="card scroll"><table class="plain" aria-label=${label}>
      <thead><tr>${names.map((name) => html`<th class=${numeric(mart, name) ? "number" : ""} title=${mart.columns.find((one) => one.name === name)?.description ?? ""}>${name}</th>`)}</tr></thead>
      <tbody>${rows.map((row) => html`<tr>${names.map((name) => html`<td class=${numeric(mart, name) ? "number" : ""}>${value(mart, name, row[name])}</td>`)}</tr>`)}</tbody>
    </table></div>`;
  }

  function body() {
    if (problem) return failed(problem, run);
    if (!found) return loading("Summing up");
    const { mart, by, figures, measure, totals, rows } = found;
    if (!rows.length) return empty("No figures in this time", "Figures follow the events by about a minute.");
    const names = mart.columns
      .filter((one) => !NESTED.test(one.type))
      .map((one) => one.name)
      .filter((name) => rows.some((row) => name in row));
    const having = figures.filter((name) => totals?.some((row) => name in row));
    const largest = [...by, ...having, ...(mart.example ? [mart.example] : [])];
    return html`${found.histogram ? html`<section class="over"><div class="bar"><p class="total">${measure}</p>${legend(merged({ sums: found.histogram }))}</div>${chart.node}</section>` : nothing}
      ${totals ? html`<h2>In all, by ${listed(by)}${totals.length === TOP ? html` <span class="dim">the ${TOP} largest</span>` : nothing}</h2>${grid(mart, largest, totals, `Sums by ${listed(by)}`)}` : nothing}
      <h2>Rows <span class="dim">the latest ${count(rows.length)}</span></h2>${grid(mart, names, rows, "Rows")}`;
  }

  return {
    enter(given) {
      params = given;
      const wanted = JSON.stringify(params);
      if (marts.length && wanted !== put) run();
      put = wanted;
    },
    leave() {
      turn++;
      chart.destroy();
    },
    render: () => html`<div class="narrow">
      <div class="bar wrap"><h1>Figures</h1><span class="grow"></span>${app.system.reports.length ? reports() : nothing}</div>
      ${marts.length ? html`${controls()}${body()}` : empty("No marts", `${system} declares no gold marts.`)}
    </div>`,
  };
}

/** Sums by time and group as a histogram: the largest groups, the rest together. */
function histogram(mart, rows, by, measure) {
  const name = (row) => (by ? visible(asText(row[by])) || "none" : measure);
  const sums = new Map();
  for (const row of rows) sums.set(name(row), (sums.get(name(row)) ?? 0) + Number(row[measure]));
  const kept = new Set(
    [...sums]
      .sort((a, b) => b[1] - a[1])
      .slice(0, GROUPS)
      .map(([group]) => group),
  );
  const buckets = new Map();
  // Groups are anybody's text, `constructor` too: where they are kept nothing is inherited.
  for (const row of rows) {
    const bucket = buckets.get(row[mart.time]) ?? { time: row[mart.time], total: 0, parts: Object.create(null) };
    buckets.set(row[mart.time], bucket);
    const group = kept.has(name(row)) ? name(row) : OTHERS;
    bucket.parts[group] = (bucket.parts[group] ?? 0) + Number(row[measure]);
    bucket.total += Number(row[measure]);
  }
  return { interval: WIDTHS[mart.grain], buckets: [...buckets.values()] };
}
