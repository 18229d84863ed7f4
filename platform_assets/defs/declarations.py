"""What is wrong with the systems' declarations, as Dagster sees it: assets of broken systems, and the sensor that looks.

Belongs here: telling Dagster, and the platform's alert. Does not: finding mistakes (`registry`), or leaving out what is wrong:
whoever loads a declaration does that.

The definitions of a code location are those of its last load. The sensor reads the files as they are now, so a system that has
become broken is told of, and so is one that was put right and waits for the location to be loaded again.
"""

# No postponed annotations here: Dagster reads those of the functions that it decorates.
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetSpec,
    DagsterInstance,
    DefaultSensorStatus,
    Definitions,
    MetadataValue,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    asset_check,
    sensor,
)

from platform_assets.core.errors import AssayError, Mistake
from platform_assets.defs.specs import contract_key

if TYPE_CHECKING:
    from platform_assets.alerts.incident import Sighting
    from platform_assets.declarations import Declarations, Problem

CHECK = "valid"
LOOK_SECONDS = 60
SHOWN = 20
"""Mistakes of one system in a check's description; its metadata has them all."""


def declaration_definitions(broken: Mapping[str, Sequence[Mistake]]) -> Definitions:
    """The asset `contract/<system>/contract` of every broken system with its check, and the sensor that looks at all systems."""
    return Definitions(
        assets=[broken_spec(system, mistakes) for system, mistakes in broken.items()],
        asset_checks=[valid_check(system) for system in broken],
        sensors=[_sensor(tuple(broken))],
    )


def broken_spec(system: str, mistakes: Sequence[Mistake]) -> AssetSpec:
    """A system whose contract is wrong, and which has no other asset until it is put right."""
    lines = "\n".join(f"- {mistake}" for mistake in mistakes)
    return AssetSpec(
        contract_key(system),
        description=f"BROKEN: this system stands still until its contract is put right.\n\n{lines}",
        group_name=group(system),
        kinds={"contract", "yaml"},
        tags={"assay/layer": "contract", "assay/broken": "true"},
        metadata={"mistakes": MetadataValue.md(lines)},
    )


def group(system: str) -> str:
    """A group's name from that of a folder, which may be any."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in system)


def valid_check(system: str) -> AssetChecksDefinition:
    """The check `valid` of one system: run by hand it looks at the files again."""

    @asset_check(name=CHECK, asset=contract_key(system), description="Everything that the system declares can be used.")
    def valid(context: AssetCheckExecutionContext) -> AssetCheckResult:
        from platform_assets.core.settings import Settings
        from platform_assets.declarations import problems_of

        passed, severity, description, metadata = _verdict(tuple(problems_of(Settings.load(), system)))
        return AssetCheckResult(passed=passed, severity=severity, description=description, metadata=metadata)

    return valid


def _verdict(
    problems: Sequence["Problem"],
) -> tuple[bool, AssetCheckSeverity, str, dict[str, MetadataValue]]:
    """Whether all is well, how bad it is, the mistakes in words and as metadata."""
    from platform_assets.declarations import Part

    stops = any(problem.part is Part.CONTRACT for problem in problems)
    severity = AssetCheckSeverity.ERROR if stops or not problems else AssetCheckSeverity.WARN
    lines = [f"{problem.part}: {problem.mistake}" for problem in problems]
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    said = f"{'; '.join(lines[:SHOWN])}{more}" if lines else "everything can be used"
    metadata: dict[str, MetadataValue] = {"mistakes": MetadataValue.md("\n".join(f"- {line}" for line in lines))}
    return not problems, severity, said, metadata if lines else {}


def _sensor(broken: tuple[str, ...]) -> SensorDefinition:
    @sensor(
        name="assay_declarations",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Reads what every system declares; a tick fails with the mistakes as long as there are any.",
    )
    def look_at_declarations(context: SensorEvaluationContext) -> SkipReason:
        from platform_assets.core.settings import Settings
        from platform_assets.declarations import read_systems

        found = read_systems(Settings.load())
        raise_mistakes(found, datetime.now(UTC))
        for system in broken:
            said = evaluation(system, [problem for problem in found.problems if problem.system == system])
            if _news(context.instance, said):
                context.instance.report_runless_asset_event(said)
        if found.problems:
            raise AssayError("; ".join(map(str, found.problems)), "`assay contract check` lists them")
        return SkipReason("everything that systems declare can be used")

    return look_at_declarations


def _news(instance: DagsterInstance, said: AssetCheckEvaluation) -> bool:
    """Whether the check did not say that already."""
    record = instance.get_latest_asset_check_evaluation_record(AssetCheckKey(said.asset_key, said.check_name))
    before = None if record is None or record.event is None else record.event.asset_check_evaluation
    return before is None or (before.passed, before.description) != (said.passed, said.description)


def evaluation(system: str, problems: Sequence["Problem"]) -> AssetCheckEvaluation:
    """The check `valid` of a system as an event."""
    passed, severity, description, metadata = _verdict(problems)
    return AssetCheckEvaluation(
        asset_key=contract_key(system),
        check_name=CHECK,
        passed=passed,
        severity=severity,
        description=description,
        metadata=metadata,
    )


def raise_mistakes(found: "Declarations", now: datetime) -> None:
    """One alert of the platform for each system in which something is wrong; it ends when all is right. Raises AssayError."""
    from platform_assets.alerts.platform import DECLARATION, PLATFORM_SYSTEM
    from platform_assets.alerts.service import AlertService
    from platform_assets.core.settings import Settings

    alert_service = AlertService(Settings.load(), PLATFORM_SYSTEM, index=False)
    try:
        alert_service.see(
            list(
                _sightings(found, {group for rule, group in alert_service.open_keys() if rule == DECLARATION.name}, now)
            )
        )
    finally:
        alert_service.close()


def _sightings(found: "Declarations", open_groups: set[str], now: datetime) -> Iterator["Sighting"]:
    from platform_assets.alerts.model import Severity
    from platform_assets.alerts.platform import DECLARATION, sighting
    from platform_assets.alerts.text import DETAIL_LENGTH, neutral

    by_system: dict[str, list[Problem]] = {}
    for problem in found.problems:
        by_system.setdefault(problem.system, []).append(problem)
    subjects = {json.loads(group).get("subject") for group in open_groups}
    for system in {*found.contracts, *subjects} - {*by_system, None}:
        yield sighting(DECLARATION, system, now, breach=False)
    for system, problems in by_system.items():
        severity = Severity.CRITICAL if system in found.broken else Severity.WARNING
        stops = "the system stands still" if system in found.broken else "a part of it stands still"
        detail = neutral(f"{stops}: {'; '.join(str(p.mistake) for p in problems)}", DETAIL_LENGTH)
        yield sighting(DECLARATION, system, now, breach=True, value=len(problems), severity=severity, detail=detail)
