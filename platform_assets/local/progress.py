"""Showing a person what is being waited for, and for how long already.

Belongs here: one line that a terminal redraws, and a line now and then elsewhere. Does not: how long to wait (`patience.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

TELL_SECONDS = 10.0
"""Time between two lines where there is no terminal to redraw."""

Tell = Callable[[str], None]


@contextmanager
def waiting_for(what: str, console: Console | None = None) -> Iterator[Tell]:
    """Show `what` and the seconds since the block began; call the yielded function with what is still missing."""
    console = console or Console(stderr=True)
    began = said = time.monotonic()
    with console.status(f"{what} ...") as shown:

        def tell(missing: str) -> None:
            nonlocal said
            now = time.monotonic()
            text = f"{what}, {now - began:.0f} s" + (f": {missing}" if missing else "")
            shown.update(text)
            if not console.is_terminal and now - said >= TELL_SECONDS:
                said = now
                console.print(text, highlight=False, markup=False, soft_wrap=True)

        yield tell
