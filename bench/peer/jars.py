"""The jars that Spark takes besides its own: the Kafka connector and Delta.

Belongs here: which they are. Does not: fetching and checking them (`platform_assets/local/artifacts.py`).

After a change run `python bench/peer/jars.py`, which writes their checksums to `jars.lock`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jgo.maven import MavenContext
from rich.console import Console

from platform_assets.local.artifacts import download
from platform_assets.local.lock import read_lock, write_lock

LOCK_FILE = Path(__file__).with_name("jars.lock")
CONNECTOR = "spark-sql-kafka-0-10_2.13"
TOKEN_PROVIDER = "spark-token-provider-kafka-0-10_2.13"  # noqa: S105 - a jar
DELTA = "delta-spark_4.2_2.13"
# Without a walk of the dependency graph: it would end at the token provider's 4.2.0, which is not on Maven Central.
# 4.0.0 is the only Spark 4 release of it there; the connector calls it for delegation tokens, which are not used here.
JARS = (
    ("org.apache.spark", CONNECTOR, "4.2.0"),
    ("org.apache.spark", TOKEN_PROVIDER, "4.0.0"),
    ("org.apache.kafka", "kafka-clients", "3.9.2"),
    ("org.apache.commons", "commons-pool2", "2.13.1"),
    ("io.delta", DELTA, "4.4.0"),
    ("io.delta", "delta-storage", "4.4.0"),
)


def fetch() -> list[Path]:
    """The pinned jars in the cache. Raises AssayError when one cannot be had or is not the pinned one."""
    return download(read_lock(LOCK_FILE), "Spark's Kafka connector and Delta", Console(stderr=True))


def version(name: str) -> str:
    """The pinned version of the jar of that name."""
    return next(row.version for row in read_lock(LOCK_FILE) if row.name == name)


def _wanted(context: MavenContext) -> Iterable[tuple[str, list[Any]]]:
    for group, name, release in JARS:
        yield "", [context.project(group, name).at_version(release).artifact(packaging="jar")]


if __name__ == "__main__":
    write_lock(LOCK_FILE, _wanted)
