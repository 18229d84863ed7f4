"""Text for people from text of data: what a log line says must not ping a channel, forge a link or break a message.

Belongs here: neutralising values and filling templates. Does not: what is sent where (`notify.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

VALUE_LENGTH = 80
SUMMARY_LENGTH = 500
DETAIL_LENGTH = 300

_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
# Look-alikes (full width) instead of escapes: every receiver has rules of its own, and none of them knows these.
_WIDE = 0xFEE0
_MARKUP = {ord(sign): ord(sign) + _WIDE for sign in "@<>&*`~|#![](){}\\"}
_EMPHASIS = re.compile(r"(?<![A-Za-z0-9])_+|_+(?![A-Za-z0-9])")
_SCHEME = re.compile(r":(?=//)")
_DOMAIN = re.compile(r"(?<=\w)\.(?=[A-Za-z]{2,}\b)")


def plain(text: str, length: int = DETAIL_LENGTH) -> str:
    """One line without control, invisible or direction-changing characters, of at most `length` characters."""
    line = " ".join(_INVISIBLE.sub(" ", text[: 4 * length]).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def neutral(text: str | None, length: int = VALUE_LENGTH) -> str:
    """A value of data that means nothing to Slack, Teams, Discord, Markdown or HTML: no mention, markup or link."""
    if text is None:
        return "none"
    line = plain(text, length).translate(_MARKUP)
    for pattern in (_EMPHASIS, _SCHEME, _DOMAIN):
        line = pattern.sub(lambda found: _wide(found[0]), line)
    return line


def _wide(text: str) -> str:
    return "".join(chr(ord(sign) + _WIDE) for sign in text)


def fill(template: str, data: Mapping[str, str | None], own: Mapping[str, str], figures: Mapping[str, float]) -> str:
    """A checked template with values of data (neutralised), words of the platform's own, and figures."""
    safe = {name: neutral(word) for name, word in data.items()}
    return plain(template.format(**{**safe, **own}, **figures), SUMMARY_LENGTH)
