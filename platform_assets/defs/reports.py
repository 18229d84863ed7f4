"""Reports each morning: a job and a schedule for every system that declares some.

Belongs here: when reports are made. Does not: what they say (`systems/<system>/reports.yaml`), or how they are told (reports).
"""

# No postponed annotations here: Dagster reads those of the functions that it decorates.
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import (
    Config,
    DefaultScheduleStatus,
    Definitions,
    Failure,
    JobDefinition,
    MetadataValue,
    OpExecutionContext,
    Output,
    ScheduleDefinition,
    in_process_executor,
    job,
    op,
)
from pydantic import Field

from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.defs import policies
from platform_assets.reports.declare import declared_reports

if TYPE_CHECKING:
    from platform_assets.marts.marts import Mart

MORNING = "0 6 * * *"
"""UTC: late events of the evening have come, and people have not."""
SETTLED = timedelta(minutes=15)
"""So long after landing the marts are expected to count a row."""


class ReportsConfig(Config):
    """The configuration of a run."""

    day: str = Field("", description="The day to report on (YYYY-MM-DD, UTC). Default: yesterday.")


def report_definitions(contracts: Mapping[str, Contract]) -> Definitions:
    """The jobs and their schedules."""
    systems = Settings.load().systems
    jobs = [_job(contract) for contract in contracts.values() if declared_reports(contract.system, systems).valid]
    schedules = [
        ScheduleDefinition(job=one, cron_schedule=MORNING, default_status=DefaultScheduleStatus.RUNNING) for one in jobs
    ]
    return Definitions(jobs=jobs, schedules=schedules)


def _job(contract: Contract) -> JobDefinition:
    @op(
        name=f"report_{contract.system}", description="Makes every report of the day, keeps the pages and tells people."
    )
    def report(context: OpExecutionContext, config: ReportsConfig) -> Output[None]:
        day = date.fromisoformat(config.day) if config.day else (datetime.now(UTC) - timedelta(days=1)).date()
        try:
            pages, deaf, failed = make_reports(contract, day)
        except AssayError as error:
            raise Failure(str(error)) from error
        metadata = {name: MetadataValue.path(page) for name, page in pages.items()}
        said = [f"not made: {'; '.join(failed)}"] if failed else []
        said += [f"not told to {', '.join(deaf)}"] if deaf else []
        if said:
            raise Failure("; ".join(said), metadata=metadata)
        return Output(None, metadata=metadata)

    @job(
        name=f"{contract.system}_reports",
        description=f"The reports of {contract.system} of the day before.",
        tags=policies.BACKGROUND_TAGS,
        executor_def=in_process_executor,
    )
    def reports() -> None:
        report()

    return reports


def make_reports(contract: Contract, day: date) -> tuple[dict[str, str], list[str], list[str]]:
    """Make, keep and tell all reports of a day: (page by report, targets that did not take one, why a report was not made).

    They go out on time also when the marts lag behind silver, and then say so.
    """
    from platform_assets.marts.graph import marts_of
    from platform_assets.marts.project import project_folder
    from platform_assets.marts.rows import LakeMarts
    from platform_assets.reports.build import build
    from platform_assets.reports.send import keep, send

    settings = Settings.load()
    known = marts_of(project_folder(), contract)
    missing = missing_rows(settings.lake_path, contract, known, day, datetime.now(UTC) - SETTLED)
    marts = LakeMarts(settings.lake_path, known)
    pages: dict[str, str] = {}
    deaf: list[str] = []
    found = declared_reports(contract.system, settings.systems)
    failed = [str(mistake) for mistake in found.mistakes]
    for name, declared in found.valid.items():
        try:
            built = build(contract.system, declared, day, marts, missing=missing)
        except AssayError as error:  # of this report alone: the others are made
            failed.append(f"{name}: {error}")
            continue
        page = keep(built, settings.home)
        pages[name] = str(page)
        deaf += send(built, page, settings.values)
    return pages, sorted(set(deaf)), failed


def missing_rows(lake: Path, contract: Contract, marts: "Sequence[Mart]", day: date, until: datetime) -> int:
    """Rows of a day (UTC) that silver held at `until` already, and that the marts do not count."""
    from platform_assets.marts.plan import consumed
    from platform_assets.tables.layout import Lake
    from platform_assets.tables.session import session

    missing = 0
    done = consumed(lake, contract, marts)
    with session() as con:
        for table in contract.tables:
            silver, after = Lake(lake).tables(table).silver, done[table.name].seq
            found = silver.between("_seq", after + 1) if silver.exists() else []
            files = [f for f in found if str(f.partition).startswith(day.isoformat())]
            if files:
                new = f"_seq > {after} AND _landed_at <= TIMESTAMPTZ '{until.isoformat()}'"
                missing += silver.relation(con, files).filter(new).count("*").fetchall()[0][0]
    return missing
