"""What quarantine shows of a refused record: at most 300 characters, without personal data.

Belongs here: the SQL of the excerpt. Does not belong here: the reason.

Fields that the contract masks must not show, whatever state the message is in, so the rule is to keep only what is understood:
- a JSON value of a masked field becomes "[masked]" when the text around it is well formed;
  if the field's name occurs in any other way, the excerpt ends there;
- text that should be JSON and does not begin as an object, and text lines that do not match their pattern, show only their
  shape (letters as `a`, digits as `9`);
- text lines that match show their unmasked groups.
Tables without masked fields show their text. E-mails, card numbers and network addresses go in every case. They are looked for
before characters that do not print become blanks, which would tear what they hide.
"""

from __future__ import annotations

import re

from platform_assets.contracts.model import Field, Format, Mask, Table
from platform_assets.transform.fields import Source
from platform_assets.transform.scrub import scrub_excerpt
from platform_assets.transform.sql import JSON_STRING, escaped, literal, matches, replace_all

MAX_CHARACTERS = 300
HEAD_BYTES = 4000  # looked at; more than is shown, as masking shortens
_TORN = 2000  # what a cut may leave of an e-mail address whose characters are encoded several times
_CONTROL = r"[[:cntrl:]\x{80}-\x{9f}\x{ad}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{2069}\x{feff}]"


def excerpt_expression(table: Table, sources: list[Source]) -> str:
    """SQL for the excerpt over the columns of the relation `decoded` (value, body, bytes, texts)."""
    hidden = [field for field in table.fields if _is_hidden(field)]
    text = _head(table)
    if hidden and table.format is Format.JSON:
        text = f"CASE WHEN {_begins_as_object()} THEN {_without_members(text, hidden)} ELSE {_shape(text)} END"
    elif hidden:
        shown = [source for source in sources if not _is_hidden(source.field)]
        groups = ", ".join(f"{literal(source.field.name + '=')} || {source.text}" for source in shown)
        matched = f"concat_ws(' ', {groups})" if shown else "''"
        text = f"CASE WHEN _structure IS NULL THEN left({matched}, {HEAD_BYTES}) ELSE {_shape(text)} END"
    clean = replace_all(scrub_excerpt(text, json=table.format is Format.JSON), _CONTROL, " ")
    return f"left({_without_torn_end(clean)}, {MAX_CHARACTERS})"


def _is_hidden(field: Field) -> bool:
    return field.mask is Mask.HMAC or (field.pii and field.mask is Mask.NONE)


def _head(table: Table) -> str:
    """The first characters; bytes that are no text as `?`. Sound JSON is rewritten, which resolves escapes."""
    bytes_ = replace_all(escaped(f"_value[1:{HEAD_BYTES}]"), r"\\x[0-9A-F]{2}", "?")
    whole = "CAST(json_extract(_document, '$') AS VARCHAR)" if table.format is Format.JSON else "NULL"
    return f"coalesce(left({whole}, {HEAD_BYTES}), left(_body, {HEAD_BYTES}), {bytes_})"


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


def _shape(text: str) -> str:
    return replace_all(replace_all(text, r"[\p{L}\p{M}]+", "a"), r"\p{N}+", "9")


def _without_torn_end(clean: str) -> str:
    torn = f"_bytes > {HEAD_BYTES}"
    return f"CASE WHEN {torn} THEN left({clean}, greatest(length({clean}) - {_TORN}, 0)) ELSE {clean} END"
