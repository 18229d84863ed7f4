/**
 * All events of a person, by a clear value.
 *
 * Belongs here: the form, and the value for as long as the search is open. It is part of a request's body alone: of no address, no
 * title, no store. Does not: asking.
 */
import { html, nothing, select } from "./parts.js";

export class Person {
  #fields;
  #changed;
  #field;
  #chosen = null;

  /** `changed` is called when another person, or nobody any more, is asked for. */
  constructor(app, changed) {
    const names = app.system.tables.flatMap((table) =>
      table.fields.filter((field) => field.pseudonym && field.index === "keyword").map((field) => field.name),
    );
    this.#fields = app.me.personal_data ? [...new Set(names)] : [];
    this.#field = this.#fields[0];
    this.#changed = changed;
  }

  /** What joins the body of the question: {field, value}; null when it is about nobody. */
  get asked() {
    return this.#chosen;
  }

  #choose(chosen) {
    this.#chosen = chosen;
    this.#changed();
    // What had the focus is gone with the next drawing.
    setTimeout(() => document.getElementById(chosen ? "nobody" : "somebody")?.focus());
  }

  #submit = (event) => {
    event.preventDefault();
    const { value } = event.target.elements;
    const chosen = { field: this.#field, value: value.value.trim() };
    document.getElementById("person").hidePopover();
    this.#choose(chosen);
  };

  /** A value that was typed and not asked for is not kept. */
  #toggle = (event) => {
    if (event.newState === "closed") event.target.querySelector("[name=value]").value = "";
  };

  /** Nothing for a key without the privilege for personal data. */
  render() {
    if (!this.#fields.length) return nothing;
    if (this.#chosen)
      return html`<button class="button" id="nobody" title="Show everybody's events again"
        @click=${() => this.#choose(null)}>One ${this.#chosen.field} only ✕</button>`;
    return html`<div class="person">
      <button class="button quiet" id="somebody" popovertarget="person" title="All events of a user or address, by the clear value">Person…</button>
      <div id="person" popover class="panel" role="dialog" aria-label="Events of a person" @toggle=${this.#toggle}>
        <form @submit=${this.#submit} autocomplete="off">
          <p class="title">Events of a person</p>
          ${select(
            "Field",
            this.#fields.map((name) => [name, name]),
            this.#field,
            (name) => (this.#field = name),
            "person-field",
          )}
          <label>Clear value<input name="value" required pattern=".*\\S.*" maxlength="1024" spellcheck="false" autocapitalize="off" autocomplete="off" /></label>
          <p class="dim small">It is hashed at once and is in no address or log. Each page of the answer is in the audit trail.</p>
          <button class="button main">Find</button>
        </form>
      </div>
    </div>`;
  }
}
