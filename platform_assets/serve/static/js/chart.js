/**
 * Counts over time as stacked bars; dragging across them chooses a range.
 *
 * Belongs here: what the API's histograms look like. Drawn by uPlot, which the page loads before this module.
 */
import { html, nothing } from "./parts.js";
import { count, duration, many, utc, visible } from "./text.js";

const { uPlot } = window;
const HEIGHT = 132;
const REST = "";
const SMALLEST_DRAG_PX = 5;
const MOST_BUCKETS = 3000;
const DAY_S = 86_400;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const COUNTS = [1, 2, 5, ...[1, 2, 3, 4, 5, 6, 7, 8].flatMap((n) => [1, 2, 5].map((m) => m * 10 ** n))];
const TIMES = [
  1,
  2,
  5,
  10,
  15,
  30,
  60,
  120,
  300,
  600,
  900,
  1800,
  3600,
  7200,
  10_800,
  21_600,
  43_200,
  ...[1, 2, 5, 7, 14, 30, 60, 90].map((n) => n * 86_400),
];

/**
 * Buckets `{time, total, parts}` of several tables as one: `{times (s), width (s), order, series: [{name, sum, values}]}`, series in
 * the given `order` of their names (severities, the most severe first), others behind them. Buckets begin at multiples of their
 * width; those without events are filled in.
 */
export function merged(histograms, order = []) {
  const rank = (name) => (name === REST ? order.length + 1 : order.includes(name) ? order.indexOf(name) : order.length);
  const byTime = new Map();
  let width = 0;
  for (const { interval, buckets } of Object.values(histograms)) {
    width = duration(interval);
    for (const bucket of buckets) {
      const at = Date.parse(bucket.time) / 1000;
      const parts = byTime.get(at) ?? new Map();
      byTime.set(at, parts);
      let rest = bucket.total;
      for (const [name, events] of Object.entries(bucket.parts)) {
        parts.set(name, (parts.get(name) ?? 0) + events);
        rest -= events;
      }
      if (rest > 0) parts.set(REST, (parts.get(REST) ?? 0) + rest);
    }
  }
  const known = [...byTime.keys()].sort((a, b) => a - b);
  const steps = known.length ? (known.at(-1) - known[0]) / width + 1 : 0;
  const times = steps > MOST_BUCKETS ? known : Array.from({ length: steps }, (_, i) => known[0] + i * width);
  const names = [...new Set([...byTime.values()].flatMap((parts) => [...parts.keys()]))].sort((a, b) => rank(a) - rank(b));
  const series = names.map((name) => {
    const values = times.map((at) => byTime.get(at)?.get(name) ?? 0);
    return { name, values, sum: values.reduce((a, b) => a + b, 0) };
  });
  return { times, width, order, series: series.filter((one) => one.sum > 0) };
}

const labelOf = (name) => (name === REST ? "without severity" : visible(name));

/** The name of a colour: severities have their own, other groups one of six by their place. */
function hue(name, place, order) {
  return name === REST ? "rest" : order.includes(name) ? name : `hue${(place % 6) + 1}`;
}

