"""Rows: each bronze record exactly once in silver or quarantine, with the content that bronze and the contract give it.

Bronze is walked in windows of commits; silver and quarantine rows of a window are found by their `_seq`. What is in neither
is kept for `duplicates.py`, which looks for the survivor. Nothing here holds more than a window in memory.

Belongs here: coordinates, stored hashes, derivation. Does not: ranges of positions (`coverage.py`), keys, the index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from platform_assets.contracts.model import Table
from platform_assets.core.coordinates import COLUMNS, COORDINATES, SPAN
from platform_assets.reconcile.coverage import Coverage
from platform_assets.reconcile.job import Job, size
from platform_assets.reconcile.versions import NEXT_VERSIONS, VERSIONS, Made, key_only
from platform_assets.transform import Transformer
from platform_assets.transform.hashing import INCOMPARABLE, hash_expression, key_low_expression
from platform_assets.transform.sql import identifier, literal

WINDOW_ROWS = 500_000
WINDOW_BYTES = 256 * 1024 * 1024
_END = 2**63 - 1
_COMPARED = [
    "_source", "_shard", "_position", "_seq", "_hash", "_landed_at", "_history", "_key_id", "event_partition",
    "_key_hi", "_key_lo", "_content", "_time",
]  # fmt: skip
_RECORD_COLUMNS = (*COLUMNS, SPAN, "kind", "seq", "landed_at", "value")
_SYSTEM = f"{COORDINATES}, _seq, _hash, _landed_at, _history, _contract_version, _key_id, event_partition"

_ODD = """
    CREATE OR REPLACE TABLE odd AS
    SELECT _source, _shard, _position,
           CAST(sum(rec) AS INT) AS rec, CAST(sum(mark) AS INT) AS mark, CAST(sum(s) AS INT) AS s, CAST(sum(q) AS INT) AS q
    FROM (
        SELECT _source, _shard, _position, seq AS _seq,
               CAST(kind = 'record' AS INT) AS rec, CAST(kind <> 'record' AS INT) AS mark, 0 AS s, 0 AS q FROM b
        UNION ALL SELECT _source, _shard, _position, _seq, 0, 0, 1, 0 FROM s
        UNION ALL SELECT _source, _shard, _position, _seq, 0, 0, 0, 1 FROM q
    )
    GROUP BY _source, _shard, _position, _seq
    HAVING NOT (sum(rec) = 1 AND sum(mark) = 0 AND sum(s) + sum(q) = 1) AND NOT (sum(mark) = 1 AND sum(rec) + sum(s) + sum(q) = 0)
"""
_VERDICTS = (
    # (code, message, condition on `odd`)
    ("bronze_twice", "records that bronze has twice", "rec + mark > 1"),
    ("silver_twice", "records that are in silver twice", "rec + mark = 1 AND s > 1"),
    ("quarantine_twice", "records that are in quarantine twice", "rec + mark = 1 AND q > 1"),
    (
        "both",
        "records in silver and in quarantine; `assay replay` finishes what was interrupted",
        "rec = 1 AND s = 1 AND q = 1",
    ),
    ("silver_without_record", "silver rows without a bronze record", "rec = 0 AND s > 0"),
    ("quarantine_without_record", "quarantine rows without a bronze record", "rec = 0 AND q > 0"),
)
_NEITHER = "rec = 1 AND mark = 0 AND s = 0 AND q = 0"

_ALTERED = """
    SELECT s._source, s._shard, s._position, concat_ws(', ',
        CASE WHEN s._hash IS DISTINCT FROM r._hash THEN 'content' END,
        CASE WHEN s.event_partition IS DISTINCT FROM r.event_partition THEN 'event partition' END,
        CASE WHEN s._history IS DISTINCT FROM r._history THEN 'history' END,
        CASE WHEN s._landed_at IS DISTINCT FROM r._landed_at THEN 'landing time' END,
        CASE WHEN s._key_id IS DISTINCT FROM r._key_id THEN 'masking key' END) AS note
    FROM s JOIN r USING (_source, _shard, _position)
    WHERE s.current AND (s._hash IS DISTINCT FROM r._hash OR s.event_partition IS DISTINCT FROM r.event_partition
        OR s._history IS DISTINCT FROM r._history OR s._landed_at IS DISTINCT FROM r._landed_at
        OR s._key_id IS DISTINCT FROM r._key_id)
