"""A contract as a page for people.

Belongs here: the page. `assay docs` writes it after a change to a contract; a test compares them. Does not belong here: what a
contract means.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import jinja2

from platform_assets.contracts.field_roles import visibility
from platform_assets.contracts.formats import format_of
from platform_assets.contracts.model import (
    Contract,
    Field,
    IndexType,
    Mask,
    SeverityField,
    SeverityRank,
    SkippedTime,
)
from platform_assets.contracts.types import type_name

_PAGE = """\
<!-- Written by `assay docs` from the contract; change that, not this. -->
# {{ contract.system }}

{{ contract.description }}

Contract version {{ contract.version }}, answered for by {{ contract.owner }}.

| table | topic | format | key | partition | freshness (warn, fail) | kept in silver |
|---|---|---|---|---|---|---|
{% for table in contract.tables -%}
| [{{ table.name }}](#{{ contract.system }}{{ table.name }}) | `{{ table.topic }}` | {{ table.format }} \
| {{ table.key | join(", ") or "none" }} | {{ table.grain }} | {{ table.freshness_warn | span }}, \
{{ table.freshness_fail | span }} | {{ table.retention | span }} |
{% endfor %}
{%- for table in contract.tables %}
## {{ contract.system }}.{{ table.name }}

{{ table.description }}

| field | type | required | privacy | search | checks | description |
|---|---|---|---|---|---|---|
{% for field in table.fields -%}
| `{{ field.name }}` | {{ field | type }} | {{ "yes" if field.required else "" }} | {{ field | privacy }} \
| {{ field | search }} | {{ field | checks }} | {{ field.description | cell }} |
{% endfor -%}
{% if table.attributes -%}
| `{{ table.attributes }}` | JSON | | {{ table.attributes_mask | scrubbed }} | flat \
| at most {{ table.attributes_max_bytes | bytes }} | Unknown fields of the message. \
One that becomes a field leaves it with that version. |
{% endif %}
- **Event time**: `{{ table.event_time }}`; its UTC {{ table.grain }} is the partition. More than \
{{ table.max_ahead | span }} ahead is rejected; more than {{ table.lateness | span }} late is history: stored and \
searchable, but it moves no watermark.
{% if table.key -%}
- **Key**: {{ table.key | ticks }}. The same key again \
{% if table.dedupe_window %}in the same {{ table.dedupe_window | span }} of event time{% else %}in its partition{% endif %} \
is a duplicate, whenever it arrives; the first to arrive stays.
{% else -%}
- **Key**: none. Identical messages are distinct rows.
{% endif -%}
- **Readers**: {{ table.row_policy | policy }}
- **Severity**: {% if table.severity %}`{{ table.severity.field }}`; {{ table.severity | scale }}\
{% else %}none. Charts over time count rows without it{% endif %}.
- **Origin**: {% if table.origin %}{{ table.origin | ticks }}. What the same origin wrote is shown around a row\
{% else %}none. Around a row is shown what the whole table has{% endif %}.
- **Message**: {{ table | message }}, at most {{ table.max_bytes | bytes }}\
{% if table | limits %}, {{ table | limits }}{% endif %}.
- **Index**: one for each {{ table.index_period }} of event time\
{% if table.history_period != table.index_period %}, of history for each {{ table.history_period }}{% endif %}.
- **Raw bytes** are kept for {{ table.bronze_retention | span }}.
- **Rejects**: more than {{ "%g" % (table.quarantine_rate * 100) }} % within 5 min, and at least 10, raise an alert.
{% for rule in table.rules -%}
- **Rule** `{{ rule.name }}`: `{{ rule.expression | cell }}`. {{ rule.description | cell }}
{% endfor -%}
{% if table.patterns %}
```text
{% for pattern in table.patterns -%}
{{ pattern }}
{% endfor -%}
```
{% endif -%}
{% if table.sample %}
Example of a message (invented):

```{{ table | language }}
{{ table.sample }}
```
{% endif -%}
{% endfor -%}
"""


def render_markdown(contract: Contract) -> str:
    """The page of a system, in Markdown."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701 - Markdown
    environment.filters |= {
        "span": _span,
        "bytes": _bytes,
        "type": type_name,
        "privacy": _privacy,
        "scrubbed": _scrubbed,
        "search": _search,
        "checks": _checks,
        "message": lambda table: format_of(table).describe(table),
        "limits": lambda table: format_of(table).limits(table),
        "language": lambda table: format_of(table).language,
        "ticks": lambda names: ", ".join(f"`{name}`" for name in names),
        "cell": _cell,
        "policy": visibility,
        "scale": _scale,
    }
    return environment.from_string(_PAGE).render(contract=contract)


def write_pages(folder: Path, contracts: Mapping[str, Contract], *, check: bool = False) -> list[Path]:
    """Write the pages of these contracts; returns those that differed. With `check` nothing is written."""
    differing = []
    for contract in contracts.values():
        path = folder / f"{contract.system}.md"
        page = render_markdown(contract)
        if path.exists() and path.read_text(encoding="utf-8") == page:
            continue
        differing.append(path)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page, encoding="utf-8")
    return differing


def _span(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _bytes(value: int) -> str:
    for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if value % size == 0:
            return f"{value // size} {unit}"
    return f"{value} bytes"


def _privacy(field: Field) -> str:
    if field.mask is Mask.HMAC:
        return "personal: keyed hash"
    if field.mask.scrubs:
        return f"{'personal: ' if field.pii else ''}{_scrubbed(field.mask)}"
    return ""


def _scrubbed(mask: Mask) -> str:
    return "scrubbed, also of network addresses" if mask is Mask.SCRUB_ADDRESSES else "scrubbed"


_SKIPPED = {SkippedTime.REJECT: "rejected", SkippedTime.SHIFT: "shifted forward"}


def _search(field: Field) -> str:
    return "not searchable" if field.index is IndexType.NONE else str(field.index)


def _checks(field: Field) -> str:
    found = []
    if field.enum:
        found.append("one of " + ", ".join(f"`{value}`" for value in field.enum))
    if field.computed is not None:
        found.append(f"computed: `{field.computed}`")
    if field.minimum is not None:
        found.append(f"≥ {field.minimum}")
    if field.maximum is not None:
        found.append(f"≤ {field.maximum}")
    if field.exclusive_minimum is not None:
        found.append(f"> {field.exclusive_minimum}")
    if field.exclusive_maximum is not None:
        found.append(f"< {field.exclusive_maximum}")
    if field.max_length is not None:
        found.append(f"at most {field.max_length} characters")
    if field.pattern is not None:
        found.append(f"matches `{field.pattern}`")
    if field.time_formats:
        found.append("written as " + " or ".join(f"`{written}`" for written in field.time_formats))
    if field.composed_of:
        found.append("composed of " + ", ".join(f"`{name}`" for name in field.composed_of))
    if field.has_clock_changes:
        found.append(
            f"without a zone of {field.time_zone}: twice shown {field.ambiguous_time}, skipped {_SKIPPED[field.skipped_time]}"
        )
    if field.text_too:
        found.append("a number or a text")
    if field.null_values:
        found.append("absent when " + " or ".join(f"`{value}`" if value else "empty" for value in field.null_values))
    return _cell("; ".join(found))


def _scale(severity: SeverityField) -> str:
    values = {rank: [f"`{value}`" for value, its in severity.ranks if its is rank] for rank in SeverityRank}
    return "; ".join(f"{rank}: {', '.join(named)}" for rank, named in values.items() if named)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
