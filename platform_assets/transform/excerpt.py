"""What quarantine shows of a refused record: at most 300 characters, without personal data.

Belongs here: what all formats share. Does not belong here: how a format shows a message without its masked fields (`formats/`),
the reason.

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

from platform_assets.contracts.formats import FieldText, format_of
from platform_assets.contracts.model import Field, Mask, Table
from platform_assets.transform.scrub import scrub_excerpt
from platform_assets.transform.sql import escaped, replace_all

MAX_CHARACTERS = 300
HEAD_BYTES = 4000  # looked at; more than is shown, as masking shortens
_TORN = 2000  # what a cut may leave of an e-mail address whose characters are encoded several times
_CONTROL = r"[[:cntrl:]\x{80}-\x{9f}\x{ad}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{2069}\x{feff}]"


def excerpt_expression(table: Table, sources: list[FieldText]) -> str:
    """SQL for the excerpt over the columns of the relation `decoded` (value, body, bytes, texts)."""
    format_ = format_of(table)
    hidden = [field for field in table.fields if is_hidden(field)]
    text = format_.excerpt(table, sources, hidden)
    clean = replace_all(scrub_excerpt(text, json=format_.json_text), _CONTROL, " ")
    return f"left({_without_torn_end(clean)}, {MAX_CHARACTERS})"


def is_hidden(field: Field) -> bool:
    """Whether nothing of the field's value may show."""
    return field.mask is Mask.HMAC or (field.pii and field.mask is Mask.NONE)


def head(whole: str = "NULL") -> str:
    """SQL for the first characters: of `whole`, else of the body, else of the bytes with those that are no text as `?`."""
    bytes_ = replace_all(escaped(f"_value[1:{HEAD_BYTES}]"), r"\\x[0-9A-F]{2}", "?")
    return f"coalesce(left({whole}, {HEAD_BYTES}), left(_body, {HEAD_BYTES}), {bytes_})"


def shape(text: str) -> str:
    """SQL for the text with letters as `a` and digits as `9`."""
    return replace_all(replace_all(text, r"[\p{L}\p{M}]+", "a"), r"\p{N}+", "9")


def _without_torn_end(clean: str) -> str:
    torn = f"_bytes > {HEAD_BYTES}"
    return f"CASE WHEN {torn} THEN left({clean}, greatest(length({clean}) - {_TORN}, 0)) ELSE {clean} END"
