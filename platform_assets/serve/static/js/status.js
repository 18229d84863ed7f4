/** How fresh each table is. Belongs here: what `assay status` says, as cards. */
import { ask } from "./api.js";
import { badge, facts, failed, html, loading, nothing, shown, since } from "./parts.js";
import { Polled } from "./polled.js";
import { count, length, many } from "./text.js";

const EVERY_MS = 10_000;

export function status(app) {
  const polled = new Polled(read, app.update, EVERY_MS);

  async function read() {
    const [state, declared] = await Promise.all([ask("/v1/status"), ask("/v1/systems")]);
    return { ...state, declared: declared.systems, mistakes: declared.mistakes };
  }

  /** Good, warn or bad, by what the contract promises. */
  function verdict(table, promise) {
    const age = table.watermark_age_s;
    if (table.error) return ["not readable", "bad"];
    if (age === null || age === undefined) return [table.rows ? "only history" : "no events yet", ""];
    if (age > promise.freshness_fail_s) return [`${length(age)} old`, "bad"];
    return [`${length(age)} old`, age > promise.freshness_warn_s ? "warn" : "good"];
  }

  function card(table) {
    const declared = polled.found.declared.find((one) => one.system === app.system.system);
    const promise = declared?.tables.find((one) => one.table === table.table);
    if (!promise) return nothing; // declared or removed between the two questions
    const [words, kind] = verdict(table, promise);
    const number = (value) => (value === null || value === undefined ? html`<span class="dim">not known</span>` : count(value));
    return html`<article class="card ${kind}" data-table=${table.table}>
      <div class="head"><h3>${table.table}</h3>${badge(words, kind)}</div>
      <p class="dim small">${promise.description}</p>
      ${facts([
        ["newest event", table.rows && !table.watermark ? html`<span class="dim">history does not count</span>` : since(table.watermark)],
        ["last commit", since(table.last_commit)],
        ["lag in the topic", html`${number(table.lag)}${table.lag ? " records" : nothing}`],
        ["index behind", html`${number(table.index_behind)}${table.index_behind ? " commits" : nothing}`],
        ["rows in silver", number(table.rows)],
        [
          "in quarantine",
          html`${number(table.quarantined)}${table.quarantined_recent ? html` <span class="dim">(${count(table.quarantined_recent)} since yesterday)</span>` : nothing}`,
        ],
        ["refused by the index", number(table.index_refused)],
        ...(table.key?.length ? [["duplicates with other values", number(table.conflicts)]] : []),
      ])}
      <p class="dim small">Promised: ${length(promise.freshness_warn_s)}, alarm at ${length(promise.freshness_fail_s)}.</p>
      ${table.error ? html`<p class="wrong small">${shown(table.error)}</p>` : nothing}
      ${(table.unanswered ?? []).map((why) => html`<p class="wrong small">${shown(why)}</p>`)}
    </article>`;
  }

  function body() {
    const { found, problem } = polled;
    if (!found) return problem ? failed(problem, polled.again) : loading();
    const facts = found.systems.find((one) => one.system === app.system.system);
    const gaps = facts?.gaps ?? [];
    return html`${problem ? failed(problem, polled.again) : nothing}
      ${found.mistakes.length ? wrong(found.mistakes) : nothing}
      ${facts && facts.gaps === null ? html`<p class="notice">The broker does not answer: lags and gaps are not known.</p>` : nothing}
      ${gaps.length ? stopped(gaps.length) : nothing}
      <div class="cards">${facts?.tables.map(card)}</div>`;
  }

  return {
    enter: () => polled.on || polled.start(),
    leave: () => polled.stop(),
    render: () => html`<div class="narrow"><h1>Freshness and lag</h1>${body()}</div>`,
  };
}

const stopped = (partitions) => html`<p class="notice bad" role="alert">
  ${many(partitions, "partition")} stopped at a gap: records were deleted before they were read. An operator accepts it with
  <code>assay gap</code>.
</p>`;

/** What is wrong with contracts, rules, reports and marts of all systems that the key is for. */
const wrong = (mistakes) => html`<section class="notice bad" role="alert">
  <p>${many(mistakes.length, "mistake")} in what systems declare. What is wrong stands still; everything else goes on.</p>
  <ul>
    ${mistakes.map(
      (one) => html`<li>
        <strong>${shown(one.system)}</strong>: ${one.part === "contract" ? "the system" : `a ${one.part}`} stands still:
        <code>${shown(one.line ? `${one.file}:${one.line}` : one.file)}</code> ${shown(one.message)}${one.hint ? html` (${shown(one.hint)})` : nothing}
      </li>`,
    )}
  </ul>
</section>`;
