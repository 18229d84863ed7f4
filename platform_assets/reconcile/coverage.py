"""Offsets: what the broker holds against what bronze has read, and whether bronze's own ranges leave no hole.

Belongs here: coverage by source and shard. Does not belong here: what became of the records (`rows.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from platform_assets.contracts.arrow import BRONZE_SCHEMA
from platform_assets.core.coordinates import SOURCE_PREFIX
from platform_assets.core.errors import AssayError
from platform_assets.core.transactions import app_id, followed_mark, start_mark
from platform_assets.reconcile.job import Job
from platform_assets.reconcile.snapshot import Snapshot, created
from platform_assets.sources.base import Marks
from platform_assets.tables.table import LakeTable

_RANGES = """
    SELECT _source, _shard, min(_position), max(_position + _span),
           count(*) FILTER (kind = 'record'),
           coalesce(sum(_span) FILTER (kind = 'skipped'), 0), coalesce(sum(_span) FILTER (kind = 'gap'), 0)
    FROM b GROUP BY _source, _shard ORDER BY 1, 2
"""
_BREAKS = """
    SELECT _source, _shard, _position, before FROM (
        SELECT _source, _shard, _position,
               lag(_position + _span) OVER (PARTITION BY _source, _shard ORDER BY _position, _span) AS before
        FROM b
    ) WHERE before IS DISTINCT FROM _position AND before IS NOT NULL
"""
_ODD_KINDS = """
    SELECT _source, _shard, _position, concat('kind ', kind, ', span ', _span) FROM b
    WHERE coalesce(kind NOT IN ('record', 'skipped', 'gap') OR _span < 1 OR (kind = 'record' AND _span <> 1), true)
"""


@dataclass
class Coverage:
    """Follows bronze's ranges window by window, in bronze order. The window's rows are the session's table `b`."""

    job: Job
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    starts: dict[str, int | None] = field(default_factory=dict)  # what bronze promised, by application transaction
    in_bronze: dict[str, int | None] = field(default_factory=dict)  # the recorded next offsets
    in_silver: dict[str, int | None] = field(default_factory=dict)

    def begin(self) -> None:
        """Read what both tables record of the partitions in the view `bronze`: at once, for logs of old versions go in hours."""
        found = self.job.con.execute("SELECT DISTINCT _source, _shard FROM bronze").fetchall()
        app_ids = [app_id(*where) for where in found]
        self.in_silver = self.job.silver.look_up(app_ids)
        self.in_bronze = self.job.bronze.look_up(app_ids)
        promised = self.job.bronze.look_up(map(start_mark, app_ids))
        self.starts = {app_id: promised[start_mark(app_id)] for app_id in app_ids}

    def forget_starts(self) -> None:
        """Retention has taken the oldest rows: where a partition begins now says nothing."""
        self.starts.clear()

    def window(self) -> None:
        """Check one window and how it continues the ones before."""
        job, check = self.job, self.job.proof.checks["bronze"]
        for source, shard, first, end, records, skipped, gaps in job.con.execute(_RANGES).fetchall():
            before = self.ends.get((source, shard), self.starts.get(app_id(source, shard)))
            if before is not None and before != first:
                self._break(source, shard, first, before)
            self.ends[(source, shard)] = max(end, before or 0)
            for name, count in (("records", records), ("skipped", skipped), ("gaps", gaps)):
                job.proof.count(name, int(count))
        for source, shard, first, before in job.con.execute(_BREAKS).fetchall():
            self._break(source, shard, first, before)
        job.refuse(check, "odd_row", "bronze rows that are neither a record nor a marker", job.con.sql(_ODD_KINDS))

    def _break(self, source: str, shard: int, first: int, before: int) -> None:
        check = self.job.proof.checks["bronze"]
        where = f"{source[:SOURCE_PREFIX]}.{shard}"
        if first > before:
            check.fail("hole", "offsets that bronze does not have", first - before, [f"{where} [{before}, {first})"])
        else:
            check.fail("overlap", "offsets that bronze has twice", before - first, [f"{where} [{first}, {before})"])

    def settled(self) -> None:
        """All windows that silver has consumed are done: silver must record the very offsets where they end."""
        check = self.job.proof.checks["exactly_once"]
        for where, end, found in self._recorded(self.in_silver):
            if found != end:
                check.fail(
                    "offset_differs",
                    "silver records another next offset than it consumed",
                    1,
                    [f"{where}: {found}, not {end}"],
                )

    def finish(self, commits: Sequence[int]) -> None:
        """All windows are done. `commits` are the bronze commits that have rows, ascending."""
        check = self.job.proof.checks["bronze"]
        for where, end, found in self._recorded(self.in_bronze):
            if found != end:
                check.fail(
                    "end_differs",
                    "bronze ends elsewhere than it records",
                    1,
                    [f"{where}: rows end at {end}, recorded is {found}"],
                )
        self._commits(commits)
        check.facts |= {"commits": len(commits), self.job.contract.shown.shards: len(self.ends)}

    def _recorded(self, found: dict[str, int | None]) -> list[tuple[str, int, int | None]]:
        return [(f"{t[:SOURCE_PREFIX]}.{p}", end, found.get(app_id(t, p))) for (t, p), end in self.ends.items()]

    def _commits(self, commits: Sequence[int]) -> None:
        """Every bronze commit has rows, so a number without any is a loss; only retention may take the oldest ones."""
        job, check = self.job, self.job.proof.checks["bronze"]
        last = job.bronze_seq
        known = set(commits)
        first = min((c for c in commits if c > 0), default=last + 1)
        missing = [seq for seq in range(first, last + 1) if seq not in known]
        check.fail(
            "commit_missing", "bronze commits without any row", len(missing), [f"commit {seq}" for seq in missing]
        )
        foreign = [seq for seq in commits if not 0 < seq <= last]
        check.fail(
            "foreign_commit",
            f"rows of commits that were never made (the last is {last})",
            len(foreign),
            [f"commit {s}" for s in foreign],
        )
        if first > 1 and created(job.bronze.table.path).date().isoformat() >= job.bronze_cutoff:
            days = job.contract.bronze_retention.days
            check.fail(
                "commit_missing",
                "bronze commits without any row",
                first - 1,
                [f"commits 1 to {first - 1}, younger than {days} days"],
            )


