"""What a system's folder says about its reports: `systems/<system>/reports.yaml`, read and checked, each report by itself.

Belongs here: the declaration's shape and its mistakes. Does not belong here: whether a mart has the columns (`build.py` knows).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from platform_assets.contracts.document import Declared, model_mistakes, parse_document, read_text
from platform_assets.contracts.read import packaged_systems
from platform_assets.core.errors import AssayError, Mistake, Mistakes, told

FILE_NAME = "reports.yaml"
_HINT = "see docs/reports.md"
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


def declared_reports(system: str, root: Path | None = None) -> Declared[Report]:
    """The reports in `<root>/<system>/reports.yaml`, by default the packaged one; none when there is no file.

    A report that is wrong is left out; the mistakes name file, line, place and what is wrong.
    """
    path = (root or packaged_systems()) / system / FILE_NAME
    if not (path.exists() or path.is_symlink()):
        return Declared()
    found = Mistakes()
    text = found.get(read_text, path, "a file of reports")
    reports = _declared(text) if text is not None else Declared[Report]()
    named = tuple(replace(mistake, file=str(path)) for mistake in (*found.found, *reports.mistakes))
    return Declared(reports.valid, named)


def load_reports(system: str, root: Path | None = None) -> dict[str, Report]:
    """The valid reports of a system, by name."""
    return dict(declared_reports(system, root).valid)


def parse_reports(text: str, where: str) -> dict[str, Report]:
    """The reports of a document named `where`. Raises AssayError with every mistake."""
    reports = _declared(text)
    if reports.mistakes:
        mistakes = [replace(mistake, file=where) for mistake in reports.mistakes]
        raise AssayError(*told(mistakes), mistakes=mistakes)
    return dict(reports.valid)


def _declared(text: str) -> Declared[Report]:
    found = Mistakes()
    document = parse_document(text, found)
    if document is None:
        return Declared(mistakes=tuple(found.found))
    raw = document.value
    entries = raw.get("reports") if isinstance(raw, dict) else None
    if not isinstance(entries, list):
        found.found.append(Mistake("reports: is no list of reports", _HINT, "reports"))
        entries = []
    for key in raw if isinstance(raw, dict) else ():
        if key != "reports":
            found.found.append(Mistake(f"{key}: is not known", "reports, a list", str(key)))
    read = [_entry(number, entry, found) for number, entry in enumerate(entries)]
    names = Counter(report.name for report in read if report is not None)
    for name in (name for name, number in names.items() if number > 1):
        found.found.append(
            Mistake(f"reports[{name}]: two reports have the same name", "each its own", f"reports[{name}]")
        )
    wrong = {place.removeprefix("reports[").partition("]")[0] for place in (mistake.place for mistake in found.found)}
    valid = {report.name: report for report in read if report is not None and report.name not in wrong}
    mistakes = dict.fromkeys(document.located(mistake) for mistake in found.found)
    return Declared(valid, tuple(sorted(mistakes, key=lambda mistake: mistake.line or 0)))


def _entry(number: int, entry: Any, found: Mistakes) -> Report | None:
    """One report; None when it is wrong, and its mistakes go to `found`."""
    name = entry.get("name") if isinstance(entry, dict) else None
    here = f"reports[{name if isinstance(name, str) else number}]"
    try:
        return Report.model_validate(entry)
    except ValidationError as error:
        for mistake, _ in model_mistakes(error, entry, _HINT):
            place = f"{here}.{mistake.place}" if mistake.place else here
            said = mistake.message.removeprefix(f"{mistake.place or 'the document'}: ")
            found.found.append(replace(mistake, message=f"{place}: {said}", place=place))
    return None
