"""Text messages by a named-group regular expression: from text to one text per contract field.

Belongs here: the SQL stages (CTEs) between the decoded body and the fields' texts. Does not belong here: checks of single
fields (`fields.py`), framing of multi-line records (done before they reach a topic).

The expression must match the whole record (line ends at its end do not count). A group that did not take part gives the empty
text; the contract says by `null_values` where that means "absent".
"""

from __future__ import annotations

import re

from platform_assets.contracts.model import Table
from platform_assets.refine.fields import Source
from platform_assets.refine.reasons import Reason
from platform_assets.refine.sql import first_true, identifier, literal, one_of, select, text_list

_WHOLE = "_whole"


def sources(table: Table) -> list[Source]:
    """Where each field's text stands after the stages."""
    return [Source(field, f"_x{i}") for i, field in enumerate(table.fields, 1)]


def stages(table: Table) -> list[tuple[str, str]]:
    """(CTE name, SELECT) from the relation `screened` on; the last one is the relation `decoded`.

    Adds `_structure` (a reason or null), `_x<i>`, and a null `_attributes`. ValueError if the table has no pattern.
    """
    if table.pattern is None:
        raise ValueError(f"{table.qualified_name} has no pattern")
    whole = f"^(?P<{_WHOLE}>(?:{table.pattern}))$"
    groups = [_WHOLE, *_group_names(table.pattern)]
    line = "CASE WHEN _fault IS NULL THEN rtrim(_body, chr(13) || chr(10)) END"
    texts = []
    for i, field in enumerate(table.fields, 1):
        group = f"_groups.{identifier(field.source or field.name)}"
        present = f"NOT {one_of(group, field.null_values)}" if field.null_values else "true"
        texts.append(f"CASE WHEN _groups.{_WHOLE} <> '' AND {present} THEN {group} END AS _x{i}")
    structure = first_true(
        [
            ("_fault IS NOT NULL", "_fault"),
            (f"_groups.{_WHOLE} = '' AND trim(_body, ' ' || chr(9) || chr(10) || chr(13)) = ''", literal(Reason.EMPTY)),
            (f"_groups.{_WHOLE} = ''", literal(Reason.NO_MATCH)),
        ]
    )
    attributes = ", CAST(NULL AS VARCHAR) AS _attributes" if table.attributes else ""
    return [
        (
            "grouped",
            select(f"*, regexp_extract({line}, {literal(whole)}, [{text_list(groups)}]) AS _groups", "screened"),
        ),
        ("decoded", select(f"*, {structure} AS _structure, {', '.join(texts)}{attributes}", "grouped")),
    ]


def _group_names(pattern: str) -> list[str]:
    """A name for every group in order: DuckDB assigns names by position, whatever the pattern calls its groups."""
    compiled = re.compile(pattern)
    names = {index: name for name, index in compiled.groupindex.items()}
    return [names.get(index, f"_group{index}") for index in range(1, compiled.groups + 1)]
