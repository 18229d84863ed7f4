"""Invented log events of three services, quick enough to load the platform.

Belongs here: what users, payments and delivery would log: requests that cross them (one trace), latencies, errors, bursts
of errors, now and then an e-mail address or a card number (test numbers) in a text. Does not belong here: sending.

Columns are drawn with NumPy, whole batches are rendered by DuckDB; Python touches single records only to spoil them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

Record = tuple[bytes | None, bytes | None]
"""(key, value); events have no key, the value is missing only in a spoilt record."""

SERVICES = ("users", "payments", "delivery")
USERS = 200_000
BURST_EVERY_S = 90.0
BURST_S = 12.0
ALWAYS = "always"
_BATCHES_PER_S = 10
_FREE_BATCH = 20_000
_HOPS = np.array([0, 1, 2, 1, 2])  # service of the n-th event of a trace
_TRACE_LENGTHS = np.array([1, 2, 3, 4, 5])
_TRACE_WEIGHTS = np.array([0.15, 0.25, 0.25, 0.2, 0.15])


class _Template(NamedTuple):
    service: str
    level: str
    weight: float
    status: int | None
    before: str
    value: str  # name of what stands between `before` and `after`: see `_VALUES`
    after: str
    route: str | None = None  # of the request that it is about, if any


_VALUES = {
    "number": "(number % 1000000)::VARCHAR",
    "order": "'ord-' || (100000 + number % 900000)",
    "amount": "(number % 50000) / 100 || ' EUR'",
    "email": "first[1 + number % len(first)] || '.' || (number % 9973) || '@example.' || tld[1 + number % len(tld)]",
    "card": "cards[1 + number % len(cards)]",
    "address": "'10.' || number % 256 || '.' || number % 251 || '.' || number % 241",
    "node": "'node-' || number % 12",
}
_TEMPLATES = (
    _Template("users", "INFO", 40, 200, "session refreshed, ", "number", " ms left", "/session"),
    _Template("users", "INFO", 20, 200, "login accepted from ", "address", "", "/login"),
    _Template("users", "INFO", 10, 201, "profile saved, revision ", "number", "", "/profile"),
    _Template("users", "DEBUG", 20, None, "cache lookup for profile ", "number", " was a hit"),
    _Template("users", "WARN", 4, 401, "login refused, wrong password, attempt ", "number", "", "/login"),
    _Template("users", "WARN", 2, 429, "too many password resets for ", "email", "", "/passwords"),
    _Template("users", "INFO", 2, 202, "verification mail sent to ", "email", "", "/verifications"),
    _Template("users", "ERROR", 1, 500, "profile store did not answer, shard ", "number", "", "/profile"),
    _Template("users", "ERROR", 0.5, 503, 'no connection to "profiles" on ', "node", ": pool exhausted", "/profile"),
    _Template("payments", "INFO", 40, 200, "payment authorised for ", "order", "", "/pay"),
    _Template("payments", "INFO", 20, 200, "captured ", "amount", "", "/capture"),
    _Template("payments", "DEBUG", 15, None, "idempotency key seen before for ", "order", ""),
    _Template("payments", "INFO", 5, 202, "refund of ", "amount", " queued", "/refund"),
    _Template("payments", "WARN", 4, 402, "charge declined by issuer for ", "order", "", "/pay"),
    _Template("payments", "WARN", 1, 422, "card number ", "card", " failed validation", "/card"),
    _Template("payments", "ERROR", 1, 502, "gateway timed out for ", "order", ", will retry", "/pay"),
    _Template(
        "payments",
        "ERROR",
        0.5,
        500,
        "ledger entry rejected: amount ",
        "amount",
        " ≠ authorised amount",
        "/capture",
    ),
    _Template("payments", "FATAL", 0.01, 500, "settlement file cannot be written on ", "node", "", "/settlements"),
    _Template("delivery", "INFO", 40, 200, "parcel scanned for ", "order", "", "/scan"),
    _Template("delivery", "INFO", 20, 200, "route planned, stops: ", "number", "", "/plan"),
    _Template("delivery", "DEBUG", 15, None, "position of courier updated, cell ", "number", ""),
    _Template("delivery", "WARN", 4, 409, "address ambiguous for ", "order", ", Straße without number", "/address"),
    _Template("delivery", "WARN", 2, 200, "delivery window missed for ", "order", "", "/deliver"),
    _Template("delivery", "ERROR", 1, 504, "carrier did not answer within ", "number", " ms", "/deliver"),
    _Template("delivery", "ERROR", 0.3, 500, "label printer failed on ", "node", ": paper jam", "/labels"),
)
_BURST_ERRORS = 0.4

_RENDER = """
SELECT '{"event_id":"' || $run || format('{:010x}', seq)
    || '","event_time":"' || strftime(make_timestamp(micros), '%Y-%m-%dT%H:%M:%S.%fZ')
    || '","service":"' || service || '","level":"' || level
    || CASE WHEN status IS NULL THEN '"' ELSE '","status":' || status END
    || ',"user_id":"u-' || user_number
    || '","trace_id":"' || format('{:016x}{:016x}', trace_hi, trace_lo)
    || '","latency_ms":' || latency // 10 || '.' || latency % 10
    || ',"host":"' || service || '-' || host
    || '","message":"' || before || CASE value @CASES@ END || after
    || CASE WHEN route IS NULL THEN '"}' ELSE '","route":"' || route || '"}' END
