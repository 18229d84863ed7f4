"""One ingest run: follow a system's topics until a younger worker takes over.

For each batch the order is bronze, then feed, quarantine and silver (`settle`), then, beside the next batches, documents
and their progress (`publish`). Whatever dies in between, the next run finds in the tables where each of them stands.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import TracebackType

import psutil

from platform_assets.alerts.model import Rule
from platform_assets.contracts.model import Contract, Table
from platform_assets.core.faultpoints import fault_point
from platform_assets.core.settings import Settings
from platform_assets.core.transactions import followed_mark
from platform_assets.ingest.alerting import IngestAlerts
from platform_assets.ingest.land import HandedOver
from platform_assets.ingest.pipeline import Pipeline
from platform_assets.ingest.report import IngestReport, TableReport
from platform_assets.sources.base import Positions, SourceBatch, SourceError, Stream, Watermarks
from platform_assets.sources.connect import open_source
from platform_assets.tables.layout import Lake
from platform_assets.tables.table import Conflict

COMMIT_SECONDS = 2.0
"""How long a batch is collected at most; a reader waits for it, for the commits and for the index's refresh."""
BATCH_ROWS = 100_000
BATCH_BYTES = 64 * 1024 * 1024
SETTLING = 1
"""Bronze commits that may wait to be settled: the next one lands meanwhile."""
COMPACT_SECONDS = 15.0
CATCHING_UP = 10
"""How much less often small files are merged while batches come full: a backlog has the machine first, its files are large."""
FINISH_SECONDS = 30.0
"""How long a worker that ends without a successor goes on publishing what it has settled."""
WAIT_SECONDS = 0.5
"""Between looks at `stop`, and at a younger worker, while the index takes what is left."""
HANDED_OVER = "handed_over"
INDEX_FAILED = "index_failed"

OnCommit = Callable[[TableReport], None]


