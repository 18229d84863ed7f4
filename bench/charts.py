"""The figures of `bench/results/latest.json` as pictures for `docs/performance.md`: `python -m bench.charts`.

Belongs here: what was aimed for, and how the figures are drawn (Vega-Lite, by vl-convert). Does not: measuring.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vl_convert

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "latest.json"
IMAGES = ROOT / "docs" / "images"
_REACHED, _SHORT = "#059669", "#dc2626"
_CONFIG = {"font": "Helvetica, Arial, sans-serif", "background": "white", "axis": {"labelLimit": 320}}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be: at least `value`, or at most when `most`."""

    key: str
    says: str
    value: float
    most: bool = False

    def share(self, measured: float) -> float:
        """1 is the goal, 2 twice as good, 0.5 half."""
        return self.value / measured if self.most else measured / self.value


GOALS = (
    Goal("live.p95_s", "10,000 events/s: searchable in 12 s (p95)", 12, most=True),
    Goal("drain.lake_per_s", "topic to bronze + silver: 130,000/s", 130_000),
    Goal("drain.index_ratio", "with the index: 0.9 of _bulk alone", 0.9),
    Goal("drain.rss_mb", "worker's memory: 2 GB", 2_048, most=True),
    Goal("rebuild.rows_per_s", "rebuild of a day: 500,000 rows/s", 500_000),
    Goal("import_s", "import of the ingest code location: 2.5 s", 2.5, most=True),
    Goal("tick_to_step_s", "run created to first step, under load: 5 s", 5, most=True),
    Goal("idle_cores", "Dagster idle: 0.15 cores", 0.15, most=True),
    Goal("gold.refresh_s", "gold's refresh: 10 s", 10, most=True),
    Goal("gold.behind_p95_s", "gold behind silver at 10,000 events/s: 2 min (p95)", 120, most=True),
    Goal("alert.p95_s", "alert readable: 15 s (p95)", 15, most=True),
    Goal("api.search_p95_ms", "search over 20,000,000 documents: 150 ms (p95)", 150, most=True),
)
_RATES = (
    ("drain.consume_limit_per_s", "Kafka client alone", "limit"),
    ("drain.lake_per_s", "topic to bronze + silver", "Assay"),
    ("peer.spark_drain_per_s", "topic to bronze + silver, Spark", "peer"),
    ("drain.bulk_limit_per_s", "_bulk alone", "limit"),
    ("drain.index_per_s", "topic to bronze + silver + index", "Assay"),
    ("rebuild.rows_per_s", "silver of a day from bronze", "Assay"),
    ("prove.quick_rows_per_s", "proof", "Assay"),
    ("prove.deep_rows_per_s", "proof, silver derived again", "Assay"),
)


def scorecard(figures: dict[str, Any]) -> dict[str, Any]:
    """Every measured goal as a share of it, on a logarithmic axis."""
    rows = [
        {"goal": goal.says, "share": round(share, 2), "state": "reached" if share >= 1 else "short"}
        for goal in GOALS
        if goal.key in figures
        for share in [goal.share(figures[goal.key])]
    ]
    shares = [row["share"] for row in rows]
    x = {
        "field": "share",
        "type": "quantitative",
        "title": "measured, as a share of the goal (1 = the goal, more is better)",
        "scale": {"type": "log", "domain": [min(0.2, *shares), max(5, *shares) * 1.3]},
        "axis": {"values": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20], "format": "~g"},
    }
    y = {"field": "goal", "type": "nominal", "sort": None, "title": None}
    color = {
        "field": "state",
        "type": "nominal",
        "title": None,
        "scale": {"domain": ["reached", "short"], "range": [_REACHED, _SHORT]},
        "legend": {"orient": "top"},
    }
    line = {"data": {"values": [{"at": 1}]}, "mark": "rule", "encoding": {"x": {"field": "at", "type": "quantitative"}}}
    points = {"mark": {"type": "point", "filled": True, "size": 90}, "encoding": {"x": x, "y": y, "color": color}}
    label = {"mark": {"type": "text", "dx": 22}, "encoding": {"x": x, "y": y, "text": {"field": "share"}}}
    return _chart(rows, {"layer": [line, points, label], "height": {"step": 24}})


def latency(figures: dict[str, Any]) -> dict[str, Any]:
    """Percentiles from event to searchable, by rate."""
    runs = {figures["live.rate"]: figures}
    runs |= {value["live.rate"]: value for key, value in figures.items() if key.startswith("live.at_")}
    rows = [
        {"rate": f"{rate:,.0f}/s", "percentile": p, "seconds": run[f"live.{p}_s"]}
        for rate, run in sorted(runs.items())
        for p in ("p50", "p95", "p99")
        if run.get(f"live.{p}_s") is not None
    ]
    y = {"field": "seconds", "type": "quantitative", "title": "seconds", "scale": {"type": "symlog"}}
    x = {"field": "rate", "type": "ordinal", "sort": None, "title": "events a second", "axis": {"labelAngle": 0}}
    offset = {"field": "percentile"}
    color = {
        "field": "percentile",
        "type": "nominal",
        "title": None,
        "scale": {"range": ["#93c5fd", "#2563eb", "#1e3a8a"]},
        "legend": {"orient": "top"},
    }
    bars = {"mark": "bar", "encoding": {"x": x, "y": y, "xOffset": offset, "color": color}}
    text = {
        "mark": {"type": "text", "dy": -6},
        "encoding": {"x": x, "y": y, "xOffset": offset, "text": {"field": "seconds"}},
    }
    return _chart(rows, {"layer": [bars, text], "height": 240})


def throughput(figures: dict[str, Any]) -> dict[str, Any]:
    """Rows a second of each path, beside what the parts reach alone."""
    rows = [{"path": says, "rate": figures[key], "who": who} for key, says, who in _RATES if key in figures]
    x = {"field": "rate", "type": "quantitative", "title": "rows a second", "axis": {"format": "~s"}}
    y = {"field": "path", "type": "nominal", "sort": None, "title": None}
    color = {
        "field": "who",
        "type": "nominal",
        "title": None,
        "scale": {"domain": ["Assay", "limit", "peer"], "range": ["#2563eb", "#9ca3af", "#d97706"]},
        "legend": {"orient": "top"},
    }
    bars = {"mark": "bar", "encoding": {"x": x, "y": y, "color": color}}
    text = {
        "mark": {"type": "text", "align": "left", "dx": 4},
        "encoding": {"x": x, "y": y, "text": {"field": "rate", "format": ",.0f"}},
    }
    return _chart(rows, {"layer": [bars, text], "height": {"step": 24}})


def _chart(rows: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
    schema = "https://vega.github.io/schema/vega-lite/v5.json"
    return {"$schema": schema, "data": {"values": rows}, "width": 560, "config": _CONFIG, **body}


def main() -> None:
    """Draw all three."""
    figures = json.loads(RESULTS.read_text(encoding="utf-8"))
    for draw in (scorecard, latency, throughput):
        path = IMAGES / f"performance-{draw.__name__}.svg"
        path.write_text(vl_convert.vegalite_to_svg(draw(figures)), encoding="utf-8")


if __name__ == "__main__":
    main()
