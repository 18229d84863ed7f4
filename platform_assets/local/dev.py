"""The whole platform on one machine for the systems that are there: services, topics, Dagster, the page, and their orderly end.

Belongs here: what is started and ended, in which order, and asking what runs. Does not: what a person sees of it
(`cli/dev.py`), invented events and their proof (`demo.py`), or any of the parts. Services that ran before are used and left
running; those that were started here end with this process, killed or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_assets.core.errors import AssayError

if TYPE_CHECKING:
    from platform_assets.contracts.model import Contract
    from platform_assets.core.settings import Settings
    from platform_assets.local.dagster import Dagster
    from platform_assets.local.page import Page

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class IngestRun:
    """An ingest run as Dagster knows it; times in seconds since 1970, None when it has not come so far."""

    id: str
    status: str
    started: float | None
    ended: float | None

    @property
    def at_work(self) -> bool:
        """Whether it has begun and did not fail."""
        return self.status in ("STARTED", "SUCCESS")

    @property
    def failed(self) -> bool:
        """Whether it ended badly."""
        return self.status == "FAILURE"


@dataclass
class Platform:
    """What runs: Dagster and the page, for which systems, and since when."""

    settings: Settings
    contracts: Mapping[str, Contract]
    dagster: Dagster
    page: Page
    began: float
    _told: dict[str, str] = field(default_factory=dict)

    def page_of(self, run: IngestRun) -> str:
        """Where Dagster shows a run."""
        return f"{self.dagster.url}/runs/{run.id}"

    def news(self) -> list[str]:
        """Alerts of any system, or of the platform, that have opened or resolved since the last call; a line each."""
        from platform_assets.alerts.platform import PLATFORM_SYSTEM
        from platform_assets.alerts.service import AlertService

        lines = []
        for system in (*self.contracts, PLATFORM_SYSTEM):
            alert_service = AlertService(self.settings, system, index=False)
            try:
                alerts = alert_service.alerts()
            finally:
                alert_service.close()
            for alert in sorted(alerts, key=lambda alert: alert.revision):
                if alert.updated_at.timestamp() >= self.began and self._told.get(alert.alert_id) != alert.state:
                    self._told[alert.alert_id] = alert.state
                    lines.append(f"Alert {alert.state} [{alert.severity}] {alert.rule}: {alert.summary}")
        return lines

    def ingest_runs(self, system: str) -> list[IngestRun]:
        """A system's ingest runs since the platform started, newest first. Raises AssayError when Dagster does not answer."""
        from platform_assets.local.dagster import query

        tag = f'{{key: "assay/ingest", value: "{system}"}}'
        text = f"""{{ runsOrError(filter: {{tags: [{tag}]}}, limit: 50) {{
            ... on Runs {{ results {{ runId status startTime endTime }} }} }} }}"""
        try:
            found: list[dict[str, Any]] = query(self.dagster.url, text)["runsOrError"]["results"]
        except (OSError, ValueError, KeyError) as error:
            folder = self.settings.home / "dagster"
            raise AssayError(f"Dagster at {self.dagster.url} does not answer", f"its logs are in {folder}") from error
        runs = [IngestRun(run["runId"], run["status"], run["startTime"], run["endTime"]) for run in found]
        return [run for run in runs if run.started is None or run.started >= self.began]


@contextmanager
def platform(
    settings: Settings, contracts: Mapping[str, Contract], *, port: int | None, say: Say
) -> Iterator[Platform]:
    """Start everything, and end at the end of the block all that was started. Main thread only.

    Raises AssayError when a part does not start; what had started is ended.
    """
    from platform_assets.core.settings import Settings as Fresh
    from platform_assets.local import lifecycle
    from platform_assets.local.dagster import start_dagster
    from platform_assets.local.page import start_page
    from platform_assets.local.prepare import prepare

    with ExitStack() as stack:
        # Services that are ending belong to a process that was killed: `up` waits for their end.
        ours = lifecycle.status(settings.home).phase in ("stopped", "stopping")
        if ours:
            say("Starting Kafka and OpenSearch (the first time they are downloaded)")
            stack.callback(_end_services, settings.home, say)
        lifecycle.up(settings.home, owned=ours)
        settings = Fresh.load(settings.home)
        prepare(settings, contracts.values())
        say("Starting Dagster")
        dagster = start_dagster(settings.home, port)
        stack.callback(dagster.stop)
        stack.callback(say, "Stopping Dagster; the workers commit what they hold")
        page = start_page(settings.home)
        stack.callback(page.end)
        yield Platform(settings, contracts, dagster, page, time.time())


def _end_services(home: Path, say: Say) -> None:
    from platform_assets.local import lifecycle

    say("Stopping Kafka and OpenSearch")
    lifecycle.down(home)
