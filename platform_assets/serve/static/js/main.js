/**
 * The page: who is here, which view is shown, and the frame around it.
 *
 * Belongs here: starting, the frame, going from view to view, keys that work everywhere. Does not: what a view shows.
 */
import { render } from "../vendor/lit-html/lit-html.js";
import { alerts } from "./alerts.js";
import { ask, key, onRefused } from "./api.js";
import { figures } from "./figures.js";
import { help } from "./help.js";
import { login } from "./login.js";
import { empty, failed, html, loading, nothing, select } from "./parts.js";
import { quarantine } from "./quarantine.js";
import { fragment, go, here } from "./route.js";
import { search } from "./search.js";
import { status } from "./status.js";
import { tail } from "./tail.js";

const ALERTS_EVERY_MS = 30_000;
const PLATFORM = "assay"; // the name under which the platform itself has alerts
const THEMES = { "": "As the system", light: "Light", dark: "Dark" };
const THEME = "assay.theme";

const VIEWS = [
  { name: "search", label: "Search", make: search, may: reads },
  { name: "tail", label: "Live tail", make: tail, may: reads },
  { name: "alerts", label: "Alerts", make: alerts, may: reads },
  { name: "figures", label: "Figures", make: figures, may: reads },
  { name: "status", label: "Freshness", make: status, may: (one) => reads(one) && one.only === null },
  { name: "quarantine", label: "Quarantine", make: quarantine, may: (one) => one.role === "admin" },
];

/** What an address shows that leads nowhere, or to what the key may not see. */
const NO_VIEW = {
  name: "nowhere",
  label: "No such page",
  make: () => ({ enter() {}, leave() {}, render: () => empty("There is no such page", "It may be for another key, or the address is mistyped.") }),
};

function reads(one) {
  return one.role !== "writer";
}

/** What the views share. `me` is the key as the API describes it, `system` the one that is looked at. */
const app = {
  me: null,
  systems: [],
  runbooks: [],
  system: null,
  openAlerts: 0,
  update,
  go: (view, params, how) => go(app.system.system, view, params, how),
  link: (view, params) => fragment(app.system.system, view, params),
  alertSystems,
  countAlerts,
};

/** Whose alerts are shown: the system's, and for who runs the platform those that it raises on itself. */
function alertSystems() {
  const { role, system: only } = app.me;
  return [app.system.system, ...(role === "admin" && only === null ? [PLATFORM] : [])];
}

const root = document.getElementById("app");
let view = null; // the view that is shown: {name, enter, leave, render, keys}
let problem = null;
let said = null; // why somebody has to log in again
let planned = false;
let moved = false; // to another view: its name may be out of sight on a narrow screen

