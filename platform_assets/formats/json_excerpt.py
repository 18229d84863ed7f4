"""What quarantine may show of a JSON message with masked fields.

Belongs here: the SQL that leaves them out, whatever state the text is in. Does not belong here: e-mail addresses and the like
(`transform/scrub.py`).
"""

from __future__ import annotations

import re

from platform_assets.contracts.model import Field
from platform_assets.transform.excerpt import head, shape
from platform_assets.transform.sql import JSON_STRING, literal, matches, replace_all


def excerpt(hidden: list[Field]) -> str:
    """SQL for the begin of a message. Sound JSON is rewritten, which resolves escapes."""
    text = head("CAST(json_extract(_document, '$') AS VARCHAR)")
    if not hidden:
        return text
    return f"CASE WHEN {_begins_as_object()} THEN {_without_members(text, hidden)} ELSE {shape(text)} END"


def _begins_as_object() -> str:
    # NUL characters hide names ("u\\0s\\0e\\0r").
    begins = matches("_body", r'^[[:space:]]*[{][[:space:]]*["}]')
    return f"coalesce({begins} AND NOT contains(_body, chr(0)), false)"


def _without_members(text: str, hidden: list[Field]) -> str:
    # In text that is not sound, an escaped ASCII letter may hide a name.
    cut = replace_all(text, r"(?s)\\u00[2-7].*$", "…")
    # The character that stands around the number of a name must not occur.
    text = f"replace(CASE WHEN _document IS NULL THEN {cut} ELSE {text} END, chr(1), ' ')"
    names = [field.source or field.name for field in hidden]
    for i, name in enumerate(names):
        value = rf"(?:{JSON_STRING}|[-+.\w]*)"
        after = r'([\]}\s]*(?:,\s*[{\[\s]*"[^"\\]{1,64}"\s*:|$))'
        pattern = rf'(?i)"{re.escape(name)}"\s*:\s*{value}\s*{after}'
        text = f"regexp_replace({text}, {literal(pattern)}, chr(1) || '{i}' || chr(1) || '\\1', 'g')"
    any_name = "|".join(re.escape(name) for name in names)
    text = replace_all(text, rf"(?is)\b(?:{any_name})\b.*$", "[masked]")
    for i, name in enumerate(names):
        masked = literal(f'"{name}":"[masked]"')
        text = f"replace({text}, chr(1) || '{i}' || chr(1), {masked})"
    return text
