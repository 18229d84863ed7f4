"""What a caller may write in a request, from the contracts.

Belongs here: parameters, their limits, and what they mean (times, filters). Does not belong here: answering (`searching.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from platform_assets.contracts.model import Contract, FieldType, IndexType, Mask, Table
from platform_assets.contracts.model import Field as FieldOf
from platform_assets.index.errors import QueryError
from platform_assets.index.syntax import MAX_LENGTH, MAX_VALUES, Clause, Value
from platform_assets.index.times import parse_as_of, parse_duration, parse_time
from platform_assets.serve.cursors import MAX_LENGTH as MAX_CURSOR
from platform_assets.serve.limits import DEFAULT_RANGE, MAX_PAGE, MAX_RANGE
from platform_assets.serve.tables import Form

NAME = r"^[a-z][a-z0-9_]{0,62}$"
"""What systems, marts and reports are called."""
_VALUE_LENGTH = 1024
_TIME_LENGTH = 40
_FILTER = "filter_"


def _encodable(text: str) -> str:
    """Half a surrogate pair is no text: it could neither be searched for nor hashed."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]


class TimeRange(BaseModel):
    """`[from, to)` in event time, or the `last` of it, as seen at `as_of`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    last: str | None = Field(None, max_length=10, description="The last 90s, 15m, 24h, 7d or 2w.", examples=["24h"])
    since: str | None = Field(
        None,
        alias="from",
        max_length=_TIME_LENGTH,
        description="From then on: a day, or ISO 8601 (UTC without a zone).",
    )
    until: str | None = Field(
        None, alias="to", max_length=_TIME_LENGTH, description="Before then: a day is not in it, only those before are."
    )
    as_of: str = Field(
        "now",
        max_length=_TIME_LENGTH,
        description="When `last` is counted back from, and `to` by default: `now`, a time, or a day, which is seen from its end.",
        examples=["now"],
    )

    @property
    def live(self) -> bool:
        """Whether it ends now, rather than at a moment that somebody named."""
        return self.as_of == "now" and not self.until

    def span(self) -> tuple[datetime, datetime]:
        """(since, until). Raises QueryError for what is no time, ends before it begins, or is more than 366 days."""
        as_of = parse_as_of(self.as_of)
        until = parse_time(self.until) if self.until else as_of
        if self.last and self.since:
            raise QueryError("a search has either `last` or `from`, not both")
        length = parse_duration(self.last) if self.last else DEFAULT_RANGE
        if length > MAX_RANGE:
            raise QueryError(f"`last` is longer than {MAX_RANGE.days} days")
        since = parse_time(self.since) if self.since else (as_of if self.last else until) - length
        if until <= since:
            raise QueryError(
                "the time range ends before it begins", "`to` is not in it: for one day write the next one"
            )
        if until - since > MAX_RANGE:
            raise QueryError(f"the time range is longer than {MAX_RANGE.days} days", "ask for it in pieces")
        return since, until


class SearchParams(TimeRange):
    """What every system's search takes; each system adds its fields as filters."""

    q: Text = Field(
        "",
        max_length=MAX_LENGTH,
        description='Words, "phrases" and field:value; all must hold, a leading - negates; AND, OR, NOT and parentheses. '
        "Values: `a,b` or `(a b)`, `>=500`, `1..5`, `web-*`, `*` for present. Names as they are, or in quotation marks: "
        '`attributes."x request id":7`.',
        examples=['status:>=500 "timed out"'],
    )
    table: str | None = Field(None, description="Only this table. By default every table that has the fields.")
    size: int = Field(
        50, ge=1, le=MAX_PAGE, description="Rows of a page. Large rows make it end earlier; its cursor goes on there."
    )
    cursor: str | None = Field(
        None, max_length=MAX_CURSOR, description="Goes on behind a page; everything else stays as it was asked there."
    )
    histogram: bool = Field(False, description="Also count over time, by severity.")
    format: Form | None = Field(
        None,
        description="`csv`: this page as a file, the next page's cursor in X-Next-Cursor. By default as `Accept` says.",
    )

    def clauses(self) -> list[Clause]:
        """The filters as clauses: the field is any of the values, taken literally."""
        given = {
            name.removeprefix(_FILTER): values
            for name, values in self.model_dump().items()
            if name.startswith(_FILTER) and values is not None
        }
        return [Clause(name, tuple(Value(v, quoted=True) for v in values)) for name, values in given.items()]

    def question(self) -> dict[str, Any]:
        """What a cursor is bound to."""
        return self.model_dump(exclude={"cursor", "size", "histogram", "format"})


class PersonalParams(SearchParams):
    """A search for what belongs to a person. The value is hashed before anything else is done with it."""

    def narrowed(self) -> dict[str, Any]:
        """What the events must hold besides, as it was written: clear values may be in it."""
        filters: dict[str, Any] = {str(one.field): [value.text for value in one.values] for one in self.clauses()}
        return {"q": self.q, **filters} if self.q else filters

    field: str = Field(description="A field of personal data.")
    value: Text = Field(
        min_length=1, max_length=_VALUE_LENGTH, description="The clear value. It goes no further than here."
    )

    def question(self) -> dict[str, Any]:
        """Without the value: the answer's cursor is bound to the pseudonyms."""
        return self.model_dump(exclude={"cursor", "size", "histogram", "format", "value"})


@dataclass(frozen=True, slots=True)
class Models:
    """The parameter models of a system."""

    search: type[SearchParams]
    personal: type[PersonalParams] | None  # None: no field of it is personal data under a key


def models(contract: Contract) -> Models:
    """The models of a system: one filter for each field that can be searched, `table` and `field` as what there is."""
    fields: dict[str, FieldOf] = {}
    for field in (f for table in contract.tables for f in table.fields if f.index is not IndexType.NONE):
        fields.setdefault(field.name, field)
    reserved = {info.alias or name for name, info in PersonalParams.model_fields.items()}
    filters: dict[str, Any] = {}
    for name, field in fields.items():
        # A field that is called like a parameter is found with `q` alone.
        if name not in reserved:
            values = list[Annotated[Text, Field(min_length=1, max_length=_VALUE_LENGTH)]] | None
            about = Field(
                None,
                alias=name,
                max_length=MAX_VALUES,
                description=f"{field.description} Any of the values, taken literally.",
                examples=[[str(one) for one in field.examples]] if field.examples else None,
            )
            filters[f"{_FILTER}{name}"] = (values, about)
    tables: Any = Literal[tuple(table.name for table in contract.tables)]
    table = (tables | None, SearchParams.model_fields["table"])
    search = create_model(f"Search_{contract.system}", __base__=SearchParams, table=table, **filters)
    masked = tuple(name for name in masked_fields(contract))
    if not masked:
        return Models(search, None)
    field_names: Any = Literal[masked]
    field_of = (field_names, PersonalParams.model_fields["field"])
    personal = create_model(
        f"Personal_{contract.system}", __base__=PersonalParams, table=table, field=field_of, **filters
    )
    return Models(search, personal)


def masked_fields(contract: Contract) -> dict[str, list[Table]]:
    """The fields that hold pseudonyms, and the tables that have them."""
    found: dict[str, list[Table]] = {}
    for table in contract.tables:
        for field in table.fields:
            if field.mask is Mask.HMAC and field.type is FieldType.STRING and field.index is IndexType.KEYWORD:
                found.setdefault(field.name, []).append(table)
    return found
