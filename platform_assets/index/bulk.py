"""Sending documents, and what becomes of each of them.

Belongs here: requests at a time, repetitions, the meaning of each item's answer. Does not belong here: rendering documents,
or what a worker does with a refused one.

Everything may be sent again: a document has its id and external version, so that a repetition is answered "there already".
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from opensearchpy.exceptions import OpenSearchException, TransportError
from tenacity import Retrying, retry_if_exception_type, stop_any, wait_random_exponential
from tenacity.stop import stop_after_delay, stop_when_event_set

from platform_assets.core.errors import one_line
from platform_assets.core.faultpoints import fault_point
from platform_assets.index.client import request_text
from platform_assets.index.documents import Body, Documents, Refused
from platform_assets.index.errors import Conflict, SearchError, Unavailable, error_type, reason_of, translate
from platform_assets.index.indices import Index, Indices
from platform_assets.index.lease import StaleMonitor, end_orphaned_block
from platform_assets.index.names import DocumentSet

CONCURRENCY = 2
"""Requests at a time. Measured on two cores: 2 is half as fast again as 1; 3 and 4 add nothing."""
PATIENCE_S = 60.0
"""How long one body is tried before the index counts as unavailable."""

_ANSWER = "errors,items.*.status,items.*.error.type,items.*.error.reason"
_CLEAN = '{"errors":false'

# The document is at fault, and always will be.
_POISON = frozenset(
    {
        "mapper_parsing_exception",
        "document_parsing_exception",
        "parsing_exception",
        "parse_exception",
        "json_parse_exception",
        "x_content_parse_exception",
        "input_coercion_exception",
        "max_bytes_length_exceeded_exception",
    }
)
# Other illegal arguments may be ours, and would put every document into quarantine.
_POISONOUS_ARGUMENT = ("immense term", "is too large, must be")
_GONE = "index_not_found_exception"
_MOVED = frozenset({_GONE, "index_closed_exception", "cluster_block_exception"})
_ENDING = "node_closed_exception"
"""The node is shutting down; it answers 500."""
_BUSY_STATUS = frozenset({429, 502, 503, 504})
_FAULTY_STATUS = frozenset({400, 413})


@dataclass(slots=True)
class BulkReport:
    """What became of the documents of one `write`."""

    indexed: int = 0  # taken now
    present: int = 0  # there already, at this version or a later one, or covered by a rebuilt index
    taken: Counter[str] = field(default_factory=Counter)  # both, by period: what the index has of them
    refused: list[Refused] = field(default_factory=list)
    retries: int = 0  # requests sent again
    bytes: int = 0  # of the bodies, each counted once
    seconds: float = 0.0

    def add(self, other: BulkReport) -> None:
        """Count another report's documents in (not its seconds)."""
        self.indexed += other.indexed
        self.present += other.present
        self.taken.update(other.taken)
        self.refused += other.refused
        self.retries += other.retries
        self.bytes += other.bytes


class _Again(Exception):
    """Try again: `reason` says why it did not work."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Sending:
    """One body on its way: what is still to be sent, and what is known of a block in its way."""

    table: DocumentSet
    period: str
    lines: bytes
    rows: int
    version: int
    remapped: bool = False
    watch: StaleMonitor = field(default_factory=StaleMonitor)
    report: BulkReport = field(default_factory=BulkReport)

    def took(self, *, indexed: int = 0, present: int = 0) -> None:
        """The index has acknowledged so many documents."""
        self.report.indexed += indexed
        self.report.present += present
        self.report.taken[self.period] += indexed + present


class Write:
    """Documents on their way. Every one is to be finished, or abandoned after another's failure."""

    def __init__(self, documents: Documents, futures: Sequence[Future[BulkReport]], failed: threading.Event) -> None:
        self._documents = documents
        self._futures = futures
        self._failed = failed
        self._began = time.monotonic()

    def finish(self) -> BulkReport:
        """Wait for all answers; returns and raises as `BulkWriter.write`."""
        report = BulkReport(refused=list(self._documents.refused), bytes=self._documents.size)
        half = (len(self._futures) + 1) // 2
        try:
            for count, future in enumerate(self._futures, start=1):
                report.add(future.result())
                if count == half:
                    fault_point("bulk_half")
        finally:
            self.abandon()
        report.seconds = time.monotonic() - self._began
        return report

    def abandon(self) -> None:
        """Begin no request more, and wait for those under way."""
        self._failed.set()
        for future in self._futures:
            future.cancel()
        wait([future for future in self._futures if not future.cancelled()])