FROM drawn JOIN templates USING (template)
ORDER BY seq
"""


def simulate(
    rate: float | None,
    seconds: float | None = None,
    *,
    seed: int | None = None,
    bad: float = 0.0,
    duplicates: float = 0.0,
    burst: str = "",
    clock: Callable[[], float] = time.time,
) -> Iterator[list[Record]]:
    """Batches of log events, endless unless `seconds` is given; about a tenth of a second's worth each.

    `rate` is events a second and only sets sizes: the caller paces. None: batches of 20,000 (`seconds` then counts
    by the clock). Events of a batch carry the times from the last batch's to now. `bad` is the share of records spoilt
    in one of the ways of `SPOILS`, `duplicates` that of events sent a second time. Each service in turn has trouble for
    `BURST_S` seconds every `BURST_EVERY_S`. `burst` adds to that: `always` gives one of them trouble at any time,
    `payments:60` gives payments trouble for the first 60 seconds. The same seed and clock give the same events, ids
    included; without a seed ids are unique across runs. Raises ValueError for a rate or share out of range and for a burst
    that is not understood.
    """
    if rate is not None and rate <= 0:
        raise ValueError(f"rate must be positive, not {rate}")
    if not (0 <= bad <= 1 and 0 <= duplicates <= 1):
        raise ValueError("bad and duplicates are shares between 0 and 1")
    left = None if rate is None or seconds is None else round(rate * seconds)
    per_batch = _FREE_BATCH if rate is None else max(1, round(rate / _BATCHES_PER_S))
    started = last = clock()
    draw = _Draw(seed, burst, started)
    while left is None or left > 0:
        now = clock()
        if rate is None and seconds is not None and now - started >= seconds:
            return
        size = per_batch if left is None else min(per_batch, left)
        span = min(size / rate if rate else 0.1, max(0.0, now - last)) or 1e-6 * size
        records = draw.batch(size, now, span)
        records = draw.spoil(records, bad, now) if bad else records
        records += draw.repeat(records, duplicates) if duplicates else []
        yield records
        last = now
        left = None if left is None else left - size


class _Draw:
    """The state of one simulation: randomness, the running number of events, a DuckDB of one thread."""

    def __init__(self, seed: int | None, burst: str, began: float) -> None:
        self._random = np.random.default_rng(seed)
        self._run = f"{int(self._random.integers(0, 2**40)):010x}"
        self._next = 0
        self._always_burst = burst == ALWAYS
        self._shaken, seconds = (-1, 0.0) if burst in ("", ALWAYS) else _parse_burst(burst)
        self._shaken_until = began + seconds
        self._burst_phase = float(self._random.uniform(0, BURST_EVERY_S))
        self._duckdb = duckdb.connect(config={"threads": 1})
        self._duckdb.register("templates", _template_table())
        self._pick = {
            (service, errors): _picker(service, errors) for service in range(len(SERVICES)) for errors in (False, True)
        }
        cases = " ".join(f"WHEN '{name}' THEN {sql}" for name, sql in _VALUES.items())
        lists = {
            "first": ["anna", "ben", "chen", "dilek", "emeka"],
            "tld": ["com", "org", "net"],
            "cards": ["4111111111111111", "5555-5555-5555-4444", "3782 822463 10005", "6011111111111117"],
        }
        for name, values in lists.items():
            listed = "[" + ", ".join(f"'{value}'" for value in values) + "]"
            cases = cases.replace(f"len({name})", str(len(values))).replace(f"{name}[", f"{listed}[")
        self._sql = _RENDER.replace("@CASES@", cases)

    def batch(self, size: int, now: float, span: float) -> list[Record]:
        """`size` events whose times end at `now` and began `span` seconds before."""
        random = self._random
        lengths = random.choice(_TRACE_LENGTHS, size=size, p=_TRACE_WEIGHTS)
        lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), size)) + 1]
        trace = np.repeat(np.arange(len(lengths)), lengths)[:size]
        first = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        service = _HOPS[np.arange(size) - first[trace]]
        shaken = self._burst_service(now)
        errors = (service == shaken) & (random.random(size) < _BURST_ERRORS)
        template = np.empty(size, dtype=np.int32)
        for (which, failing), (numbers, weights) in self._pick.items():
            chosen = np.flatnonzero((service == which) & (errors == failing))
            template[chosen] = numbers[np.searchsorted(weights, random.random(len(chosen)))]
        latency = random.lognormal(3.2, 0.9, size) * np.where(errors, 12.0, 1.0)
        users = (random.random(len(lengths)) ** 2 * USERS).astype(np.int64)
        high, low = (random.integers(0, 2**63, len(lengths)) for _ in range(2))
        drawn = pa.table(
            {
                "seq": np.arange(self._next, self._next + size),
                "micros": (now * 1e6 - span * 1e6 * (1 - np.arange(1, size + 1) / size)).astype(np.int64),
                "template": template,
                "user_number": users[trace],
                "trace_hi": high[trace],
                "trace_lo": low[trace],
                "latency": (latency * 10).astype(np.int64),
                "host": random.integers(1, 5, size),
                "number": random.integers(0, 2**31, size),
            }
        )
        self._next += size
        self._duckdb.register("drawn", drawn)
        values = self._duckdb.sql(self._sql, params={"run": self._run}).to_arrow_table().column(0)
        return [(None, value) for value in values.cast(pa.binary()).to_pylist()]

    def _burst_service(self, now: float) -> int:
        """The service that has trouble now; -1 for none."""
        if now < self._shaken_until:
            return self._shaken
        turn, within = divmod(now + self._burst_phase, BURST_EVERY_S)
        return int(turn) % len(SERVICES) if self._always_burst or within < BURST_S else -1

    def spoil(self, records: list[Record], share: float, now: float) -> list[Record]:
        """The same records, about `share` of them spoilt."""
        for index in np.flatnonzero(self._random.random(len(records)) < share):
            value = records[index][1]
            assert value is not None  # noqa: S101 - `batch` renders every value
            kind = int(self._random.integers(0, len(SPOILS)))
            records[index] = (None, list(SPOILS.values())[kind](value, now))
        return records

    def repeat(self, records: list[Record], share: float) -> list[Record]:
        """About `share` of the records once more."""
        return [records[index] for index in np.flatnonzero(self._random.random(len(records)) < share)]


def _template_table() -> pa.Table:
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in _TEMPLATES] for name in _Template._fields}
    for name in ("before", "after"):
        columns[name] = [json.dumps(text, ensure_ascii=False)[1:-1] for text in columns[name]]
    return pa.table({"template": pa.array(range(len(_TEMPLATES)), pa.int32()), **columns})


def _picker(service: int, errors: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(template numbers, upper bounds of their cumulative weights) for a service, or for its errors only."""
    rows = [
        (number, row.weight)
        for number, row in enumerate(_TEMPLATES)
        if row.service == SERVICES[service] and (row.level in ("ERROR", "FATAL") or not errors)
    ]
    weights = np.cumsum([weight for _, weight in rows])
    return np.array([number for number, _ in rows]), weights / weights[-1]


