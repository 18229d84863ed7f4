/**
 * One event: all its fields, what happened around it, where it came from.
 *
 * Belongs here: the open event of a list. Does not: the list (`hits.js`).
 */
import { ask, seg } from "./api.js";
import { canPick, keyOf, tableOf } from "./hits.js";
import { badge, copy, facts, failed, html, loading, moment, nothing, severityKind, shown } from "./parts.js";
import { asJson, asText, clause, count, filterable, flatten, many, nameable } from "./text.js";

const VALUE_LENGTH = 5000;
const AROUND = 12;
const COORDINATES = "_assay";
const VERDICTS = {
  silver: ["It is in silver, and found by searches.", "good"],
  quarantine: ["It was rejected and is in quarantine.", "warn"],
  duplicate: ["It is a duplicate: another document stands for it.", ""],
  waiting: ["It has landed; silver has not taken it yet.", "warn"],
  no_record: ["There is no record at this place of the source.", ""],
  lost: ["It is in none of the tables. Prove the system.", "bad"],
};

/** What is shown of the open event; one object for a list. `app` as in `main.js`, `pick(clause, without)`. */
export class OpenEvent {
  constructor(app, pick, link) {
    Object.assign(this, { app, pick, link, key: null, tab: "fields", whole: new Set(), parts: {} });
  }

  /** Show another event, or none. */
  choose(key) {
    if (key === this.key) return;
    Object.assign(this, { key, tab: "fields", whole: new Set(), parts: {} });
  }

  show(tab) {
    this.tab = tab;
    this.app.update();
  }

  /** The answer of the API for this event, asked once; meanwhile `loading`, a problem with a way to ask again. */
  part(name, path, params, view) {
    const part = this.parts[name];
    if (part === undefined) this.fetch(name, path, params);
    if (!part || part.busy) return loading();
    if (part.problem) return failed(part.problem, () => this.fetch(name, path, params));
    return view(part.found);
  }

  async fetch(name, path, params) {
    const parts = this.parts;
    parts[name] = { busy: true };
    try {
      parts[name] = { found: await ask(path, { params }) };
    } catch (problem) {
      parts[name] = { problem };
    }
    this.app.update();
  }

  render(hit) {
    const { app } = this;
    this.choose(keyOf(hit));
    const tabs = [
      ["fields", "Fields"],
      ["around", "Around it"],
      ...(app.me.role === "admin" ? [["trace", "Where it came from"]] : []),
      ["json", "JSON"],
    ];
    const views = {
      fields: () => this.fields(hit),
      around: () => this.around(hit),
      trace: () => this.trace(hit),
      json: () => this.json(hit),
    };
    return html`<section class="event" aria-label="The event">
      <div class="bar">
        <div class="tabs" role="tablist">
          ${tabs.map(([name, label]) => html`<button role="tab" aria-selected=${this.tab === name ? "true" : "false"}
            @click=${() => this.show(name)}>${label}</button>`)}
        </div>
        <span class="grow"></span>
        <button class="button quiet" @click=${() => copy(new URL(this.link(hit), location).href, "The link")}>Copy link</button>
      </div>
      ${views[this.tab]()}
    </section>`;
  }

  fields(hit) {
    const table = tableOf(this.app.system, hit);
    const rows = table.fields.map((field) => [field.name, hit[field.name], field]);
    const more = table.attributes
      ? flatten(hit[table.attributes] ?? {}, table.attributes).filter(([path]) => path !== table.attributes)
      : [];
    const member = (name, value) => table.attributes_searchable && filterable(value) && nameable(name);
    const where = Object.entries(hit[COORDINATES] ?? {}).map(([name, value]) => [name, value]);
    return html`<table class="fields">
        <tbody>
          ${rows.map(([name, value, { description, pseudonym, computed }]) => this.field(name, value, { title: computed ? `${description} Computed: ${computed}`.trim() : description, pseudonym, pickable: canPick(table, name, value) }))}
          ${more.map(([name, value]) => this.field(name, value, { title: "What else the event says", pickable: member(name, value) }))}
        </tbody>
      </table>
      <details class="coordinates">
        <summary>Coordinates</summary>
        <table class="fields"><tbody>${this.field("id", hit.id, { title: "The document's id", pickable: true })}${where.map(([name, value]) => this.field(name, value, {}))}</tbody></table>
      </details>`;
  }

