"""What the contracts need from the services before the first event: topics, and templates of their indices.

Belongs here: deriving it from contracts and asking for it. Does not: how topics (`topics.py`) or templates (`search/`) are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from platform_assets.contracts.model import Contract, Table
from platform_assets.local.topics import TopicReport, TopicSpec, ensure_topics
from platform_assets.search.client import connect
from platform_assets.search.indices import Indices
from platform_assets.settings import Settings


def topic_spec(table: Table) -> TopicSpec:
    """The topic of a table. The broker keeps records as long as bronze does: a lost lake can be landed anew."""
    return TopicSpec(
        table.topic, table.topic_partitions, retention_ms=round(table.bronze_retention / timedelta(milliseconds=1))
    )


def prepare(settings: Settings, contracts: Iterable[Contract]) -> TopicReport:
    """Create missing topics and bring the indices' templates up to date; a second call changes nothing.

    Raises AssayError when a service does not answer or refuses.
    """
    tables = [table for contract in contracts for table in contract.tables]
    quiet = {**settings.kafka_conf("admin"), "log_level": 2}  # errors are raised; the client would print them besides
    report = ensure_topics(quiet, [topic_spec(table) for table in tables])
    client = connect(settings.opensearch_url, settings.opensearch_auth("lane"), settings.opensearch_ca)
    try:
        indices = Indices(client)
        for table in tables:
            indices.ensure_template(table)
    finally:
        client.close()
    return report
