"""Which source a system's tables are read from.

Belongs here: opening a source by the settings, and asking one a question. Does not: the sources themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from platform_assets.core.settings import Settings
from platform_assets.sources.base import Marks, Source


def open_source(settings: Settings) -> Source:
    """The source of the tables' streams, as a worker reads it. Raises AssayError when its address or password is unknown."""
    from platform_assets.sources.kafka.consume import KafkaSource

    return KafkaSource(settings.kafka_conf("ingest"))


def ask_source(settings: Settings, names: Sequence[str]) -> dict[str, Marks]:
    """Identity and watermarks of those streams that exist. Raises SourceError when the source cannot answer."""
    source = open_source(settings)
    try:
        return {name: Marks(stream, source.watermarks(stream)) for name, stream in source.describe(names).items()}
    finally:
        source.close()
