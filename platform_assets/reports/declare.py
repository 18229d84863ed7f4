"""What a system's folder says about its reports: `systems/<system>/reports.yaml`, read and checked.

Belongs here: the declaration's shape and its errors. Does not belong here: whether a mart has the columns (`build.py` knows).
"""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from platform_assets.errors import AssayError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Order = Annotated[str, StringConstraints(pattern=r"^-?[a-z][a-z0-9_]{0,62}$")]
MOST_ROWS = 1000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kind(StrEnum):
    """How a section looks."""

    FIGURES = "figures"  # a few totals, large
    TABLE = "table"
    BARS = "bars"  # over time, stacked by colour
    LINES = "lines"


class Column(_Strict):
    """A column of a table or a total: its name in the mart, what people read above it, how its values are written."""

    name: Name
    label: str = ""
    form: Literal["plain", "number", "percent", "milliseconds", "change"] = "plain"  # percent and change are of shares

    @property
    def title(self) -> str:
        """The label, or the name in words."""
        return self.label or self.name.replace("_", " ")


class Section(_Strict):
    """One part of a report, from one mart.

    With `group`, rows are put together by those columns and the others summed (`sum`) or their greatest taken (`max`).
    """

    title: str
    kind: Kind
    mart: Name
    about: str = ""
    columns: tuple[Column, ...] = ()
    group: tuple[Name, ...] = ()
    sum: tuple[Name, ...] = ()
    max: tuple[Name, ...] = ()
    order: Order | None = None  # a column; with `-` the greatest first
    limit: int = Field(50, ge=1, le=MOST_ROWS)
    days: int = Field(1, ge=1, le=31)  # the report's day and so many less one before
    x: Literal["minute", "hour", "day"] | None = None  # the mart's time
    y: Name | None = None
    color: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_columns(cls, given: Any) -> Any:
        """A column may be given by its name alone."""
        if isinstance(given, dict) and isinstance(given.get("columns"), list):
            given = given | {"columns": [{"name": c} if isinstance(c, str) else c for c in given["columns"]]}
        return given

    @model_validator(mode="after")
    def _complete(self) -> Section:
        if self.kind in (Kind.BARS, Kind.LINES):
            if not (self.x and self.y):
                raise ValueError("a chart needs x and y")
            if self.columns or self.group or self.sum or self.max:
                raise ValueError("a chart has x, y and color only")
        elif self.x or self.y or self.color:
            raise ValueError("x, y and color belong to a chart")
        elif not self.columns:
            raise ValueError("columns are missing")
        elif (self.sum or self.max) and not self.group:
            raise ValueError("sum and max need a group")
        return self


class Report(_Strict):
    """A report of one day (UTC)."""

    name: Name
    title: str
    about: str = ""
    sections: tuple[Section, ...] = Field(min_length=1)


class _File(_Strict):
    reports: tuple[Report, ...]


def load_reports(system: str, root: Path | None = None) -> dict[str, Report]:
    """The reports that a system declares in `<root>/<system>/reports.yaml`, by name; the packaged systems' by default.

    Raises AssayError naming what is wrong.
    """
    base: Path | Traversable = root if root is not None else files("platform_assets.systems")
    source = base / system / "reports.yaml"
    return parse_reports(source.read_text(encoding="utf-8"), f"{system}/reports.yaml") if source.is_file() else {}


def parse_reports(text: str, where: str) -> dict[str, Report]:
    """The reports of a document. Raises AssayError with the place of the first mistake."""
    try:
        found = _File.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise AssayError(f"{where} is not YAML: {' '.join(str(error).split())[:200]}", "correct it") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise AssayError(f"{where}: {place}: {first['msg']}", "see the reports of another system") from error
    by_name = {report.name: report for report in found.reports}
    if len(by_name) != len(found.reports):
        raise AssayError(f"{where}: two reports have the same name", "give each its own")
    return by_name
