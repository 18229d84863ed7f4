"""A report kept and told: the page in a folder; page and totals to those who get alerts.

Belongs here: the file and the message. Does not belong here: when (`defs/reports.py`), and the targets themselves (alerts).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from platform_assets.alerts.notify import API, Attached, targets
from platform_assets.alerts.text import neutral, plain
from platform_assets.core.files import write_private
from platform_assets.reports.build import Built
from platform_assets.reports.declare import Kind
from platform_assets.reports.render import column_text, to_html

FOLDER = "reports"
"""Below the home."""
_LINES = 5
_ATTACHED_BYTES = 5 * 1024 * 1024
"""A larger page stays where it is: receivers refuse what is too large, and the message with it."""


def keep(built: Built, home: Path) -> Path:
    """Write the page to `<home>/reports/<system>/<report>/<day>.html`, readable by its owner; the file."""
    folder = home / FOLDER / built.system / built.report.name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{built.day}.html"
    write_private(path, to_html(built).encode())
    return path


def message(built: Built, page: Path, values: Mapping[str, str]) -> tuple[str, str]:
    """(title, body): the totals, the first rows of the first table, where to find the page. Values of data are neutralised.

    The page is found by people where `ASSAY_API_URL` says, with their key, so that each sees their own services; without that
    address it is a path on the machine that made it.
    """
    lines = []
    for filled in built.sections:
        columns = filled.section.columns
        rows = filled.rows.to_pylist()
        if filled.section.kind is Kind.FIGURES and rows:
            lines.append(", ".join(f"{column_text(c, rows[0][c.name])} {c.title}" for c in columns))
        elif filled.section.kind is Kind.TABLE and not any(line.startswith("- ") for line in lines):
            for row in rows[:_LINES]:
                texts = (f"{neutral(column_text(c, row[c.name]))} {c.title}" for c in columns[1:])
                lines.append(f"- {neutral(str(row[columns[0].name]))}: {', '.join(texts)}")
    if built.empty:
        lines = ["nothing on this day"]
    lines.append(f"page: {_place(built, page, values)}")
    return plain(f"{built.report.title} of {built.system}, {built.day}", 200), "\n".join(lines)


def _place(built: Built, page: Path, values: Mapping[str, str]) -> str:
    if not (base := values.get(API)):
        return str(page)
    return f"{base.rstrip('/')}/#/{built.system}/figures?report={built.report.name}&day={built.day}"


def send(built: Built, page: Path, values: Mapping[str, str]) -> list[str]:
    """Send message and page to every target of `ASSAY_ALERT_URLS` (the log without one); who did not take it, by name."""
    title, body = message(built, page, values)
    name = f"{built.system}-{built.report.name}-{built.day}.html"
    attached = Attached(page, name) if page.stat().st_size <= _ATTACHED_BYTES else None
    return [target.name for target in targets(values).values() if not target.send(title, body, "info", attached)]