/** A colour of the sheet as the canvas takes it; the chart itself may not be on the page yet. */
function colour(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** `12:30`, `12:30:05` or `21 Nov` in UTC, as fine as the ticks are apart; a midnight says its day. */
function tick(seconds, apart) {
  const time = new Date(seconds * 1000);
  const [day, clock] = [`${time.getUTCDate()} ${MONTHS[time.getUTCMonth()]}`, time.toISOString().slice(11, apart < 60 ? 19 : 16)];
  return apart >= DAY_S || seconds % DAY_S === 0 ? day : clock;
}

/** A chart that lives as long as its view. `zoom(from, to)` gets ISO times; `order` as in `merged`. */
export class Chart {
  constructor(zoom, order = []) {
    this.order = order;
    this.node = document.createElement("div");
    this.node.className = "chart";
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.zoom = zoom;
    this.shown = null;
    this.resized = new ResizeObserver(() => this.plot?.setSize({ width: this.node.clientWidth, height: HEIGHT }));
    this.resized.observe(this.node);
    this.dress = () => this.shown && this.draw();
    window.addEventListener("colours", this.dress);
  }

  destroy() {
    this.plot?.destroy();
    this.resized.disconnect();
    window.removeEventListener("colours", this.dress);
  }

  /** Show these histograms (by table) between two ISO times. */
  show(histograms, from, to) {
    this.shown = { ...merged(histograms, this.order), from: Date.parse(from) / 1000, to: Date.parse(to) / 1000 };
    this.draw();
  }

  draw() {
    const { times, width, order, series, from, to } = this.shown;
    this.plot?.destroy();
    this.plot = null;
    const all = series.reduce((sum, one) => sum + one.sum, 0);
    this.node.setAttribute("role", "img");
    this.node.setAttribute(
      "aria-label",
      all
        ? `${many(all, "event")} over time: ${series.map((one) => `${count(one.sum)} ${labelOf(one.name)}`).join(", ")}`
        : "No events",
    );
    if (!times.length) return;
    // Sums from the first series up; the largest sum is drawn first, and the smaller ones over it.
    let below = times.map(() => 0);
    const layers = series
      .map((one, place) => {
        below = below.map((sum, i) => sum + one.values[i]);
        return { fill: colour(hue(one.name, place, order)), sums: below.map((sum) => sum || null) };
      })
      .reverse();
    const [ink, line] = ["dim", "line"].map(colour);
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
    this.plot = new uPlot(
      {
        width: this.node.clientWidth || 600,
        height: HEIGHT,
        padding: [8, 18, 0, 0],
        legend: { show: false },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
        cursor: { y: false, points: { show: false }, drag: { setScale: false, x: true, y: false } },
        scales: {
          x: { range: [Math.min(from, times[0]), Math.max(to, times.at(-1) + width)] },
          y: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] },
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: 22,
            gap: 4,
            space: 64,
            incrs: TIMES,
            values: (_, ticks, __, ___, apart) => ticks.map((one) => tick(one, apart)),
          },
          { ...axis, size: 46, gap: 6, space: 32, incrs: COUNTS, values: (_, ticks) => ticks.map(short) },
        ],
        series: [{}, ...layers.map((one) => bars(one.fill))],
        hooks: { setSelect: [(plot) => this.chose(plot)], setCursor: [(plot) => this.point(plot)] },
      },
      [times, ...layers.map((one) => one.sums)],
      this.node,
    );
    this.plot.over.append(this.tip);
    this.tip.hidden = true;
  }

  /** The bucket's range, when something was dragged over. */
  chose(plot) {
    const { left, width } = plot.select;
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    if (width < SMALLEST_DRAG_PX) return;
    const at = (x) => plot.posToVal(x, "x");
    const size = this.shown.width;
    const from = Math.floor(at(left) / size) * size;
    const to = Math.ceil(at(left + width) / size) * size;
    this.zoom(new Date(from * 1000).toISOString(), new Date(to * 1000).toISOString());
  }

  /** What the bucket under the pointer holds. */
  point(plot) {
    const { times, width, series } = this.shown;
    const x = plot.cursor.left;
    const value = plot.posToVal(x, "x");
    const at = x < 0 ? -1 : times.findLastIndex((time) => time <= value);
    this.tip.hidden = at < 0 || value >= times[at] + width;
    if (this.tip.hidden) return;
    const lines = series.filter((one) => one.values[at]).map((one) => `${count(one.values[at])} ${labelOf(one.name)}`);
    const start = new Date(times[at] * 1000).toISOString();
    this.tip.textContent = [`${utc(start, { digits: 0 })} UTC`, ...(lines.length ? lines : ["no events"])].join("\n");
    const right = x > plot.over.clientWidth / 2;
    this.tip.style.left = right ? "" : `${x + 12}px`;
    this.tip.style.right = right ? `${plot.over.clientWidth - x + 12}px` : "";
  }
}

function bars(fill) {
  return {
    fill,
    stroke: fill,
    width: 1 / devicePixelRatio,
    points: { show: false },
    paths: uPlot.paths.bars({ size: [0.86, 60], align: 1, radius: 0.08 }),
  };
}

function short(number) {
  if (number >= 1e6) return `${number / 1e6} M`;
  return number >= 1e4 ? `${number / 1e3} k` : count(number);
}

/** Series of `merged` with their sums; choosing one looks for it, where there is something to look in. */
export function legend({ series, order }, pick) {
  return html`<ul class="legend">
    ${series.map((one, place) => {
      const text = html`<i class="dot ${hue(one.name, place, order)}"></i>${labelOf(one.name)} <b>${count(one.sum)}</b>`;
      return html`<li>${one.name === REST || !pick ? html`<span>${text}</span>` : html`<button title="Only this (Shift: without)"
        @click=${(event) => pick(one.name, event.shiftKey)}>${text}</button>`}</li>`;
    })}
    ${series.length ? nothing : html`<li><span class="dim">no events</span></li>`}
  </ul>`;
}
