"""Forgetting old runs without forgetting what they made.

Dagster derives a partition's status from the events of the run that last materialized it: delete that run and the day turns
"missing". So the last run of every partition stays, whatever its age, and so does the last one that was to make it (its
failure is a status too).

`DagsterInstance.delete_run` leaves things behind, which are removed here: the run's own SQLite file, its tags (SQLite does
not enforce the foreign key) and its check evaluations. Where Dagster has no interface, its tables are named in SQL that
SQLite, PostgreSQL and MySQL understand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

FINISHED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]

LAST_RUNS = """
SELECT DISTINCT run_id FROM event_logs WHERE id IN (
    SELECT max(id) FROM event_logs
    WHERE asset_key IS NOT NULL AND dagster_event_type IN
        ('ASSET_MATERIALIZATION', 'ASSET_MATERIALIZATION_PLANNED', 'ASSET_OBSERVATION', 'ASSET_FAILED_TO_MATERIALIZE')
    GROUP BY asset_key, dagster_event_type, partition
)
"""
OLD_EVALUATIONS = """
DELETE FROM asset_check_executions WHERE create_timestamp < :before AND id NOT IN (
    SELECT last FROM (SELECT max(id) AS last FROM asset_check_executions GROUP BY asset_key, check_name, partition) AS latest
)
"""
ORPHANED_TAGS = "DELETE FROM run_tags WHERE run_id NOT IN (SELECT run_id FROM runs)"


@dataclass(frozen=True)
class Purged:
    """What a purge did: runs deleted, old runs kept for the partitions they made, check evaluations deleted."""

    runs: int
    kept: int
    check_evaluations: int


def purge(instance: DagsterInstance, keep: timedelta, max_runs: int = 5000, now: datetime | None = None) -> Purged:
    """Delete runs that were created before `now - keep` and have ended, at most `max_runs`, the oldest first."""
    import sqlalchemy

    before = (now or datetime.now(UTC)) - keep
    old = instance.get_run_records(RunsFilter(statuses=FINISHED, created_before=before), ascending=True)
    needed = last_runs(instance)
    ids = [record.dagster_run.run_id for record in old]
    surplus = [run_id for run_id in ids if run_id not in needed]
    for run_id in surplus[:max_runs]:
        instance.delete_run(run_id)
        _delete_shard(instance, run_id)
    run_storage: Any = instance.run_storage
    with run_storage.connect() as connection:
        connection.execute(sqlalchemy.text(ORPHANED_TAGS))
    events: Any = instance.event_log_storage
    with events.index_connection() as connection:
        # Dagster stores naive UTC.
        answer = connection.execute(
            sqlalchemy.text(OLD_EVALUATIONS), {"before": before.astimezone(UTC).replace(tzinfo=None)}
        )
    return Purged(len(surplus[:max_runs]), len(ids) - len(surplus), answer.rowcount)


def last_runs(instance: DagsterInstance) -> set[str]:
    """Runs that the status of some partition, or of an asset without partitions, rests on."""
    import sqlalchemy

    events: Any = instance.event_log_storage
    with events.index_connection() as connection:
        return {row[0] for row in connection.execute(sqlalchemy.text(LAST_RUNS))}


def _delete_shard(instance: DagsterInstance, run_id: str) -> None:
    """The file in which the default SQLite storage keeps one run's events; other storages have none."""
    locate = getattr(instance.event_log_storage, "path_for_shard", None)
    if locate is not None:
        for suffix in ("", "-wal", "-shm"):
            Path(locate(run_id) + suffix).unlink(missing_ok=True)
