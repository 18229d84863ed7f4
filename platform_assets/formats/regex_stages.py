"""The SQL stages of text messages that named-group expressions read.

Belongs here: the stages between the decoded body and the fields' texts. Does not belong here: checks of single fields.

An expression must match the whole record (line ends at its end do not count). The expressions are tried in their order, and the
first that matches gives the fields: a later one runs only on the records that the earlier ones did not match. A group that did
not take part gives the empty text; the contract says by `null_values` where that means "absent". A field without a group in the
expression that matched is absent.
"""

from __future__ import annotations

import re

from platform_assets.contracts.formats import Stage
from platform_assets.contracts.model import Field, Table
from platform_assets.transform.reasons import Reason
from platform_assets.transform.sql import first_true, identifier, is_blank, literal, one_of, select, text_list

_WHOLE = "_whole"


def stages(table: Table) -> list[Stage]:
    """From the relation `screened` to `decoded`, as `RecordFormat.stages` says. ValueError if the table has no pattern."""
    if not table.patterns:
        raise ValueError(f"{table.qualified_name} has no pattern")
    line = "CASE WHEN _fault IS NULL THEN rtrim(_body, chr(13) || chr(10)) END AS _line"
    matching = [("lined", select(f"*, {line}", "screened"))]
    for i, pattern in enumerate(table.patterns):
        groups = text_list([_WHOLE, *_group_names(pattern)])
        extract = f"regexp_extract(_line, {literal(f'^(?P<{_WHOLE}>(?:{pattern}))$')}, [{groups}])"
        if i:
            extract = f"CASE WHEN _groups{i - 1}.{_WHOLE} = '' THEN {extract} END"
        matching.append((f"grouped{i}", select(f"*, {extract} AS _groups{i}", matching[-1][0])))
    nothing = f"_groups{len(table.patterns) - 1}.{_WHOLE} = ''"
    structure = first_true(
        [
            ("_fault IS NOT NULL", "_fault"),
            (f"{nothing} AND {is_blank('_body')}", literal(Reason.EMPTY)),
            (nothing, literal(Reason.NO_MATCH)),
        ]
    )
    texts = [f"{_text(table, field)} AS _x{i}" for i, field in enumerate(table.sent, 1)]
    attributes = ", CAST(NULL AS VARCHAR) AS _attributes" if table.attributes else ""
    decoded = select(f"*, {structure} AS _structure, {', '.join(texts)}{attributes}", matching[-1][0])
    return [*matching, ("decoded", decoded)]


def _text(table: Table, field: Field) -> str:
    """SQL for a field's text from the groups of the expression that matched; null where it is absent."""
    cases = []
    for i, pattern in enumerate(table.patterns):
        if field.source not in re.compile(pattern).groupindex:
            continue
        group = f"_groups{i}.{identifier(field.source)}"
        present = f" AND NOT {one_of(group, field.null_values)}" if field.null_values else ""
        cases.append((f"_groups{i}.{_WHOLE} <> ''{present}", group))
    return first_true(cases)


def _group_names(pattern: str) -> list[str]:
    """A name for every group in order: DuckDB assigns names by position, whatever the pattern calls its groups."""
    compiled = re.compile(pattern)
    names = {index: name for name, index in compiled.groupindex.items()}
    return [names.get(index, f"_group{index}") for index in range(1, compiled.groups + 1)]