/** Draw again, once for however many changes. */
function update() {
  if (planned) return;
  planned = true;
  queueMicrotask(() => {
    planned = false;
    render(page(), root);
    if (moved) document.querySelector(".top nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    moved = false;
  });
}

function page() {
  if (!key.get()) return html`${login({ said, enter })}${toast}`;
  if (problem) return html`<main class="alone">${failed(problem, start)}</main>`;
  if (!app.me) return html`<main class="alone">${loading("Asking what this key may see")}</main>`;
  return html`${header()}
    <main id="main" tabindex="-1">${app.system ? view?.render() : html`<p class="empty">This key is for no system.</p>`}</main>
    ${app.system ? help(app.system) : nothing}${toast}`;
}

const toast = html`<div id="told" role="status" aria-live="polite"></div>`;

function header() {
  const { me, system, systems } = app;
  return html`<header class="top">
    <a class="skip" href="#main" @click=${skip}>To the content</a>
    <a class="brand" href=${fragment(system?.system ?? "", "search")} aria-label="Assay, to the search">${mark}<span>assay</span></a>
    ${
      systems.length > 1
        ? select(
            "System",
            systems.map((one) => [one.system, one.system]),
            system?.system,
            (name) => go(name, view.name === NO_VIEW.name ? "search" : view.name, {}),
            "system",
          )
        : html`<span class="system" title=${system?.description ?? ""}>${system?.system}</span>`
    }
    <nav aria-label="Views">
      ${VIEWS.filter((one) => one.may(me)).map(
        (
          one,
        ) => html`<a href=${fragment(system?.system ?? "", one.name)} aria-current=${one.name === view?.name ? "page" : nothing}
          >${one.label}${one.name === "alerts" && app.openAlerts ? html`<b class="count" title="Open alerts">${app.openAlerts}</b>` : nothing}</a
        >`,
      )}
    </nav>
    <span class="who" title=${`Key ${me.id}, ${me.role}${me.only ? `, only ${me.only.join(", ")}` : ""}`}
      ><span class="name">${me.name}</span> <span class="dim">${me.role}</span></span
    >
    <button class="icon" title="Help and keys (?)" aria-label="Help and keys" @click=${showHelp}>?</button>
    <button class="icon" title=${`Colours: ${THEMES[theme()]}`} aria-label="Change the colours" @click=${nextTheme}>◐</button>
    <button class="button quiet" @click=${leave}>Log out</button>
  </header>`;
}

const mark = html`<svg viewBox="0 0 32 32" aria-hidden="true"
  ><path class="seal" d="M10 1h12l9 9v12l-9 9H10l-9-9V10z" /><path class="letter" d="M16 7 9 25h3.4l1.5-4.2h4.2l1.5 4.2H23zm0 6.1 1.3 4.9h-2.6z" /></svg
>`;

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

// -- who is here -------------------------------------------------------------------------------------------------------------

/** Take a key that the API has accepted, with what it said of it. */
function enter(text, found) {
  key.set(text);
  said = null;
  take(found);
}

function take(found) {
  app.me = found.key;
  app.systems = found.systems;
  app.runbooks = found.runbooks;
  problem = null;
  arrive();
  countAlerts();
}

/** Forget the key and all that was read with it. */
function leave(why = null) {
  key.forget();
  view?.leave();
  view = null;
  Object.assign(app, { me: null, systems: [], system: null, openAlerts: 0 });
  said = why instanceof Event ? null : why;
  document.title = "Assay";
  update();
}

async function start() {
  problem = null;
  update();
  if (!key.get()) return;
  try {
    take(await ask("/v1/systems"));
  } catch (error) {
    if (error.status !== 401) problem = error;
    update();
  }
}

// -- where we are ------------------------------------------------------------------------------------------------------------

/** Show what the address says: without a system the first one's, without a view the search, otherwise a page or that there is none. */
function arrive() {
  if (!app.me) return;
  const place = here();
  const named = app.systems.find((one) => one.system === place.system);
  const system = named ?? app.systems[0] ?? null;
  const usual = VIEWS.find((one) => one.may(app.me));
  const wanted = place.view ? VIEWS.find((one) => one.name === place.view && one.may(app.me)) : usual;
  const known = usual && ((place.system && !named) || !wanted ? NO_VIEW : wanted);
  if (!system || !known) {
    app.system = null;
    problem =
      app.me.role === "writer"
        ? { status: 403, message: "This key may only submit events.", hint: "Log in with a reader's key." }
        : null;
    update();
    return;
  }
  if (system !== app.system || known.name !== view?.name) {
    moved = true;
    view?.leave();
    if (system !== app.system) app.openAlerts = 0;
    app.system = system;
    view = { name: known.name, ...known.make(app) };
  }
  document.title = `${known.label} · ${system.system} · Assay`;
  view.enter(known.name === place.view && system.system === place.system ? place.params : {});
  update();
}

async function countAlerts() {
  const system = app.system;
  if (!system || !app.me || !reads(app.me)) return;
  try {
    const found = await ask("/v1/alerts", { params: { system: alertSystems(), state: "open", size: 100 } });
    if (app.system === system) app.openAlerts = found.alerts.length;
  } catch {
    app.openAlerts = 0; // the view of alerts says what is wrong
  }
  update();
}

// -- keys and colours --------------------------------------------------------------------------------------------------------

const typing = (target) => target.closest?.("input, textarea, select, dialog") !== null;

function showHelp() {
  document.getElementById("help")?.showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !app.me) return;
  if (event.key === "Escape" && event.target.matches?.("input") && !event.target.closest("[popover]")) event.target.blur();
  if (typing(event.target)) return;
  if (event.key === "?") showHelp();
  else if (event.key === "/") document.getElementById("q")?.focus();
  else if (!view?.keys?.(event)) return;
  event.preventDefault();
}

function theme() {
  return document.documentElement.dataset.theme ?? "";
}

function dress(name) {
  if (name in THEMES && name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  window.dispatchEvent(new Event("colours"));
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const name = names[(names.indexOf(theme()) + 1) % names.length];
  localStorage.setItem(THEME, name);
  dress(name);
  update();
}

onRefused(() => leave("The key is no longer taken: it was revoked or has expired."));
window.addEventListener("hashchange", arrive);
window.addEventListener("keydown", onKey);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.dispatchEvent(new Event("colours")));
setInterval(() => document.hidden || countAlerts(), ALERTS_EVERY_MS);
dress(localStorage.getItem(THEME) ?? "");
start();
