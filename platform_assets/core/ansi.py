"""The escape sequences by which programs colour what they print, or otherwise steer a terminal.

Belongs here: the one pattern of them. The index finds words as if they were not there (`index/analysis.py`); the command line
and the page leave them out where a text is shown on one line (`cli/render.py`, `serve/static/js/text.js`), and so do the
templates of messages (`dbt_project/macros/texts.sql`). Does not belong here: other control characters, which are shown as
what they are.
"""

from __future__ import annotations

SEQUENCE = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b(?:[ -/][!-/]{0,2}[0-~]|[0-OQ-WYZ`-~])"
)
"""Control sequences, control strings (titles, links) up to their end, and other escape sequences (ECMA-48 and ECMA-35).

Python, Java, JavaScript and RE2 read the pattern alike. A control string without an end is none.
"""
