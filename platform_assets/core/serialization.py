"""Values of ours as JSON and CSV know them, for every package that reports.

Belongs here: the one mapping from Python's types. Does not belong here: how output looks (`cli/render.py`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

FORMULA = re.compile(r"^[\s\0\x1c-\x1f\x85\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20|%]|^[\t\r\n]")
"""The same as on the page, `text.js`."""


def plain(value: Any) -> Any:
    """Any value of ours as JSON knows it: times in ISO 8601, durations in seconds, decimals as text, mappings with text keys."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], decimals: Collection[str] = ()) -> str:
    """Rows as CSV (RFC 4180): a header, then each row's values of these columns; `decimals` are numbers given as text."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        values = ((name, row.get(name)) for name in columns)
        writer.writerow(
            [str(value) if name in decimals and value is not None else cell(value) for name, value in values]
        )
    return out.getvalue()


def cell(value: Any) -> str:
    """A value as the text of a CSV cell: null is empty, what has members is JSON.

    A spreadsheet runs text that begins like a formula; a quote before it makes it text. Numbers are no text.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if FORMULA.match(value) else value
    found = plain(value)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, separators=(",", ":"))
