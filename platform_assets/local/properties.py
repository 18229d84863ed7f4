"""Java's properties files: how they are written, and the ones by which both servers log.

Belongs here: escaping, the settings of log4j. Does not: what a server's other settings are (`kafka.py`, `opensearch.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_SPECIAL = re.compile(r"\\|^ |[^ -~]")


def properties_text(properties: Mapping[str, object]) -> bytes:
    """A properties file, which Java reads as Latin-1: everything outside of ASCII is escaped in the values."""
    return "".join(f"{name}={_SPECIAL.sub(_escape, str(value))}\n" for name, value in properties.items()).encode(
        "ascii"
    )


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def log4j_text(log: Path, pattern: str, more: Mapping[str, object] | None = None) -> bytes:
    """Log to `log` in lines of `pattern`, at most five files of 32 MB."""
    # The servers' user passes no folder of a closed home, where `logs` is a link.
    log = log.parent.resolve() / log.name
    return properties_text(
        {
            "status": "error",
            "appender.file.type": "RollingFile",
            "appender.file.name": "file",
            "appender.file.fileName": log,
            "appender.file.filePattern": f"{log}.%i.gz",
            "appender.file.layout.type": "PatternLayout",
            "appender.file.layout.pattern": pattern,
            "appender.file.policies.type": "Policies",
            "appender.file.policies.size.type": "SizeBasedTriggeringPolicy",
            "appender.file.policies.size.size": "32MB",
            "appender.file.strategy.type": "DefaultRolloverStrategy",
            "appender.file.strategy.max": 4,
            "rootLogger.level": "info",
            "rootLogger.appenderRef.file.ref": "file",
            **(more or {}),
        }
    )