class BulkWriter:
    """Sends documents to the indices that serve their periods. Threads may share it; close it after use."""

    def __init__(
        self,
        indices: Indices,
        *,
        concurrency: int = CONCURRENCY,
        patience_s: float = PATIENCE_S,
        timeout_s: float = 60.0,
        stop: threading.Event | None = None,
    ) -> None:
        """`timeout_s` bounds one request, `patience_s` all attempts of a body; `stop` ends waiting early."""
        self._indices = indices
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._stop = stop or threading.Event()
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="bulk")

    def __enter__(self) -> BulkWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for requests under way and end the threads."""
        self._pool.shutdown()

    def write(self, table: DocumentSet, documents: Documents, into: str | None = None) -> BulkReport:
        """Send all documents; returns when each is searchable after the next refresh, or is refused for good.

        `into` names one physical index, for a rebuild; otherwise each period's serving index is looked up and created
        when absent, and looked up again when it is blocked or gone. Raises Unavailable when the patience is at its end
        (some documents may be in: send all of them again later), SearchError for what cannot be understood or put right by
        waiting.
        """
        return self.begin(table, documents, into).finish()

    def begin(self, table: DocumentSet, documents: Documents, into: str | None = None) -> Write:
        """As `write`, but returns at once: what was begun first is sent first, and the node never waits for the next."""
        failed = threading.Event()
        futures = [
            self._pool.submit(self._deliver, table, period, body, documents.version, into, failed)
            for period, bodies in documents.bodies.items()
            for body in bodies
        ]
        return Write(documents, futures, failed)

    def _deliver(
        self,
        table: DocumentSet,
        period: str,
        body: Body,
        version: int,
        into: str | None,
        failed: threading.Event,
    ) -> BulkReport:
        sending = _Sending(table, period, body.data, body.rows, version)
        attempts = Retrying(
            retry=retry_if_exception_type(_Again),
            wait=wait_random_exponential(multiplier=0.1, max=3.0),
            stop=stop_any(
                stop_after_delay(self._patience_s), stop_when_event_set(self._stop), stop_when_event_set(failed)
            ),
            sleep=lambda seconds: self._pause(seconds, failed),
            reraise=True,
        )
        try:
            for attempt in attempts:
                with attempt:
                    sending.report.retries += attempt.retry_state.attempt_number > 1
                    self._attempt(sending, into)
        except _Again as error:
            raise Unavailable(
                f"the index did not take {sending.rows} documents of {table.qualified_name} {period} "
                f"within {self._patience_s:.0f} s: {error.reason}",
                "nothing is lost, they are sent again; see the node's disk, load and log",
            ) from error
        return sending.report

    def _pause(self, seconds: float, failed: threading.Event) -> None:
        until = time.monotonic() + seconds
        while not (self._stop.is_set() or failed.is_set()) and (left := until - time.monotonic()) > 0:
            self._stop.wait(min(left, 0.2))

    def _attempt(self, sending: _Sending, into: str | None) -> None:
        doing = f"sending documents of {sending.table.qualified_name} {sending.period}"
        try:
            target = into
            if target is None:
                index = self._indices.resolve(sending.table, sending.period)
                if self._covered(sending, index):
                    return
                target = index.name
            text = request_text(
                self._indices.client,
                "POST",
                f"/{target}/_bulk",
                params={"filter_path": _ANSWER},
                body=sending.lines,
                content_type="application/x-ndjson",
                timeout_s=self._timeout_s,
            )
        except OpenSearchException as error:
            self._whole_request_failed(sending, error, doing, into)
            return
        if text.startswith(_CLEAN):
            sending.took(indexed=sending.rows)
            sending.rows = 0
        else:
            self._sort_items(sending, json.loads(text)["items"], into)

    def _covered(self, sending: _Sending, index: Index) -> bool:
        """A rebuilt index holds all that silver had at its base: older rows are in it, or are no longer in silver."""
        if sending.version > index.base:
            return False
        sending.took(present=sending.rows)
        sending.rows = 0
        return True

    def _whole_request_failed(
        self, sending: _Sending, error: OpenSearchException, doing: str, into: str | None
    ) -> None:
        code = error_type(error)
        status = error.status_code if isinstance(error, TransportError) else 0
        if status == 413 and sending.rows > 1:
            # More than the node reads at once: halves do the same in two requests.
            lines = sending.lines.split(b"\n")
            middle = 2 * (sending.rows // 2)
            rest = sending.rows - middle // 2
            for part, rows in ((lines[:middle], middle // 2), (lines[middle:-1], rest)):
                half = _Sending(sending.table, sending.period, b"\n".join(part) + b"\n", rows, sending.version)
                self._attempt(half, into)
                sending.report.add(half.report)
            sending.rows = 0
            return
        if code in _MOVED:
            self._moved(sending, code, into)
            raise _Again(reason_of(error)) from error
        translated = translate(error, doing)
        if isinstance(translated, Unavailable):
            raise _Again(translated.message) from error
        raise translated from error

    def _sort_items(self, sending: _Sending, items: list[dict[str, Any]], into: str | None) -> None:
        lines = sending.lines.split(b"\n")
        again: list[bytes] = []
        reason = ""
        moved = ""
        stale_mapping = False
        for at, item in enumerate(items):
            answer = item["index"]
            status, error = int(answer["status"]), answer.get("error", {})
            code = str(error.get("type", ""))
            if status < 300:
                sending.took(indexed=1)
            elif status == 409 and code == "version_conflict_engine_exception":
                sending.took(present=1)
            elif status in _BUSY_STATUS or code in _MOVED or code == _ENDING:
                moved = code if code in _MOVED else moved
                again += lines[2 * at : 2 * at + 2]
                reason = f"{code}: {error.get('reason', '')}"
            elif code == "strict_dynamic_mapping_exception" and not sending.remapped:
                stale_mapping = True
                again += lines[2 * at : 2 * at + 2]
                reason = f"{code}: {error.get('reason', '')}"
            elif status in _FAULTY_STATUS and _poison(code, str(error.get("reason", ""))):
                sending.report.refused.append(_refused(sending, lines[2 * at], code, str(error.get("reason", ""))))
            else:
                raise SearchError(
                    f"the index answered {status} {code or 'without a reason'} to a document of "
                    f"{sending.table.qualified_name} {sending.period}",
                    "this answer is not known here; nothing is marked as done, see the node's log",
                )
        sending.lines = b"\n".join([*again, b""]) if again else b""
        sending.rows = len(again) // 2
        if stale_mapping:
            # Never the document's fault: the index is behind the contract (or ahead of this process).
            sending.remapped = True
            self._indices.forget(sending.table, sending.period)
        if moved:
            self._moved(sending, moved, into)
        if again:
            raise _Again(one_line(reason))

    def _moved(self, sending: _Sending, code: str, into: str | None) -> None:
        """The index is blocked or gone: look it up again, and end a block whose rebuild has died."""
        if into is None:
            self._indices.forget(sending.table, sending.period)
            end_orphaned_block(self._indices, sending.table, sending.period, sending.watch)
        elif code == _GONE:
            raise Conflict(f"{into} was deleted while it was being built", "another rebuild has taken over")


def _poison(code: str, reason: str) -> bool:
    if code == "illegal_argument_exception":
        return any(words in reason for words in _POISONOUS_ARGUMENT)
    return code in _POISON


def _refused(sending: _Sending, action: bytes, code: str, reason: str) -> Refused:
    name = str(json.loads(action)["index"]["_id"])
    # OpenSearch quotes a preview of the value: that stays out of quarantine.
    words = reason.partition("Preview of field's value")[0].partition("The prefix of the first")[0]
    return Refused(name, sending.period, code, one_line(words))


BULK_PATIENCE_S = 20.0
"""How long one body is tried before the publisher says that the index is behind, and why."""
