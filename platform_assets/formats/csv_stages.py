"""The SQL stages of rows of separated values.

Belongs here: the stages between the decoded body and the fields' texts. Does not belong here: checks of single fields.

A value without quotes that is empty is absent; `""` is an empty text. Blanks around a value belong to it.
"""

from __future__ import annotations

from platform_assets.contracts.formats import Stage
from platform_assets.contracts.model import Field, FieldType, Table
from platform_assets.transform.reasons import Reason
from platform_assets.transform.sql import first_true, is_blank, literal, one_of, select

_NUMBERS = (FieldType.NUMBER, FieldType.DECIMAL)


def stages(table: Table, columns: tuple[str, ...]) -> list[Stage]:
    """From the relation `screened` to `decoded`, as `RecordFormat.stages` says; `columns` are the names of a row's."""
    delimiter, quote = (rf"\x{{{ord(one):x}}}" for one in (table.csv.delimiter, table.csv.quote))
    quoted = f"{quote}(?:[^{quote}]|{quote}{quote})*{quote}"
    plain = rf"(?:[^{quote}{delimiter}\r\n][^{delimiter}\r\n]*)?"
    # With a delimiter before the first value too, no match is empty.
    line = (
        f"CASE WHEN _fault IS NULL THEN {literal(table.csv.delimiter)} || rtrim(_body, chr(13) || chr(10)) END AS _line"
    )
    sound = f"regexp_full_match(_line, {literal(f'(?s)(?:{delimiter}(?:{quoted}|{plain}))+')})"
    cells = f"regexp_extract_all(_line, {literal(f'(?s){delimiter}({quoted}|{plain})')}, 1)"
    structure = first_true(
        [
            ("_fault IS NOT NULL", "_fault"),
            (is_blank("_body"), literal(Reason.EMPTY)),
            ("NOT _sound", literal(Reason.MALFORMED_CSV)),
            (f"len(_cells) <> {len(columns)}", literal(Reason.COLUMN_COUNT)),
        ]
    )
    texts = [
        f"{_text(table, field, columns.index(field.source) + 1)} AS _x{i}" for i, field in enumerate(table.sent, 1)
    ]
    return [
        ("lined", select(f"*, {line}", "screened")),
        ("tested", select(f"*, {sound} AS _sound", "lined")),
        ("split", select(f"*, CASE WHEN _sound THEN {cells} END AS _cells", "tested")),
        ("shaped", select(f"*, {structure} AS _structure", "split")),
        ("decoded", select(f"*, {', '.join(texts)}", "shaped")),
    ]


def _text(table: Table, field: Field, number: int) -> str:
    """SQL for a field's text; null where it is absent, or where the row has not the contract's columns."""
    cell, quote = f"_cells[{number}]", literal(table.csv.quote)
    doubled = literal(table.csv.quote * 2)
    inside = f"replace(substring({cell}, 2, length({cell}) - 2), {doubled}, {quote})"
    text = f"CASE WHEN starts_with({cell}, {quote}) THEN {inside} WHEN {cell} <> '' THEN {cell} END"
    if table.csv.decimal_comma and field.type in _NUMBERS:
        text = f"translate({text}, ',.', '.,')"
    absent = f" AND NOT coalesce({one_of(text, field.null_values)}, false)" if field.null_values else ""
    return f"CASE WHEN _structure IS NULL{absent} THEN {text} END"
