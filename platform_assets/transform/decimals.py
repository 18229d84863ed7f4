"""Decimals from texts, in SQL: exactly, or not at all.

Belongs here: the cast and what DuckDB's cast does not tell. Does not belong here: the reasons for which a value is refused
(`fields.py`).

DuckDB reads a JSON number with a point as a double, and its cast to DECIMAL rounds what has too many digits. So the texts of long
numbers are taken from the message itself (`exact_texts`), and digits are counted (`has_more_digits`).
"""

from __future__ import annotations

from platform_assets.contracts.model import Field
from platform_assets.contracts.types import sql_type
from platform_assets.transform.sql import JSON_STRING, matches, replace_all

# A double keeps 15 digits, and its shortest text is then the number as it was written. Tiny exponents would become 0.
_LONG = r"[0-9][0-9.]{15}|[eE][+-]?[0-9]{3}"
_NUMBER = r"-?[0-9][0-9.eE+-]*"
# A character that sound JSON holds nowhere.
_MARK = "chr(1)"
# Zeros that no decimal has room for, and an exponent past all texts.
_BEYOND, _HUGE = 60, 1_000_000_000


def decimal_value(text: str, field: Field) -> str:
    """SQL for a number's text as a decimal, rounded where it has more digits than `scale`; NULL where it is too large."""
    return f"try_cast({_without_exponent(text)} AS {sql_type(field)})"


def has_more_digits(text: str, field: Field) -> str:
    """SQL: whether a number's text has a digit other than 0 beyond `scale` digits after the point."""
    return matches(_without_exponent(text), rf"\.[0-9]{{{field.scale}}}[0-9]*[1-9]")


def _without_exponent(text: str) -> str:
    """SQL for a number's text with its point moved by its exponent; what is beyond all decimals stays so."""
    number = f"regexp_extract({text}, '[0-9.]+')"
    digits = f"ltrim(replace({number}, '.', ''), '0')"
    written = f"regexp_extract({text}, '[eE](.*)', 1)"
    exponent = f"coalesce(try_cast({written} AS INTEGER), CASE WHEN {written} LIKE '-%' THEN -{_HUGE} ELSE {_HUGE} END)"
    after = f"length(regexp_extract({number}, '[.]([0-9]*)', 1)) - {exponent}"  # digits behind the point, or zeros before it
    after = f"least(greatest({after}, -{_BEYOND}), length({digits}) + {_BEYOND})"
    padded = f"lpad({digits}, CAST(greatest(length({digits}), {after} + 1) AS INTEGER), '0')"
    fraction = f"left({padded}, length({padded}) - {after}) || '.' || right({padded}, {after})"
    moved = f"CASE WHEN {after} > 0 THEN {fraction} ELSE {digits} || repeat('0', -({after})) END"
    sign = f"CASE WHEN {text} LIKE '-%' THEN '-' ELSE '' END"
    plain = f"CASE WHEN {digits} = '' THEN '0' ELSE {sign} || {moved} END"
    return f"CASE WHEN {matches(text, '[eE]')} THEN {plain} ELSE {text} END"


def exact_texts(document: str, pointers: str) -> str:
    """SQL for the texts of members of a JSON document, numbers as they are written; NULL where a double holds them as well.

    Numbers become strings before the document is read: every string and every number is found, only numbers get quotes.
    """
    marked = replace_all(document, f"(?s)({JSON_STRING})|({_NUMBER})", r"\1" + "\x01" + r"\2" + "\x01")
    marked = marked.replace("\x01", f"' || {_MARK} || '")
    quoted = f"""replace(replace({marked}, {_MARK} || {_MARK}, ''), {_MARK}, '"')"""
    return f"CASE WHEN {matches(document, _LONG)} THEN json_extract_string({quoted}, [{pointers}]) END"
