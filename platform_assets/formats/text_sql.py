"""SQL that formats share whose values are all texts.

Belongs here: what quarantine shows of such a message. Does not belong here: how a text is cut into fields.
"""

from __future__ import annotations

from platform_assets.contracts.formats import FieldText
from platform_assets.contracts.model import Field
from platform_assets.transform.excerpt import HEAD_BYTES, head, is_hidden, shape
from platform_assets.transform.sql import literal


def excerpt(sources: list[FieldText], hidden: list[Field]) -> str:
    """The text as it is, or the fields that are not hidden; of a text that cannot be cut into fields its shape."""
    text = head()
    if not hidden:
        return text
    shown = [source for source in sources if not is_hidden(source.field)]
    named = ", ".join(f"{literal(source.field.name + '=')} || {source.text}" for source in shown)
    matched = f"concat_ws(' ', {named})" if shown else "''"
    return f"CASE WHEN _structure IS NULL THEN left({matched}, {HEAD_BYTES}) ELSE {shape(text)} END"
