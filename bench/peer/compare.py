"""Ours beside Spark: both empty the same two topics, cold and warm, and must arrive at the same counts.

Belongs here: what is asked of both sides, the counts, the figures. Does not: how a side does it (`*_job.py`).

Cold is a new process up to the last row in silver, warm the same process with the second topic, each time into new tables.
A hundredth of the records is sent twice, so that equal counts say that both dropped them.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from bench.common import fill, machine, median, private_system, services
from bench.peer import jars
from bench.peer.worker import Work, Worker
from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.local.java import Java, find_java
from platform_assets.transform.personal import ADDRESS

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-peer"
DUPLICATES = 0.01
LAYERS = ("bronze", "silver", "quarantine")

# What Spark's side scrubs: the plain ways of writing, without checksums. Ours undoes encodings too, which costs it more.
EMAIL = r"[\p{L}\p{N}._%+'-]+(?:@|%40)(?:[\p{L}\p{N}-]+\.)+\p{L}{2,}"
_ISSUER_3 = r"3(?:0[0-5]|[4-9]\d)\d"
_ISSUER = rf"(?:4\d{{3}}|5[0-8]\d{{2}}|6\d{{3}}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{{2}}|7[01]\d|720)|{_ISSUER_3})"
CARD = rf"(?:{_ISSUER}[ -]?\d{{4}}[ -]?\d{{4}}[ -]?\d+|{_ISSUER_3}[ -]?\d{{6}}[ -]?\d{{4,}})"
_GROUP = r"[0-9A-Fa-f]{1,4}"
MAYBE_ADDRESS = rf"\d\.\d{{1,3}}\.\d{{1,3}}\.\d|[0-9A-Fa-f]::[0-9A-Fa-f]|:{_GROUP}::|::{_GROUP}:|(?:{_GROUP}:){{6}}"


@dataclass(frozen=True)
class Counts:
    """Rows of the three tables."""

    bronze: int
    silver: int
    quarantine: int


@dataclass(frozen=True)
class Side:
    """What one side needed: its cold run, its warm ones, bytes of memory at most."""

    cold: Work
    warm: list[Work]
    peak_rss: int

    def figures(self, name: str, events: int) -> dict[str, Any]:
        """`peer.<name>_*`: events and processor seconds, medians of the warm runs."""
        return {
            f"peer.{name}_cold_per_s": round(events / self.cold.seconds),
            f"peer.{name}_drain_per_s": round(self.rate(events)),
            f"peer.{name}_runs_per_s": [round(events / work.seconds) for work in self.warm],
            f"peer.{name}_cold_cpu_s": round(self.cold.cpu_s, 1),
            f"peer.{name}_cpu_s": round(self.cpu_s(), 1),
            f"peer.{name}_peak_rss_mb": round(self.peak_rss / 1e6),
        }

    def rate(self, events: int) -> float:
        """Events a second, the median of the warm runs."""
        return median([events / work.seconds for work in self.warm])

    def cpu_s(self) -> float:
        """Processor seconds, the median of the warm runs."""
        return median([work.cpu_s for work in self.warm])


def installed() -> bool:
    """Whether `make peer` was run."""
    return (VENV / "bin" / "python").is_file()


def run(home: Path | None = None, *, events: int = 1_000_000, repeats: int = 3) -> dict[str, Any]:
    """`peer.*`: both sides on two topics of `events` records, warm `repeats` times. Spark needs `make peer` and a full JDK."""
    if not installed():
        raise AssayError("Spark is not installed", "run `make peer` first (400 MB)")
    java = full_java()
    files = jars.fetch()
    with services(home) as settings, tempfile.TemporaryDirectory(prefix="assay-peer-", dir=settings.home) as folder:
        topics = [private_system(settings) for _ in range(2)]
        for seed, contract in enumerate(topics, 1):
            fill(settings, contract, events, seed, DUPLICATES)
        ours = [sys.executable, "-m", "bench.peer.assay_job"]
        with Worker("the worker", ours, log=VENV / "assay.log", cwd=ROOT) as worker:
            assay, assay_counts = _drain(
                worker, topics, repeats, Path(folder) / "assay", lambda c, lake: _our_request(settings, c, lake)
            )
        theirs = [str(VENV / "bin" / "python"), str(Path(__file__).with_name("spark_job.py"))]
        environment = {"JAVA_HOME": str(java.home), "SPARK_LOCAL_IP": "127.0.0.1"}
        with Worker("Spark", theirs, log=VENV / "spark.log", cwd=Path(folder), environment=environment) as worker:
            scratch, salt = Path(folder) / "scratch", secrets.token_hex(32)
            spark, spark_counts = _drain(
                worker,
                topics,
                repeats,
                Path(folder) / "spark",
                lambda c, lake: _their_request(settings, c, lake, scratch=scratch, files=files, salt=salt),
            )
    for theirs_counted, ours_counted in zip(spark_counts, assay_counts, strict=True):
        check_counts(events, theirs_counted, ours_counted)
    connector = f"{jars.CONNECTOR} {jars.version(jars.CONNECTOR)}"
    return {
        "peer.spark_version": spark.cold.answer["spark"],
        "peer.delta_version": jars.version(jars.DELTA),
        "peer.connector": f"{connector}, {jars.TOKEN_PROVIDER} {jars.version(jars.TOKEN_PROVIDER)}",
        "peer.java": spark.cold.answer["java"],
        "peer.events": events,
        "peer.silver_rows": assay_counts[0].silver,
        **spark.figures("spark", events),
        **assay.figures("assay", events),
        "peer.drain_ratio": round(assay.rate(events) / spark.rate(events), 2),
        "peer.cpu_ratio": round(spark.cpu_s() / assay.cpu_s(), 2),
        "machine": machine(),
    }


def full_java() -> Java:
    """A Java that Spark runs on: with all modules. Raises AssayError when only a reduced one is here."""
    java = find_java()
    if not java.has_vectors:
        raise AssayError(
            f"Spark needs a full JDK 21 or newer, {java.home} is a reduced Java",
            "install one, Temurin for instance, and name it in ASSAY_JAVA_HOME",
        )
    return java


def check_counts(events: int, spark: Counts, assay: Counts) -> None:
    """Raises AssayError unless both sides landed every record and agree on what became of them."""
    for name, counts in (("Spark", spark), ("the worker", assay)):
        if counts.bronze != events:
            raise AssayError(
                f"{name} has {counts.bronze} of {events} records in bronze", "the figures would mean nothing"
            )
    if spark != assay:
        raise AssayError(f"the sides differ: Spark has {spark}, the worker {assay}", "the figures would mean nothing")


def _drain(
    worker: Worker,
    topics: list[Contract],
    repeats: int,
    folder: Path,
    request: Callable[[Contract, Path], Mapping[str, Any]],
) -> tuple[Side, list[Counts]]:
    """The first topic once, then the second `repeats` times, each into a lake of its own."""
    works, counts = [], []
    for number, contract in enumerate([topics[0], *[topics[1]] * repeats]):
        lake = folder / str(number)
        lake.mkdir(parents=True)
        works.append(worker.ask(request(contract, lake)))
        counts.append(Counts(**{layer: _rows(path) for layer, path in _tables(contract, lake).items()}))
    return Side(works[0], works[1:], worker.peak_rss), counts


def _our_request(settings: Settings, contract: Contract, lake: Path) -> dict[str, Any]:
    return {"home": str(settings.home), "system": contract.system, "lake": str(lake)}


def _their_request(
    settings: Settings, contract: Contract, lake: Path, *, scratch: Path, files: list[Path], salt: str
) -> dict[str, Any]:
    table = contract.tables[0]
    return {
        "topic": table.topic,
        "kafka": _java_conf(settings.kafka_conf("ingest")),
        "tables": {layer: str(path) for layer, path in _tables(contract, lake).items()},
        "checkpoints": str(lake / "checkpoints"),
        "scratch": str(scratch),
        "jars": [str(path) for path in files],
        "fields": [asdict(field) for field in table.fields],
        "event_time": table.event_time,
        "key": list(table.key),
        "ahead_s": table.max_ahead.total_seconds(),
        "window_s": table.dedupe_window.total_seconds() if table.dedupe_window else 0,
        "email": EMAIL,
        "card": CARD,
        "address": ADDRESS,
        "maybe_address": MAYBE_ADDRESS,
        "salt": salt,
    }


def _java_conf(conf: dict[str, Any]) -> dict[str, str]:
    """Our client's connection settings as Java's."""
    theirs = {name: conf[name] for name in ("bootstrap.servers", "security.protocol")}
    if "sasl.mechanism" in conf:
        plain = "plain.PlainLoginModule" if conf["sasl.mechanism"] == "PLAIN" else "scram.ScramLoginModule"
        user, password = (
            conf[name].replace("\\", "\\\\").replace('"', '\\"') for name in ("sasl.username", "sasl.password")
        )
        theirs["sasl.mechanism"] = conf["sasl.mechanism"]
        theirs["sasl.jaas.config"] = (
            f'org.apache.kafka.common.security.{plain} required username="{user}" password="{password}";'
        )
    if "ssl.ca.location" in conf:
        theirs |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": conf["ssl.ca.location"]}
    return theirs


def _tables(contract: Contract, lake: Path) -> dict[str, Path]:
    table = contract.tables[0]
    return {layer: lake / layer / contract.system / table.name for layer in LAYERS}


def _rows(path: Path) -> int:
    """Rows of a Delta table, counted in its files; 0 when it was never written."""
    return DeltaTable(path).to_pyarrow_dataset().count_rows() if DeltaTable.is_deltatable(path) else 0
