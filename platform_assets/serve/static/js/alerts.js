/**
 * Alerts: those that are open, those of the last days, who looks after them.
 *
 * Belongs here: showing, acknowledging and muting. Does not: rules, which the system's `alerts.yaml` declares.
 */
import { ask, seg } from "./api.js";
import { badge, empty, failed, figure, html, loading, moment, nothing, select, shown, since, tell } from "./parts.js";
import { Polled } from "./polled.js";
import { clause, GRAIN_MS, many, narrow } from "./text.js";
import { range, times } from "./timerange.js";

const EVERY_MS = 15_000;
const LASTS = [
  ["24h", "24 h"],
  ["7d", "7 d"],
  ["31d", "31 d"],
];
const USUAL = "7d";
const MOST = 200;
const BEFORE_MS = 5 * 60_000;
const KINDS = { critical: "bad", warning: "warn" };
const MUTES = [
  ["", "Mute…"],
  ["1h", "for 1 hour"],
  ["8h", "for 8 hours"],
  ["1d", "for a day"],
  ["7d", "for a week"],
  ["end", "end muting"],
];

export function alerts(app) {
  const system = app.system.system;
  const polled = new Polled(fetch, app.update, EVERY_MS);
  const busy = new Set();
  let params = {};
  const set = (changed) => app.go("alerts", { ...params, ...changed });

  async function fetch() {
    const one = (state) => ask("/v1/alerts", { params: { system: app.alertSystems(), size: MOST, ...times(params, USUAL), state } });
    try {
      const [open, recent] = await Promise.all([one("open"), one("resolved")]);
      return { open: open.alerts, recent: recent.alerts };
    } catch (error) {
      if (error.status === 404) return { open: [], recent: [], none: true };
      throw error;
    }
  }

  async function act(alert, what, body) {
    busy.add(alert.alert_id);
    app.update();
    try {
      const { alert: after } = await ask(`/v1/${seg(alert.system)}/alerts/${seg(alert.alert_id)}/${what}`, { method: "POST", body });
      const swap = (list) => list.map((one) => (one.alert_id === after.alert_id ? after : one));
      polled.found = { ...polled.found, open: swap(polled.found.open), recent: swap(polled.found.recent) };
      tell(what === "acknowledge" ? "Acknowledged" : "Muting changed");
    } catch (error) {
      tell(`Not done: ${error.message}`);
    }
    busy.delete(alert.alert_id);
    app.update();
  }

  function mute(alert, length) {
    document.getElementById(`mute-${alert.alert_id}`).value = ""; // a list of things to do, not a state
    if (length) act(alert, "mute", { length: length === "end" ? null : length });
  }

  /** The events of about that time, of its table and group. */
  function events(alert) {
    const table = app.system.tables.find((one) => one.table === alert.table);
    const names = new Set(table?.fields.map((field) => field.name));
    const group = Object.entries(groupOf(alert)).filter(([name, value]) => names.has(name) && value !== null);
    const q = group.map(([name, value]) => clause(name, value)).join(" ");
    const from = new Date(Date.parse(alert.opened_at) - BEFORE_MS).toISOString();
    const to = alert.resolved_at ? new Date(Date.parse(alert.resolved_at) + BEFORE_MS).toISOString() : "";
    return app.link("search", { table: table?.table ?? "", q, from, to });
  }

  /** What fails behind it: a mart that counts like errors together and knows the alert's columns; null when there is none. */
  function failures(alert) {
    const group = Object.entries(groupOf(alert)).filter(([, value]) => value !== null);
    const mart = app.system.marts.find((one) => one.example && group.length && group.every(([name]) => one.key.includes(name)));
    if (!mart) return null;
    const slot = GRAIN_MS[mart.grain];
    const begin = Math.floor((Date.parse(alert.opened_at) - BEFORE_MS) / slot) * slot;
    return app.link("figures", {
      mart: mart.mart,
      from: new Date(begin).toISOString(),
      to: alert.resolved_at ? new Date(Date.parse(alert.resolved_at)).toISOString() : "",
      ...Object.fromEntries(group.map(([name, value]) => [`is.${name}`, value])),
    });
  }

  function actions(alert) {
    const waiting = busy.has(alert.alert_id);
    const own = alert.system === system;
    const why = own ? failures(alert) : null;
    return html`<div class="actions">
      ${own ? html`<a class="button" href=${events(alert)}>Its events</a>` : nothing}
      ${why ? html`<a class="button" href=${why}>What fails</a>` : nothing}
      ${alert.state === "open" && !alert.acknowledged_at ? html`<button class="button"
        ?disabled=${waiting}
        @click=${() => act(alert, "acknowledge", {})}>Acknowledge</button>` : nothing}
      ${
        alert.state === "open" && app.me.role === "admin"
          ? select(
              "Mute",
              MUTES.filter(([value]) => value !== "end" || muted(alert)),
              "",
              (value) => mute(alert, value),
              `mute-${alert.alert_id}`,
            )
          : nothing
      }
      ${runbook(alert, app.runbooks)}
    </div>`;
  }

  const card = (alert) => html`<article class="alert ${alert.state} ${KINDS[alert.severity] ?? ""}" data-alert=${alert.alert_id}>
    <div class="head">${badge(alert.severity, alert.state === "open" ? KINDS[alert.severity] : "")}
      <h3>${shown(narrow(alert.summary), { limit: 500 })}</h3></div>
    <p class="dim small">${alert.system === system ? nothing : html`<b>the platform itself</b> · `}${shown(alert.rule)}${alert.table ? html` · ${shown(alert.table)}` : nothing}${named(alert)}
      · opened ${since(alert.opened_at)}${alert.resolved_at ? html` · resolved ${since(alert.resolved_at)}` : html` · seen ${since(alert.updated_at)}`}
      ${alert.threshold === null ? nothing : html`· value <b>${figure(alert.value)}</b> (limit ${figure(alert.threshold)})`}</p>
    ${alert.late ? html`<p class="small">${badge("late")} the events came when their time had passed</p>` : nothing}
    ${alert.held_until ? html`<p class="small">${badge("not told")} not worse than what was told; held until ${moment(alert.held_until, { digits: 0 })} UTC</p>` : nothing}
    ${alert.acknowledged_at ? html`<p class="small">${badge("acknowledged", "good")} by ${shown(alert.acknowledged_by)} ${since(alert.acknowledged_at)}</p>` : nothing}
    ${muted(alert) ? html`<p class="small">${badge("muted")} until ${moment(alert.muted_until, { digits: 0 })} UTC</p>` : nothing}
    ${alert.notify_error ? html`<p class="wrong small">${shown(alert.notify_error)}</p>` : nothing}
    ${actions(alert)}
  </article>`;

  function body() {
    const { found, problem } = polled;
    if (!found) return problem ? failed(problem, polled.again) : loading();
    if (found.none) return empty("No alerts yet", `No rule of ${system} has ever been broken, or alerts are not set up.`);
    return html`${problem ? failed(problem, polled.again) : nothing}
      <section aria-labelledby="open-alerts"><h2 id="open-alerts">${params.as_of || params.to ? "Open at the end of that time" : "Open"} <span class="dim">${found.open.length}</span></h2>
        ${found.open.length ? found.open.map(card) : empty("Nothing is open")}</section>
      <section aria-labelledby="recent-alerts"><h2 id="recent-alerts">Resolved in that time <span class="dim">${found.recent.length}</span></h2>
        ${found.recent.length ? found.recent.map(card) : html`<p class="dim">None.</p>`}</section>
      ${found.open.length + found.recent.length >= MOST ? html`<p class="dim">Only the latest ${many(MOST, "alert")} are shown.</p>` : nothing}`;
  }

  return {
    enter(given) {
      const changed = JSON.stringify(given) !== JSON.stringify(params);
      params = given;
      if (!polled.on || changed) polled.start();
    },
    leave: () => polled.stop(),
    render: () => html`<div class="narrow">
      <div class="bar wrap"><h1>Alerts</h1><span class="grow"></span>${range(params, set, { lasts: LASTS, usual: USUAL })}</div>
      ${body()}
    </div>`,
  };
}

const named = (alert) => Object.entries(groupOf(alert)).map(([name, value]) => html` · ${name} <b>${shown(value, { limit: 80 })}</b>`);

const muted = (alert) => alert.muted_until && Date.parse(alert.muted_until) > Date.now();

/** The columns by which the rule tells incidents apart. */
function groupOf(alert) {
  try {
    return JSON.parse(alert.group ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/** A link to a page elsewhere or to one that the API has; a name that it does not know stays text. */
function runbook({ runbook: page }, known) {
  if (!page) return nothing;
  const target = /^https:\/\//.test(page) ? page : known.includes(page) ? `/runbooks/${page.split("/").map(seg).join("/")}` : "";
  return target
    ? html`<a class="button quiet" href=${target} target="_blank" rel="noopener noreferrer">Runbook</a>`
    : html`<span class="dim small">Runbook: <code>${shown(page)}</code></span>`;
}
