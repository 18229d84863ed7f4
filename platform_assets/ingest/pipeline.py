"""One table on the worker: its stream, its tables, and the steps that carry a batch through them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from platform_assets.contracts.model import Table
from platform_assets.core.coordinates import BRONZE_ORDER, ORDER, SHARD
from platform_assets.core.errors import one_line
from platform_assets.core.settings import Settings
from platform_assets.ingest.land import HoldsSince, Landed, Landing
from platform_assets.ingest.publish import Publisher
from platform_assets.ingest.report import TableReport
from platform_assets.ingest.settle import Settled, Settler, counts
from platform_assets.sources.base import SourceBatch, Stream, Watermarks
from platform_assets.tables.layout import KEY_FOLDER, Lake
from platform_assets.tables.maintain import compact
from platform_assets.tables.session import session
from platform_assets.tables.table import Conflict
from platform_assets.transform import Transformed, Transformer
from platform_assets.transform.masking import masker

LAYER_ORDER = {
    "bronze": BRONZE_ORDER,
    "silver": ORDER,
    "quarantine": ORDER,
    "feed": f"seq_min, {SHARD}",
}
"""How the rows of each layer lie in a merged file, so that readers skip by statistics."""

_log = logging.getLogger("assay.ingest")


class Pipeline:
    """Carries the batches of one stream. Landing, transforming, settling, publishing and compacting have a thread each."""

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        contract: Table,
        stream: Stream,
        *,
        index: bool,
        holds_since: HoldsSince = lambda _moment: False,
        on_settled: Callable[[TableReport, Settled], None] = lambda report, settled: None,
    ) -> None:
        """`holds_since` asks the source; `on_settled` hears of each silver commit, from the thread that made it."""
        self.contract = contract
        self._on_settled = on_settled
        self.stream = stream
        self.report = TableReport(contract.name, stream.id)
        self.tables = lake.tables(contract)
        self._con = session()
        self._merging = session(threads=1)
        self.landing = Landing(self.tables.bronze, stream, contract.qualified_name, holds_since)
        self._transformer = Transformer(contract, masker(settings))
        self._settler = Settler(contract, self.tables, self._transformer, self._con, lake.root / KEY_FOLDER)
        self._transforming = ThreadPoolExecutor(1, "transform")
        self.publisher = Publisher(settings, contract, self.tables, self.report, enabled=index)
        self._began: dict[int, int | None] = {}

    def open(self) -> None:
        """Finish what a predecessor left half done: bronze without silver."""
        self._catch_up()

    def begin(self, watermarks: Callable[[], Watermarks]) -> None:
        """Promise the partitions that bronze has never begun; `watermarks` asks the broker, and is seldom needed."""
        self.landing.begin(watermarks)

    def grow(self, stream: Stream) -> None:
        """The stream has got more shards, which are read from their first position on."""
        self.stream = stream
        self.landing.grow(stream)
        self.begin(dict)

    def publish(self) -> None:
        """Start publishing what silver holds, unless it has started."""
        self.publisher.start(self._settler.seq)

    def own(self) -> None:
        """Be the table's worker, which ends the predecessor, and publish from now on."""
        self.landing.claim()
        self.publish()

    def close(self, seconds: float) -> None:
        """Stop publishing after at most `seconds` more; keep the key sets for the next run."""
        self.publisher.finish(seconds)
        if self._settler.keys is not None:
            self._settler.keys.save()
        self._transforming.shutdown()
        self._transformer.close()
        self._con.close()
        self._merging.close()

    def positions(self) -> dict[int, int | None]:
        """The next offset to read, by Kafka partition: bronze's end, or the start that it promised."""
        self._began = self.landing.next_positions()
        return dict(self._began)

    def lag(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Records before these ends that bronze does not hold; what was read and not landed waits like the rest."""
        return {p: max(0, end - (self.landing.recorded(p) or 0)) for p, end in ends.items()}

    def land(self, batch: SourceBatch) -> Landed:
        """Commit the batch to bronze. Raises `Conflict` when it must be read again, `HandedOver` when the worker is over."""
        clock = time.perf_counter()
        landed = self.landing.land(batch, self._began)
        self._began |= batch.next
        self.report.seconds["bronze"] += time.perf_counter() - clock
        self._note(batch, landed.landed_date)
        self.report.tell("clock", self.landing.clock_trouble)
        return landed

    def transform(self, landed: Landed) -> Future[Transformed]:
        """Begin to transform a bronze commit, while the one before it is being written."""
        return self._transforming.submit(self._settler.transform, landed.rows, self.report)

    def settle(self, landed: Landed, transformed: Future[Transformed]) -> TableReport:
        """Carry a bronze commit to quarantine and silver and hand it to the publisher; commits are settled in their order."""
        try:
            self._offer(self._settler.settle(landed.rows, landed.seq - 1, landed.seq, self.report, transformed))
        except Conflict:
            self._catch_up()
        return self.report

    def check(self) -> None:
        """Notice a younger worker or a failed publisher even when no batch comes."""
        self.landing.check()
        self.publisher.check()

    def compact(self) -> int:
        """Merge small files of all layers; files that went away. What cannot be merged is told, and holds up nothing."""
        merged, failed = 0, []
        for layer, order in LAYER_ORDER.items():
            try:
                merged += compact(getattr(self.tables, layer), self._merging, order)
            except Exception as error:  # small files are slow, not wrong: no reason to end the worker
                failed.append(f"{layer}: {one_line(error)}")
                _log.exception("small files of %s %s are not merged", self.contract.qualified_name, layer)
        self.report.tell("compaction", f"small files are not merged: {'; '.join(failed)}" if failed else "")
        self.report.compacted += merged
        return merged

    def _catch_up(self) -> None:
        while True:
            try:
                for settled in self._settler.catch_up(self.report):
                    self._offer(settled)
            except Conflict:
                continue  # another worker settles the same commits: look again until silver has them all
            return

    def _offer(self, settled: Settled) -> None:
        self.publisher.offer(settled)
        self._on_settled(self.report, settled)

    def _note(self, batch: SourceBatch, landed_date: str) -> None:
        kinds = counts(batch.rows.column("kind"))
        self.report.bronze[landed_date] += kinds.get("record", 0)
        self.report.bronze_bytes += batch.bytes
        self.report.skipped += sum(batch.next[p] - batch.start[p] for p in batch.next) - kinds.get("record", 0)
        for partition, end in batch.next.items():
            begin = self.report.positions.get(partition, (batch.start[partition], 0))[0]
            self.report.positions[partition] = (begin, end)
