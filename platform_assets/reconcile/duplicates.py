"""Keys: none twice in an event partition, and each record that was left out as a duplicate has its survivor.

A duplicate whose values are not the survivor's is counted and named, and no failure: which of the two is right, only the
producer knows.

Belongs here: what `rows.py` left in the session's table `claimed`, and silver's keys. Does not: how a key is hashed (transform).
"""

from __future__ import annotations

from collections.abc import Iterator

from platform_assets.core.coordinates import COORDINATES
from platform_assets.reconcile.job import Job, size
from platform_assets.tables.files import DataFile
from platform_assets.transform import key_select
from platform_assets.transform.hashing import INCOMPARABLE
from platform_assets.transform.sql import text_list

GROUP_ROWS = 2_000_000
"""Event partitions are looked at together up to this many rows, so that years of small ones stay quick."""

_TWICE = """
    SELECT min(_source), min(_shard), min(_position), concat(count(*), ' rows with its key in ', event_partition)
    FROM k GROUP BY event_partition, _key_hi, _key_lo HAVING count(*) > 1
"""
_CLAIMS = "SELECT count(*) FROM claimed WHERE event_partition BETWEEN ? AND ?"
_CONFLICTING = f"""
    SELECT _source, _shard, _position, concat('in ', event_partition)
    FROM claimed SEMI JOIN k ON k.event_partition = claimed.event_partition AND k._key_hi = claimed._key_hi
        AND k._key_lo = claimed._key_lo AND k._content <> claimed._content
        AND k._content <> {INCOMPARABLE} AND claimed._content <> {INCOMPARABLE}
"""  # noqa: S608 (constants)
_WITHOUT = "SELECT claimed.* FROM claimed ANTI JOIN k USING (event_partition, _key_hi, _key_lo)"


def check_duplicates(job: Job) -> None:
    """The check `keys`, and what became of `claimed`: duplicates, beyond retention, of other keys than today's, or lost."""
    check = job.proof.checks["keys"]
    claims = size(job.con.table("claimed"))
    if job.contract.key:
        _look_at_keys(job)
    else:
        check.skipped = "the table has no key: nothing can be a duplicate"
    left = job.con.table("claimed")
    job.proof.count("duplicates", claims - size(left))
    others = size(left.filter("other_key"))
    young = f"_landed_at >= TIMESTAMPTZ '{job.silver_cutoff}'"
    kept = text_list(sorted({str(f.partition) for f in job.silver.files})) or "NULL"
    lost = left.filter(f"NOT other_key AND ({young} OR coalesce(event_partition IN ({kept}), false))")
    missing = job.refuse(
        job.proof.checks["exactly_once"],
        "lost",
        "records in neither silver nor quarantine",
        lost.project(f"{COORDINATES}, event_partition"),
    )
    job.proof.count("not_rederivable", others)
    job.proof.count("expired", size(left) - missing - others)


def _look_at_keys(job: Job) -> None:
    check, done = job.proof.checks["keys"], 0
    job.progress("keys", 0, job.silver.rows)
    for files in _groups(job.silver.files):
        job.silver.view(job.con, "silver", files)
        job.con.sql(key_select(job.contract, job.masker.key_id)).create_view("k", replace=True)
        job.refuse(check, "key_twice", "keys that silver holds more than once", job.con.sql(_TWICE))
        names = [str(f.partition) for f in files]
        if job.con.execute(_CLAIMS, [min(names), max(names)]).fetchall()[0][0]:
            conflicting = job.con.sql(_CONFLICTING)
            job.proof.count("conflicts", size(conflicting))
            job.warn(check, "conflict", "duplicates with other values than the row that stays", conflicting)
            job.store("unproved", job.con.sql(_WITHOUT))
            job.con.execute("DROP TABLE claimed")
            job.con.execute("ALTER TABLE unproved RENAME TO claimed")
        done += sum(f.rows for f in files)
        job.progress("keys", done, job.silver.rows)
    check.count("rows", done)


def _groups(files: tuple[DataFile, ...]) -> Iterator[list[DataFile]]:
    """Files by whole event partitions, in their order."""
    by_partition: dict[str, list[DataFile]] = {}
    for f in files:
        by_partition.setdefault(str(f.partition), []).append(f)
    group: list[DataFile] = []
    for _, mine in sorted(by_partition.items()):
        if group and sum(f.rows for f in group) + sum(f.rows for f in mine) > GROUP_ROWS:
            yield group
            group = []
        group += mine
    if group:
        yield group