class Worker:
    """A system's topics on their way to lake and index. One object is one run."""

    def __init__(
        self,
        settings: Settings,
        contract: Contract,
        *,
        index: bool = True,
        rules: Sequence[Rule] | None = None,
        commit_seconds: float = COMMIT_SECONDS,
        compact_seconds: float = COMPACT_SECONDS,
    ) -> None:
        """`rules` are those of its alerts, by default those in the system's folder."""
        self._settings = settings
        self._contract = contract
        self._rules = rules
        self._index = index
        self._commit_seconds = commit_seconds
        self._compact_seconds = compact_seconds
        self.report = IngestReport(contract.system, datetime.now(UTC))
        self._pipelines: dict[str, Pipeline] = {}  # by topic
        self._awaited: dict[str, Table] = {}  # by the topic that does not exist yet
        self._ahead: Future[list[SourceBatch]] | None = None
        self._compacted_at = time.monotonic()
        self._behind = False  # the last batch was full: more is waiting

    def follow(
        self, *, max_seconds: float = 180.0, stop: threading.Event | None = None, on_commit: OnCommit | None = None
    ) -> IngestReport:
        """Follow the topics until a successor has committed, `stop` is set, or `max_seconds` are over.

        Partitions that are added meanwhile, and topics that are made meanwhile, are followed from their first offset on.
        """
        until = time.monotonic() + max_seconds
        stop = stop or threading.Event()
        with self:
            try:
                while not stop.is_set() and time.monotonic() < until:
                    self._cycle(None, on_commit)
                    for pipeline in self._pipelines.values():
                        pipeline.own()
                self.report.reason = "stopped" if stop.is_set() else "time"
            except HandedOver:
                self._hand_over()
            self._settled(0, on_commit)
        return self.report

    def drain(self, *, stop: threading.Event | None = None, on_commit: OnCommit | None = None) -> IngestReport:
        """Bounded: carry everything up to the offsets that the broker holds now, index included, then end.

        Raises SourceError when there is not one of the topics.

        An index that is away is waited for until `stop` is set; one that refuses for good is not (`index_failed`).
        """
        stop = stop or threading.Event()
        with self:
            if not self._pipelines:
                raise SourceError(
                    f"no such topic: {', '.join(self._awaited)}", "`assay up` creates the topics of all contracts"
                )
            for pipeline in self._pipelines.values():
                pipeline.publish()
            until = {
                (name, partition): high
                for name, pipeline in self._pipelines.items()
                for partition, (_, high) in self._source.watermarks(pipeline.stream).items()
            }
            try:
                while not stop.is_set() and not self._reached(until):
                    self._cycle(until, on_commit)
                self._settled(0, on_commit)
                for pipeline in self._pipelines.values():
                    pipeline.own()
                self._published(stop)
                behind = any(pipeline.report.index_behind != 0 for pipeline in self._pipelines.values())
                self.report.reason = "stopped" if stop.is_set() else INDEX_FAILED if behind else "caught_up"
            except HandedOver:
                self._hand_over()
        return self.report

    # -- opening and closing -----------------------------------------------------------------------------------------

    def __enter__(self) -> Worker:
        self._source = open_source(self._settings)
        self._pool = ThreadPoolExecutor(2, "ingest")
        self._settle_pool = ThreadPoolExecutor(1, "settle")
        self._settling: deque[Future[TableReport]] = deque()
        self._compaction: Future[int] | None = None
        self._lake = Lake(self._settings.lake_path)
        self._alerts = IngestAlerts(self._settings, self._contract, self._rules, index=self._index)
        streams = self._source.describe([t.topic for t in self._contract.tables])
        for contract in self._contract.tables:
            if (stream := streams.get(contract.topic)) is not None:
                self._begin(contract, stream, partial(self._source.watermarks, stream))
            else:
                self._await(contract)
        self._alerts.start()
        self._resync()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(Exception):  # what was read ahead and not landed is read again by the next run
            if self._ahead is not None:
                self._ahead.result()
        if self._compaction is not None:
            self._compaction.exception()
        self._pool.shutdown()
        self._settle_pool.shutdown()
        ends = {} if error is not None else self._source.ends()
        self._source.close()
        for name, pipeline in self._pipelines.items():
            pipeline.report.lag = pipeline.lag({p: end for (topic, p), end in ends.items() if topic == name})
            ended = error is not None or self.report.reason == HANDED_OVER
            pipeline.close(0.0 if ended else FINISH_SECONDS)
        self._alerts.check(self.report.tables)
        self._alerts.finish()
        self.report.alert_error = self._alerts.error
        self.report.ended = datetime.now(UTC)
        self.report.peak_rss = max(self.report.peak_rss, psutil.Process().memory_info().rss)

    def _begin(self, contract: Table, stream: Stream, watermarks: Callable[[], Watermarks]) -> None:
        """Take a table on: settle what a predecessor left, and promise from where its topic is read."""
        pipeline = Pipeline(
            self._settings,
            self._lake,
            contract,
            stream,
            index=self._index,
            holds_since=lambda moment: self._source.holds_since(self._pipelines[stream.name].stream, moment),
            on_settled=self._alerts.settled,
        )
        self._pipelines[stream.name] = pipeline
        self._awaited.pop(stream.name, None)
        self.report.tables[contract.name] = pipeline.report
        pipeline.open()
        pipeline.begin(watermarks)
        self.report.epoch = max(self.report.epoch, pipeline.landing.epoch)

    def _await(self, contract: Table) -> None:
        """A table whose topic nobody has made yet; the others go on. Raises SourceError when the topic was there before."""
        bronze = self._lake.tables(contract).bronze
        if bronze.exists() and bronze.transaction(followed_mark(contract.topic)) is not None:
            raise SourceError(f"topic {contract.topic} was deleted", "`assay up` creates the topics of all contracts")
        self._awaited[contract.topic] = contract
        report = self.report.tables[contract.name] = TableReport(contract.name)
        report.tell("topic", f"there is no topic {contract.topic} yet; `assay up` creates the topics of all contracts")

    def _hand_over(self) -> None:
        """A younger worker has taken over: stop publishing at once, the rest of the way out takes its time."""
        self.report.reason = HANDED_OVER
        for pipeline in self._pipelines.values():
            pipeline.publisher.hand_over()

    # -- one cycle ---------------------------------------------------------------------------------------------------

    def _cycle(self, until: Positions | None, on_commit: OnCommit | None) -> None:
        """Take the batch that was read meanwhile, have the next one read, and carry the first through the tables."""
        started = time.perf_counter()
        batches = self._read(until) if self._ahead is None else self._ahead.result()
        consumed = time.perf_counter() - started
        self._ahead = self._pool.submit(self._read, until)
        self._behind = sum(batch.rows.num_rows for batch in batches) >= BATCH_ROWS
        fault_point("after_consume")
        for batch in batches:
            pipeline = self._pipelines[batch.stream.name]
            pipeline.report.seconds["consume"] += consumed / len(batches)
            try:
                landed = pipeline.land(batch)
            except Conflict:
                self._resync()
                break
            self._settling.append(self._settle_pool.submit(pipeline.settle, landed, pipeline.transform(landed)))
        self._settled(SETTLING, on_commit)
        for pipeline in self._pipelines.values():
            pipeline.check()
        self._watch()
        self._alerts.check(self.report.tables)

    def _settled(self, left: int, on_commit: OnCommit | None) -> None:
        """Hear of what was settled meanwhile; waits until at most `left` commits are under way. Raises what settling raised."""
        while self._settling and (len(self._settling) > left or self._settling[0].done()):
            report = self._settling.popleft().result()
            if on_commit is not None:
                on_commit(report)

    def _published(self, stop: threading.Event) -> None:
        """Wait until the index has what silver has, or will not take it. Raises what ends a worker."""
        for pipeline in self._pipelines.values():
            while not pipeline.publisher.ended(WAIT_SECONDS):
                for each in self._pipelines.values():
                    each.check()
                self._alerts.check(self.report.tables)
                if stop.is_set():
                    pipeline.publisher.finish(0.0)  # what is left is the next worker's
            pipeline.check()

    def _read(self, until: Positions | None) -> list[SourceBatch]:
        return self._source.read(max_rows=BATCH_ROWS, max_bytes=BATCH_BYTES, seconds=self._commit_seconds, until=until)

    def _resync(self) -> None:
        """Read on from where the tables stand; whatever was read ahead is given back."""
        if self._ahead is not None:
            self._ahead.result()
            self._ahead = None
        self._source.seek({name: (pipeline.stream, pipeline.positions()) for name, pipeline in self._pipelines.items()})
        for name in self._pipelines:
            self._note_gaps(name)

    def _note_gaps(self, name: str) -> None:
        report = self._pipelines[name].report
        report.gaps = [gap for (topic, _), gap in self._source.gaps.items() if topic == name]
        report.gaps_asked = True

    def _reached(self, until: Positions) -> bool:
        position = {
            (name, p): offset
            for name, pipeline in self._pipelines.items()
            for p, offset in pipeline.positions().items()
        }
        empty = self._source.empty()
        return all(
            where in self._source.gaps or where in empty or (position[where] or 0) >= end
            for where, end in until.items()
        )

    def _look_at_streams(self) -> bool:
        """Notice topics that were recreated, made, or given more partitions; whether there is more to read now.

        A topic that this worker has seen missing, and a partition that it has seen missing, are promised from their first offset.
        """
        found = self._source.look([*self._pipelines, *self._awaited])
        if found is None:
            return False
        for name, pipeline in self._pipelines.items():
            if name not in found or found[name].id != pipeline.stream.id:
                raise SourceError(
                    f"topic {name} was deleted or created again", "the next run starts with the new topic"
                )
        made = [found[name] for name in self._awaited if name in found and self._source.reaches(found[name])]
        for stream in made:
            self._begin(self._awaited[stream.name], stream, partial(_from_the_first, stream))
        grown = [
            found[name]
            for name, pipeline in self._pipelines.items()
            if set(found[name].shards) - {*pipeline.stream.shards}
        ]
        reached = [stream for stream in grown if self._source.reaches(stream)]
        for stream in reached:
            self._pipelines[stream.name].grow(stream)
        return bool(made or reached)

    def _watch(self) -> None:
        """Housekeeping between batches: changes of the topics, gaps, small files, memory."""
        if self._look_at_streams():
            self._resync()
        for name, pipeline in self._pipelines.items():
            self._note_gaps(name)
            if any(pipeline.landing.recorded(gap.shard) != gap.expected for gap in pipeline.report.gaps):
                self._resync()  # an operator has accepted a gap: go on behind it
        due = self._compact_seconds * (CATCHING_UP if self._behind else 1)
        if time.monotonic() - self._compacted_at > due and (self._compaction is None or self._compaction.done()):
            self._compaction = self._pool.submit(
                lambda: sum(pipeline.compact() for pipeline in list(self._pipelines.values()))
            )
            self._compacted_at = time.monotonic()
        self.report.peak_rss = max(self.report.peak_rss, psutil.Process().memory_info().rss)


def _from_the_first(stream: Stream) -> Watermarks:
    """Watermarks from which a stream is promised whole."""
    return dict.fromkeys(stream.shards, (0, 0))