  field(name, value, { title, pseudonym, pickable }) {
    const absent = value === null || value === undefined;
    const text = asText(value);
    const long = text.length > VALUE_LENGTH && !this.whole.has(name);
    const pick = (without) => this.pick(clause(name, value), without);
    const all = () => {
      this.whole.add(name);
      this.app.update();
    };
    return html`<tr class=${absent ? "absent" : ""}>
      <th scope="row" title=${title ?? ""}>${shown(name, { limit: 200 })}</th>
      <td class="acts">${
        pickable
          ? html`<button title=${`Only this ${name}`} aria-label=${`Only this ${name}`} @click=${() => pick(false)}>+</button
            ><button title=${`Without this ${name}`} aria-label=${`Without this ${name}`} @click=${() => pick(true)}>−</button>`
          : nothing
      }</td>
      <td class="held">${absent ? html`<span class="dim">–</span>` : html`<span class="text">${shown(text, { block: true, limit: long ? VALUE_LENGTH : Infinity })}</span>`}
        ${long ? html` <button class="button quiet" @click=${all}>Show all ${count(text.length)} characters</button>` : nothing}
        ${pseudonym && !absent ? html` <span class="tag" title="A keyed hash stands for the person">pseudonym</span>` : nothing}</td>
    </tr>`;
  }

  around(hit) {
    return this.part("around", `/v1/${seg(this.app.system.system)}/context/${seg(hit.id)}`, { size: AROUND }, (found) => {
      const table = tableOf(this.app.system, hit);
      const same = Object.entries(found.same);
      const names = table.display.filter((name) => name !== table.event_time && !(name in found.same));
      const line = (one, here) => html`<tr class="${severityKind(table, one)} ${here ? "here" : ""}">
        <td class="time">${moment(one[table.event_time])}</td>
        ${names.map((name) => html`<td class=${name === table.severity?.field ? severityKind(table, one) : ""}>${shown(one[name], { limit: 300 })}</td>`)}
      </tr>`;
      const who = same.map(([name, value], i) => html`${i ? " and " : "the same "}${name} <code>${shown(value, { limit: 80 })}</code>`);
      return html`<p class="dim small">What ${same.length ? who : table.table} wrote before and after, oldest first.</p>
        <div class="scroll"><table class="around"><tbody>
          ${found.before.map((one) => line(one, false))} ${line(found.document, true)} ${found.behind.map((one) => line(one, false))}
        </tbody></table></div>`;
    });
  }

  trace(hit) {
    return this.part("trace", `/v1/${seg(this.app.system.system)}/trace/${seg(hit.id)}`, {}, (found) => {
      const [words, kind] = VERDICTS[found.verdict] ?? [found.verdict, ""];
      const { bronze, silver } = found;
      const names = tableOf(this.app.system, hit).coordinates;
      const step = (title, there, pairs) =>
        html`<li class=${there ? "" : "absent"}><h4>${title}</h4>${there ? facts(pairs) : html`<p class="dim">Nothing there</p>`}</li>`;
      return html`<p class="verdict">${badge(found.verdict, kind)} ${words} ${found.survivor ? html`<code>${found.survivor}</code>` : nothing}</p>
        <ol class="trace">
          ${step("Source", true, [
            [names.name, html`<code>${found[names.name]}</code>`],
            [names.shard, found[names.shard]],
            [names.position, String(found[names.position])],
            [names.source.replaceAll("_", " "), html`<code>${found[names.source]}</code>`],
            ["broker", found.broker],
          ])}
          ${step(
            "Bronze",
            bronze,
            bronze && [
              ["landed", moment(bronze.landed_at)],
              ["commit", asText(bronze.seq)],
              ["bytes", asText(bronze.value_bytes)],
              ["file", html`<code>${bronze.file}</code>`],
              ["sha256", html`<code>${bronze.value_sha256}</code>`],
            ],
          )}
          ${step(
            "Silver",
            silver,
            silver && [
              ...tableOf(this.app.system, hit).origin.map((name) => [name, shown(silver[name], { limit: 80 })]),
              ["commit", asText(silver._seq)],
              ["hash agrees", silver.hash_agrees ? "yes" : "no"],
              ["contract", asText(silver._contract_version)],
              ["file", html`<code>${silver.file}</code>`],
            ],
          )}
          ${step("Index", found.documents.length, [
            ["documents", many(found.documents.length, "document")],
            ...found.documents.map((one) => [`version ${one.version}`, html`<code>${one.index}</code>`]),
          ])}
          ${
            found.quarantine.length
              ? step(
                  "Quarantine",
                  true,
                  found.quarantine.map((one) => [
                    one.stage,
                    html`${one.reason}${one.detail ? html`: ${shown(one.detail, { limit: 300 })}` : nothing}`,
                  ]),
                )
              : nothing
          }
        </ol>
        ${found.notes.length ? html`<ul class="notes">${found.notes.map((note) => html`<li>${shown(note)}</li>`)}</ul>` : nothing}`;
    });
  }

  json(hit) {
    const { _table: table, ...rest } = hit;
    const text = asJson({ table, ...rest }, 2);
    return html`<div class="json"><button class="button quiet"
      @click=${() => copy(text, "The event")}>Copy</button><pre>${shown(text, { block: true, limit: 200_000 })}</pre></div>`;
  }
}
