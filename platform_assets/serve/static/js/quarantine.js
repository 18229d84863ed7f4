/**
 * What was rejected and why, and sending it through again.
 *
 * Belongs here: rejects by reason, replay. For administrators; every look and every replay is in the audit trail.
 */
import { ask, seg } from "./api.js";
import { choice, empty, failed, html, loading, moment, nothing, shown, since } from "./parts.js";
import { count, many } from "./text.js";

const LASTS = [
  ["24h", "24 h"],
  ["7d", "7 d"],
  ["30d", "30 d"],
];

export function quarantine(app) {
  const system = app.system.system;
  let params = {};
  let found = null;
  let problem = null;
  let put = "";
  let turn = 0;
  const replays = {}; // by table: {busy} | {tried} | {done} | {problem}

  const set = (changed) => app.go("quarantine", { ...params, ...changed });

  async function run() {
    const mine = ++turn;
    const { table, reason, last } = params;
    [found, problem] = await ask(`/v1/${seg(system)}/quarantine`, { params: { table, reason, last: last ?? "24h", size: 50 } })
      .then(
        (one) => [one, null],
        (error) => [null, error],
      )
      .then((both) => (mine === turn ? both : [found, problem]));
    app.update();
  }

  async function replay(table, dryRun) {
    replays[table] = { busy: true };
    app.update();
    try {
      const report = await ask(`/v1/${seg(system)}/${seg(table)}/replay`, { method: "POST", body: { dry_run: dryRun } });
      replays[table] = { [dryRun ? "tried" : "done"]: report.tables[table] };
      if (!dryRun) run();
    } catch (error) {
      replays[table] = { problem: error };
    }
    app.update();
  }

  function replayed(table) {
    const now = replays[table] ?? {};
    const rejected = (one) => Object.values(one.still_rejected).reduce((a, b) => a + b, 0);
    const said = (one) =>
      [
        `${many(one.looked_at + one.index_looked_at, "reject")} looked at: ${count(one.accepted + one.index_accepted)} accepted`,
        `${count(one.duplicates)} duplicates`,
        `${count(rejected(one))} still rejected`,
        ...(one.unavailable ? [`${count(one.unavailable)} no longer in bronze`] : []),
      ].join(", ");
    return html`<div class="replay">
      <button class="button" ?disabled=${now.busy} @click=${() => replay(table, true)}>${now.busy ? "At work…" : "Try a replay"}</button>
      ${
        now.tried
          ? html`<p role="status">It would do this: ${said(now.tried)}.
          ${now.tried.changed ? html`<button class="button main"
            @click=${() => replay(table, false)}>Replay ${many(now.tried.changed, "reject")}</button>` : html`<span class="dim">Nothing to replay.</span>`}</p>`
          : nothing
      }
      ${now.done ? html`<p role="status" class="good">Done. ${said(now.done)}.</p>` : nothing}
      ${now.problem ? failed(now.problem) : nothing}
    </div>`;
  }

  function section([table, { reasons, latest }]) {
    const total = reasons.reduce((sum, one) => sum + one.rejects, 0);
    return html`<section class="card" data-table=${table} aria-label=${`Quarantine of ${table}`}>
      <div class="head"><h2>${table}</h2><span class="dim">${many(total, "reject")}</span></div>
      ${
        reasons.length
          ? html`<div class="scroll"><table class="plain">
          <thead><tr><th>reason</th><th>stage</th><th class="number">rejects</th><th>latest</th></tr></thead>
          <tbody>${reasons.map(
            (one) => html`<tr>
            <td><button class="value" aria-pressed=${params.reason === one.reason ? "true" : "false"}
              @click=${() => set({ reason: params.reason === one.reason ? "" : one.reason, table })}>${shown(one.reason)}</button></td>
            <td>${one.stage}</td><td class="number">${count(one.rejects)}</td><td>${since(one.latest)}</td></tr>`,
          )}</tbody>
        </table></div>
        <details
          ?open=${Boolean(params.reason)}><summary>The latest ${params.reason ? html`with <code>${shown(params.reason)}</code>` : nothing}</summary>
          ${latest.map(
            (one) => html`<div class="reject">
            <p class="small"><code>${one.id}</code> <span class="dim">${moment(one.landed_at)} · ${one.stage} · ${shown(one.reason)} · ${count(one.value_bytes ?? 0)} bytes</span></p>
            ${one.detail ? html`<p class="small">${shown(one.detail, { limit: 500 })}</p>` : nothing}
            <pre>${shown(one.excerpt ?? "", { block: true, limit: 2000 })}</pre></div>`,
          )}
        </details>
        ${replayed(table)}`
          : html`<p class="dim">Nothing was rejected in this time.</p>${replays[table] ? replayed(table) : nothing}`
      }
    </section>`;
  }

  function body() {
    if (problem) return failed(problem, run);
    if (!found) return loading("Reading the quarantine");
    const tables = Object.entries(found.tables);
    return tables.length ? tables.map(section) : empty("No tables");
  }

  return {
    enter(given) {
      params = given;
      const wanted = JSON.stringify([params.table, params.reason, params.last]);
      if (wanted !== put) run();
      put = wanted;
    },
    leave: () => turn++,
    render: () => html`<div class="narrow">
      <div class="bar"><h1>Quarantine</h1><span class="grow"></span>
        ${params.reason || params.table ? html`<button class="button quiet"
          @click=${() => set({ reason: "", table: "" })}>All tables and reasons</button>` : nothing}
        ${choice("Landed in the last", LASTS, params.last ?? "24h", (last) => set({ last }))}</div>
      <p class="dim">Excerpts are scrubbed of personal data. Looking here is in the audit trail.</p>
      ${body()}
    </div>`,
  };
}
