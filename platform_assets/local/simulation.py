"""A system's own simulator, and events from it in the background.

Belongs here: finding `simulate.py` in a system's folder, feeding its topic from a thread. Does not: which events a system
has (`systems/<system>/simulate.py`).
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from platform_assets.contracts.model import Contract, Table
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.sources.kafka.produce import Record, RecordProducer, send_paced


class Simulate(Protocol):
    """What a system's module offers: batches of (key, value), endless unless `seconds` is given; the caller paces."""

    def __call__(
        self,
        rate: float | None,
        seconds: float | None = None,
        *,
        seed: int | None = None,
        bad: float = 0.0,
        duplicates: float = 0.0,
        burst: str = "",
    ) -> Iterator[list[Record]]: ...


@dataclass(frozen=True)
class Simulator:
    """A system's simulator and the table it writes for."""

    table: Table
    simulate: Simulate


def load_simulator(contract: Contract, root: Path | None = None) -> Simulator:
    """The simulator in the system's folder, by default the packaged one; it feeds the contract's first table.

    Another is named by `TABLE` in the module. Raises AssayError when the system has none.
    """
    folder = root or Path(__file__).parents[1] / "systems"
    path = folder / contract.system / "simulate.py"
    spec = importlib.util.spec_from_file_location(f"assay_simulate_{contract.system}", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise AssayError(
            f"the system {contract.system} has no simulator", f"write simulate(rate, seconds, …) in {path}"
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    name = getattr(module, "TABLE", contract.tables[0].name)
    return Simulator(contract.table(name), module.simulate)


class Feed:
    """Events into the simulator's topic from a thread, until it is ended."""

    def __init__(
        self,
        settings: Settings,
        simulator: Simulator,
        rate: float,
        *,
        bad: float = 0.0,
        duplicates: float = 0.0,
        burst: str = "",
    ) -> None:
        self._producer = RecordProducer(settings.kafka_conf("producer"), simulator.table.topic)
        self._simulator = simulator
        self._rate, self._bad, self._duplicates, self._burst = rate, bad, duplicates, burst
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulation", daemon=True)
        self.error: Exception | None = None

    @property
    def delivered(self) -> int:
        """Events acknowledged so far."""
        return self._producer.delivered

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> int:
        """Wait for all acknowledgements and return how many there were; harmless twice. Raises what the thread raised."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(60)
        if self.error is not None:
            raise self.error
        return self.delivered

    def _run(self) -> None:
        try:
            send_paced(self._producer, self._batches(), self._rate)
        except Exception as error:  # told by `end`, in the thread that asked
            self.error = error

    def _batches(self) -> Iterator[list[Record]]:
        events = self._simulator.simulate(self._rate, bad=self._bad, duplicates=self._duplicates, burst=self._burst)
        for batch in events:
            if self._stop.is_set():
                return
            yield batch
