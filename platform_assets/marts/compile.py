"""dbt's command line in a process of its own, ended with the file's name when one file takes too long.

Belongs here: noticing that a model's Jinja does not come to an end. Does not: calling this (`project.py`), leaving the file out
(`broken.py`). dbt has no limit, and says nothing of what it is at.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

STOPPED = 2
"""What dbt exits with when an error has ended it."""
_LOOK_SECONDS = 0.5


def main() -> None:
    """dbt with this process's arguments; the first of them is the processor time in seconds that one file may take."""
    from dbt.cli.main import cli

    threading.Thread(target=_watch, args=(float(sys.argv.pop(1)),), daemon=True).start()
    cli()


def _watch(limit: float) -> None:
    """End the process when dbt is at one file for so long."""
    at, since = "", time.process_time()
    while True:
        time.sleep(_LOOK_SECONDS)
        files = sorted(_files())
        now = " ".join(files)
        if now != at:
            at, since = now, time.process_time()
        elif files and time.process_time() - since > limit:
            words = f"{files[0]}: its Jinja does not end within {limit:.0f} s of processor time"
            sys.stdout.write(f"{words}\n")
            sys.stdout.flush()
            os._exit(STOPPED)


def _files() -> Iterator[str]:
    """The files that dbt's threads are at: the innermost node that a function of dbt has in hand."""
    for frame in sys._current_frames().values():
        inner: FrameType | None = frame
        while inner is not None:
            # Only dbt's own frames: the locals of a template may be anything.
            if str(inner.f_globals.get("__name__", "")).startswith("dbt."):
                for name in ("node", "parsed_node"):
                    path = getattr(inner.f_locals.get(name), "original_file_path", None)
                    if isinstance(path, str):
                        yield path
                        inner = None
                        break
            inner = inner.f_back if inner is not None else None


if __name__ == "__main__":
    main()
