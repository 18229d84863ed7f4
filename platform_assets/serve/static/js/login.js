/** Logging in with an API key. Belongs here: the form. The key goes to the session storage of this tab and nowhere else. */
import { ask } from "./api.js";
import { html, nothing } from "./parts.js";
import { visible } from "./text.js";

async function submit(event, enter) {
  event.preventDefault();
  const form = event.target;
  const [input, button, said] = ["key", "enter", "said"].map((name) => form.querySelector(`#${name}`));
  const text = input.value.trim();
  said.textContent = "";
  button.disabled = true;
  try {
    const found = await ask("/v1/systems", { as: text });
    enter(text, found);
  } catch (error) {
    said.textContent =
      error.status === 401 ? "This key is not taken: it is unknown, was revoked or has expired." : visible(error.message);
    input.select();
  } finally {
    button.disabled = false;
  }
}

/** The form; `said` is why it is shown again, `enter` takes a key that works. */
export const login = ({ said, enter }) => html`<main class="login">
  <form @submit=${(event) => submit(event, enter)} autocomplete="off">
    <h1>Assay</h1>
    <p class="dim">Search, watch and trace the events of your systems.</p>
    <label for="key">API key</label>
    <input id="key" type="password" required autofocus autocomplete="off" spellcheck="false" placeholder="assay_…" maxlength="200" />
    <p id="said" class="wrong" role="alert">${said ?? nothing}</p>
    <button id="enter" class="button main">Log in</button>
    <p class="dim small">The key stays in this tab until you close it or log out. An administrator makes one with
      <code>assay keys add NAME --role reader</code>.</p>
  </form>
</main>`;