"""
# What an older version made may have other values, but neither another time nor another key.
_MOVED = """
    SELECT _source, _shard, _position, 'of another record'
    FROM s JOIN r USING (_source, _shard, _position)
    WHERE NOT s.current AND NOT s.other_major
        AND (s._time IS DISTINCT FROM r._time OR (NOT s.other_key AND s._key_lo IS DISTINCT FROM r._key_lo))
"""
_SHOULD_REJECT = """
    SELECT _source, _shard, _position, x.reason
    FROM s JOIN x USING (_source, _shard, _position) WHERE s.current
"""
_SHOULD_ACCEPT = """
    SELECT _source, _shard, _position, concat('stored reason: ', q.reason)
    FROM q JOIN r USING (_source, _shard, _position) WHERE q.current
"""
_REASON = """
    SELECT _source, _shard, _position, concat(q.reason, ', not ', x.reason)
    FROM q JOIN x USING (_source, _shard, _position) WHERE q.current AND q.reason IS DISTINCT FROM x.reason
"""
_WANTED = """
    SELECT _source, _shard, _position, _span, kind, seq, landed_at, value
    FROM mine SEMI JOIN neither USING (_source, _shard, _position)
"""
_TURNED = """
    CREATE OR REPLACE TABLE turned AS
    SELECT _source, _shard, _position, concat('rejected now: ', mine.reason) AS note,
        coalesce(other_version, false) AS other_version, coalesce(other_major, false) AS other_major
    FROM (FROM x SEMI JOIN neither USING (_source, _shard, _position)) AS mine
    ASOF LEFT JOIN versions ON mine._seq >= versions._seq
"""
_TURNED_RECORDS = """
    SELECT records.* FROM records
    SEMI JOIN (FROM turned WHERE other_version) AS turned USING (_source, _shard, _position)
"""
_CLAIM = """
    INSERT INTO claimed
    SELECT _source, _shard, _position, event_partition, _key_hi, _key_lo, _content, _landed_at,
        coalesce(other_key, false)
    FROM (FROM r SEMI JOIN neither USING (_source, _shard, _position)) AS mine
    ASOF LEFT JOIN versions ON mine._seq >= versions._seq
"""
CLAIMED = """
    CREATE OR REPLACE TABLE claimed (
        _source VARCHAR, _shard INT, _position BIGINT, event_partition VARCHAR,
        _key_hi UBIGINT, _key_lo UBIGINT, _content UINTEGER, _landed_at TIMESTAMPTZ, other_key BOOLEAN)
"""
"""Records in neither silver nor quarantine that the contract accepts: each says to be a duplicate.

