"""What the supervisor says of itself, as a file that every command may read.

Belongs here: the shape of `<home>/local/state.json`, reading and writing it. Does not: deciding what is true
(`services.py` writes, `lifecycle.py` checks).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from platform_assets.core.files import write_private
from platform_assets.local.process import ProcessId

Phase = Literal["starting", "healthy", "degraded", "stopping", "stopped", "failed"]


@dataclass(frozen=True)
class ServiceState:
    """One child: `state` in words, its process, how often it was restarted, where its log is, and why it is not healthy."""

    state: str
    process: ProcessId | None
    restarts: int
    log: str
    trouble: str = ""


@dataclass(frozen=True)
class State:
    """The supervisor: `message` and `hint` say why it failed."""

    phase: Phase
    supervisor: ProcessId
    services: Mapping[str, ServiceState] = field(default_factory=dict)
    message: str = ""
    hint: str = ""

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        write_private(path, json.dumps(asdict(self), indent=1).encode())


def read_state(path: Path) -> State | None:
    """The last state that was written; None when there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    services = {
        name: ServiceState(**{**one, "process": ProcessId(**one["process"]) if one["process"] else None})
        for name, one in found["services"].items()
    }
    return State(**{**found, "supervisor": ProcessId(**found["supervisor"]), "services": services})
