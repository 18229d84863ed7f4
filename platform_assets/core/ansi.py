"""The escape sequences by which programs colour what they print.

Belongs here: the one pattern of them. The index finds words as if they were not there (`index/analysis.py`); the command line
and the page leave them out where a text is shown on one line (`cli/render.py`, `serve/static/js/text.js`), and so do the
templates of messages (`dbt_project/macros/texts.sql`). Does not belong here: other control characters, which are shown as
what they are.
"""

from __future__ import annotations

SEQUENCE = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
"""A control sequence (ECMA-48), as Python, Java, JavaScript and RE2 read it."""