`other_key`: when it was settled, the same record had another key.
"""


@dataclass(frozen=True, slots=True)
class Commit:
    """One bronze commit: its number, rows and bytes of values."""

    seq: int
    rows: int
    size: int


class RowProof:
    """Walks one table. Leaves the session's table `claimed` behind."""

    def __init__(self, job: Job, transformer: Transformer) -> None:
        self._job = job
        self._transformer = transformer
        self._coverage = Coverage(job)
        self._checks = job.proof.checks
        self._schema = transformer.accepted_schema

    def run(self) -> None:
        """Every check of `bronze`, `exactly_once`, `content` and `derivation`, but for duplicates and keys."""
        job = self._job
        job.con.execute(CLAIMED)
        job.con.execute(VERSIONS)
        job.bronze.view(job.con, "bronze")
        self._coverage.begin()
        commits = self._commits()
        if all(c.seq != 1 for c in commits):
            self._coverage.forget_starts()
        settled = [c for c in commits if 0 < c.seq <= job.silver_seq]
        first = settled[0].seq if settled else job.silver_seq + 1
        self._outside(first)
        total, done = sum(c.rows for c in commits), 0
        job.progress("rows", 0, total)
        after = first - 1
        for group in _windows(settled):
            self._window(after, group[-1].seq)
            after = group[-1].seq
            done += sum(c.rows for c in group)
            job.progress("rows", done, total)
        if after < job.silver_seq:  # commits that silver has consumed and bronze has lost
            self._window(after, job.silver_seq)
        self._coverage.settled()
        for group in _windows([c for c in commits if c.seq > job.silver_seq]):
            self._bronze(group[0].seq - 1, group[-1].seq)
            self._coverage.window()
            job.proof.count("undecided", sum(c.rows for c in group))
            done += sum(c.rows for c in group)
            job.progress("rows", done, total)
        self._coverage.finish([c.seq for c in commits])
        if not job.deep:
            self._checks["derivation"].skipped = "not asked for"

    def _commits(self) -> list[Commit]:
        found = self._job.con.execute(
            "SELECT coalesce(seq, -1), count(*), coalesce(sum(octet_length(value)), 0) FROM bronze GROUP BY 1 ORDER BY 1"
        ).fetchall()
        return [Commit(int(seq), int(rows), int(size)) for seq, rows, size in found]

    # -- rows that no window can hold --------------------------------------------------------------------------------

    def _outside(self, first: int) -> None:
        """Silver and quarantine rows of commits before bronze's first (retention) and after silver's last (impossible)."""
        job, check = self._job, self._checks["exactly_once"]
        self._silver(f"_seq < {first}", job.silver.between("_seq", -_END, first - 1))
        quarantine = job.quarantine.table.relation(job.con, job.quarantine.between("_seq", -_END, first - 1))
        job.store(
            "q", quarantine.filter(f"_seq < {first} AND stage = 'transform'").project(f"{COORDINATES}, _landed_at")
        )
        job.proof.count("quarantined", size(job.con.table("q")))
        for layer, name in (("s", "silver"), ("q", "quarantine")):
            rows = job.con.table(layer)
            young = rows.filter(f"_landed_at >= TIMESTAMPTZ '{job.bronze_cutoff}'").project(
                f"{COORDINATES}, 'landed ' || _landed_at"
            )
            lost = job.refuse(check, f"{name}_without_record", f"{name} rows without a bronze record", young)
            job.proof.count("beyond_bronze_retention", size(rows) - lost)
            twice = (
                rows.aggregate(f"{COORDINATES}, '' AS note, count(*) AS n")
                .filter("n > 1")
                .project(f"{COORDINATES}, note")
            )
            job.refuse(check, f"{name}_twice", f"records that are in {name} twice", twice)
        self._content()
        silver = job.silver.table.relation(job.con, list(job.silver.files))
        ahead = silver.filter(f"_seq IS NULL OR _seq > {job.silver_seq}").project(
            f"{COORDINATES}, concat('commit ', _seq)"
        )
        job.refuse(check, "silver_without_record", "silver rows without a bronze record", ahead)
        rejects = job.quarantine.table.relation(job.con, list(job.quarantine.files))
        ahead = rejects.filter(f"_seq IS NULL OR _seq > {job.bronze_seq}").project(
            f"{COORDINATES}, concat('commit ', _seq)"
        )
        job.refuse(check, "quarantine_without_record", "quarantine rows without a bronze record", ahead)
        odd = rejects.filter("stage IS NULL OR stage NOT IN ('transform', 'index')").project(f"{COORDINATES}, stage")
        job.refuse(check, "odd_stage", "quarantine rows of no known stage", odd)

    # -- one window --------------------------------------------------------------------------------------------------

    def _window(self, after: int, upto: int) -> None:
        """All checks of bronze commits (`after`, `upto`]."""
        job, within = self._job, f"_seq > {after} AND _seq <= {upto}"
        bronze = self._bronze(after, upto)
        self._coverage.window()
        self._silver(within, job.silver.between("_seq", after + 1, upto))
        self._quarantine(within, after, upto)
        self._content()
        job.con.execute(_ODD)
        odd, check = job.con.table("odd"), self._checks["exactly_once"]
        for code, message, condition in _VERDICTS:
            where = self._checks["bronze"] if code == "bronze_twice" else check
            note = "CASE WHEN mark > 0 THEN 'a marker' ELSE '' END"
            job.refuse(where, code, message, odd.filter(condition).project(f"{COORDINATES}, {note}"))
        job.store("neither", odd.filter(_NEITHER).project(COORDINATES))
        self._derive(bronze, after, upto)

    def _bronze(self, after: int, upto: int) -> pa.Table | None:
        """The session's table `b`; with `deep` the records themselves too."""
        job = self._job
        within = f"seq > {after} AND seq <= {upto}"
        source = job.bronze.table.relation(job.con, job.bronze.between("seq", after + 1, upto)).filter(within)
        columns = (*COLUMNS, SPAN, "kind", "seq")
        if not job.deep:
            job.store("b", source.project(", ".join(columns)))
            return None
        rows: pa.Table = source.project(", ".join(f'"{c}"' for c in _RECORD_COLUMNS)).to_arrow_table()
        job.store("b", job.con.from_arrow(rows.select(columns)))
        return rows

    def _silver(self, within: str, files: list) -> None:  # type: ignore[type-arg]
        """The session's table `s`: system columns, whether the stored hash is right, whether the row is of today's making."""
        job = self._job
        made = Made.of(job.contract, "_contract_version")
        other_mask = f"coalesce(_key_id <> {literal(job.masker.key_id)}, false)"
        job.store(
            "s",
            job.silver.table.relation(job.con, files)
            .filter(within)
            .project(
                f"{_SYSTEM}, _hash IS NOT DISTINCT FROM {hash_expression(job.contract)} AS good,"
                f" NOT {made.other_version} AND NOT {other_mask} AS current, {made.columns(other_mask)},"
                f" {self._identity()}"
            ),
        )
        job.proof.count("silver", size(job.con.table("s")))

    def _identity(self) -> str:
        """SQL for the time of a silver row (`_time`, microseconds since 1970) and half of its key (`_key_lo`), where compared."""
        contract = self._job.contract
        key = f"CASE WHEN NOT current THEN {key_low_expression(contract)} END" if contract.key else "NULL::UBIGINT"
        return f"epoch_us({identifier(contract.event_time)}) AS _time, {key} AS _key_lo"

    def _quarantine(self, within: str, after: int, upto: int) -> None:
        job = self._job
        source = job.quarantine.table.relation(job.con, job.quarantine.between("_seq", after + 1, upto)).filter(within)
        made = Made.of(job.contract, "contract_version")
        columns = f"{COORDINATES}, _seq, reason, NOT {made.other_version} AS current, {made.columns('NULL')}"
        job.store("q", source.filter("stage = 'transform'").project(columns))
        job.proof.count("quarantined", size(job.con.table("q")))

    def _content(self) -> None:
        """Stored hashes of the rows in `s`. What an older major version promised may lack fields by now."""
        job, check = self._job, self._checks["content"]
        wrong = job.con.table("s").filter("NOT good")
        check.count("rows", size(job.con.table("s")))
        check.count("other_major_version", size(wrong.filter("other_major")))
        job.refuse(
            check,
            "hash_differs",
            "silver rows whose content is not what it was",
            wrong.filter("NOT other_major").project(f"{COORDINATES}, ''"),
        )

    # -- derivation --------------------------------------------------------------------------------------------------

    def _derive(self, bronze: pa.Table | None, after: int, upto: int) -> None:
        """Transform the window again (or, without `deep`, only what is in neither layer) and compare."""
        job = self._job
        job.con.execute(NEXT_VERSIONS)
        if bronze is None:
            if size(job.con.table("neither")) == 0:
                return
            mine = job.bronze.table.relation(job.con, job.bronze.between("seq", after + 1, upto))
            mine.filter(f"seq > {after} AND seq <= {upto}").create_view("mine", replace=True)
            bronze = job.con.sql(_WANTED).to_arrow_table()
        transformed = self._transformer.transform(bronze)
        job.con.register("r", _keyed(job.contract, transformed.accepted))
        job.con.register("x", transformed.rejected.select([*COLUMNS, "_seq", "reason"]))
        try:
            if job.deep:
                self._compare()
            job.con.execute(_CLAIM)
            job.con.execute(_TURNED)
        finally:
            job.con.unregister("r")
            job.con.unregister("x")
        if job.contract.key:
            self._claim_turned(bronze)
        turned = job.con.table("turned")
        excused = turned.filter("other_major" if job.contract.key else "false")
        lost = turned.except_(excused).project(f"{COORDINATES}, note")
        job.refuse(self._checks["exactly_once"], "lost", "records in neither silver nor quarantine", lost)
        job.proof.count("not_rederivable", size(excused))

    def _claim_turned(self, bronze: pa.Table) -> None:
        """What an older version may have accepted, and the present one rejects, says to be a duplicate too: by its key alone."""
        job = self._job
        job.con.register("records", bronze)
        records = job.con.sql(_TURNED_RECORDS).to_arrow_table()
        job.con.unregister("records")
        if not records.num_rows:
            return
        with Transformer(key_only(job.contract), job.masker) as transformer:
            accepted = _keyed(job.contract, transformer.transform(records).accepted)
        # Fields are missing from it: its values cannot be compared.
        at = accepted.schema.get_field_index("_content")
        unknown = pa.repeat(pa.scalar(INCOMPARABLE, pa.uint32()), accepted.num_rows)
        job.con.register("r", accepted.set_column(at, "_content", unknown))
        job.con.execute(_CLAIM)
        job.con.execute("CREATE OR REPLACE TABLE turned AS FROM turned ANTI JOIN r USING (_source, _shard, _position)")
        job.con.unregister("r")

    def _compare(self) -> None:
        job, check = self._job, self._checks["derivation"]
        for code, message, sql in (
            ("altered", "silver rows that bronze gives otherwise", _ALTERED),
            ("moved", "silver rows that stand where bronze has another record", _MOVED),
            ("should_be_rejected", "silver rows that the contract rejects", _SHOULD_REJECT),
            ("should_be_accepted", "quarantine rows that the contract accepts", _SHOULD_ACCEPT),
            ("reason_differs", "quarantine rows with another reason", _REASON),
        ):
            job.refuse(check, code, message, job.con.sql(sql))
        for layer in ("s", "q"):
            rows = job.con.table(layer)
            older = size(rows.filter("NOT current"))
            check.count("rows", size(rows) - older)
            job.proof.count("not_rederivable", older)


def _keyed(contract: Table, accepted: pa.Table) -> pa.Table:
    """The columns that are compared, and the key's; null where the table has none."""
    accepted = accepted.append_column("_time", accepted.column(contract.event_time).cast(pa.int64()))
    for name, kind in (("_key_hi", pa.uint64()), ("_key_lo", pa.uint64()), ("_content", pa.uint32())):
        if name not in accepted.column_names:
            accepted = accepted.append_column(name, pa.nulls(len(accepted), kind))
    return accepted.select(_COMPARED)


def _windows(commits: list[Commit]) -> Iterator[list[Commit]]:
    """Consecutive commits of at most `WINDOW_ROWS` rows and `WINDOW_BYTES` bytes, one commit at least."""
    group: list[Commit] = []
    rows = size = 0
    for commit in commits:
        if group and (rows + commit.rows > WINDOW_ROWS or size + commit.size > WINDOW_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(commit)
        rows, size = rows + commit.rows, size + commit.size
    if group:
        yield group
