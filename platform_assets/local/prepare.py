"""What services need before the first event: users and rights, topics, and templates of the contracts' indices.

Belongs here: deriving it from contracts and asking for it. Does not: how topics (`topics.py`) or templates (`index/`) are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from confluent_kafka import KafkaException
from opensearchpy.exceptions import OpenSearchException

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.index.client import connect
from platform_assets.index.indices import Indices
from platform_assets.local.endpoints import KAFKA_ROLES
from platform_assets.local.kafka import internal_conf
from platform_assets.local.kafka_access import check_kafka, provision
from platform_assets.local.opensearch import read_security
from platform_assets.local.search_access import push_security
from platform_assets.local.tls import Certificates
from platform_assets.local.topics import TopicReport, TopicSpec, ensure_topics


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
    client = connect(settings.opensearch_url, settings.opensearch_auth("ingest"), settings.opensearch_ca)
    try:
        indices = Indices(client)
        for table in tables:
            indices.ensure_template(table)
    finally:
        client.close()
    return report


def prepare_users(settings: Settings, security: Path | None) -> None:
    """Give Kafka's roles their passwords and rights, and OpenSearch its users and roles, where we are told how.

    Kafka through the broker's own listener (ASSAY_KAFKA_INTERNAL_BOOTSTRAP and _PASSWORD); OpenSearch from the folder
    `security`, which holds the plugin's files, `ca.pem` and the administrator's certificate.
    Raises AssayError when a service does not answer or refuses.
    """
    bootstrap = settings.values.get("ASSAY_KAFKA_INTERNAL_BOOTSTRAP")
    if bootstrap:
        names = ["ASSAY_KAFKA_INTERNAL_PASSWORD", *(f"ASSAY_KAFKA_{role.upper()}_PASSWORD" for role in KAFKA_ROLES)]
        if missing := [name for name in names if not settings.values.get(name)]:
            raise AssayError(f"{missing[0]} is not known", "set it, or leave out ASSAY_KAFKA_INTERNAL_BOOTSTRAP")
        try:
            provision(internal_conf(bootstrap, settings.values[names[0]]), settings.values)
        except KafkaException as error:
            raise AssayError(f"Kafka at {bootstrap} refused: {error.args[0].str()}", "see its log") from error
        check_kafka(settings)
    if security is not None:
        try:
            push_security(settings.opensearch_url, Certificates(security), read_security(security))
        except OpenSearchException as error:
            what = type(error).__name__
            raise AssayError(
                f"OpenSearch at {settings.opensearch_url} takes no users: {what}", "see its log"
            ) from error