def check_broker(job: Job, marks: Marks | None) -> None:
    """Compare bronze's ends with what the broker still has. A broker without the topic has lost nothing that we know of."""
    check = job.proof.checks["broker"]
    if marks is None:
        check.fail("no_topic", "the broker has no such topic", 1, [job.contract.topic])
        return
    app_ids = [marks.stream.app_id(p) for p in marks.marks]
    followed = followed_mark(marks.stream.name)
    recorded = job.bronze.look_up([*app_ids, followed])
    # The broker was asked after bronze: what a worker has read since is no gap.
    newest = Snapshot.take(LakeTable(job.bronze.table.path, BRONZE_SCHEMA, "landed_date"), app_ids).transactions
    for partition, (earliest, high) in marks.marks.items():
        end = recorded[marks.stream.app_id(partition)]
        if end is None and recorded[followed] is not None:
            end = 0  # it came later, and the next ingest run reads it from its first offset
        where = f"{marks.stream.id[:SOURCE_PREFIX]}.{partition}"
        if end is not None and newest.get(marks.stream.app_id(partition), end) < earliest:
            what = f"{where} [{end}, {earliest})"
            check.fail(
                "gap",
                "offsets that the broker deleted before they were read; see `assay accept-gap`",
                earliest - end,
                [what],
            )
        if end is not None and end > high:
            check.fail(
                "beyond_broker",
                "offsets that bronze has and the broker does not know",
                end - high,
                [f"{where} [{high}, {end})"],
            )
        job.proof.count("lag", max(0, high - max(earliest, end or 0)))
    check.facts[job.contract.shown.shards] = len(marks.marks)


def unreachable(job: Job, name: str, error: AssayError) -> None:
    """A service that does not answer proves nothing."""
    job.proof.checks[name].fail("unreachable", error.message, 1, [error.hint])