def _parse_burst(text: str) -> tuple[int, float]:
    """(number of the service, seconds) of `payments:60`."""
    service, _, seconds = text.partition(":")
    if service not in SERVICES or not seconds.isdigit():
        raise ValueError(f"{text!r} is no burst such as {SERVICES[1]}:60; services: {', '.join(SERVICES)}")
    return SERVICES.index(service), float(seconds)


def _with(value: bytes, **changes: Any) -> bytes:
    """The event with some members replaced; None removes one."""
    event = {**json.loads(value), **changes}
    return json.dumps({name: member for name, member in event.items() if member is not None}).encode()


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


SPOILS: dict[str, Callable[[bytes, float], bytes | None]] = {
    "truncated": lambda value, now: value[: len(value) // 2],
    "invalid_utf8": lambda value, now: value.replace(b'"message":"', b'"message":"\xff\xfe'),
    "nul_byte": lambda value, now: value.replace(b'"message":"', b'"message":"\x00'),
    "lone_surrogate": lambda value, now: value.replace(b'"message":"', b'"message":"\\ud800'),
    "nan": lambda value, now: _with(value, latency_ms=float("nan")),
    "text_for_number": lambda value, now: _with(value, latency_ms="12"),
    "number_for_text": lambda value, now: _with(value, service=7),
    "fraction_for_integer": lambda value, now: _with(value, status=200.5),
    "past_64_bits": lambda value, now: _with(value, status=2**70),
    "unknown_level": lambda value, now: _with(value, level="LOUD"),
    "no_id": lambda value, now: _with(value, event_id=None),
    "no_time": lambda value, now: _with(value, event_time=None),
    "time_in_seconds": lambda value, now: _with(value, event_time=int(now)),
    "year_9999": lambda value, now: _with(value, event_time="9999-12-31T23:59:59Z"),
    "a_day_ahead": lambda value, now: _with(value, event_time=_at(now + 86_400)),
    "array": lambda value, now: b"[" + value + b"]",
    "empty": lambda value, now: b"",
    "tombstone": lambda value, now: None,
}
"""Ways to spoil an event's JSON; every one of them must end in quarantine."""
