"""A table's freshness, retention and rate of rejects, from the document's `slaProperties`.

Belongs here: reading them and which table each is for, and durations. Does not belong here: whether they fit (`checks.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from open_data_contract_standard.model import ServiceLevelAgreementProperty

from platform_assets.contracts.errors import at
from platform_assets.core.durations import parse_duration
from platform_assets.core.errors import Mistakes

MAX_DURATION = timedelta(days=365_250)
"""A thousand years: further back than the oldest event by more, the calendar would end."""

_UNIT_NAMES = {
    **dict.fromkeys(("s", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
}


class ServiceLevels:
    """The service levels of a document with these tables. Raises ContractError for one that would not be kept."""

    def __init__(self, slas: Sequence[ServiceLevelAgreementProperty], tables: Sequence[str]) -> None:
        # By (table, property); the table is empty for a level that names none.
        self._levels: dict[tuple[str, str], tuple[int, ServiceLevelAgreementProperty]] = {}
        for index, sla in enumerate(slas):
            place = f"slaProperties[{index}]"
            if sla.property not in ("latency", "retention", "errorRate"):
                raise at(place, f"'{sla.property}' is not supported", "latency, retention, errorRate")
            for table in _elements(sla):
                if sla.element is not None and table not in tables:
                    raise at(f"{place}.element", f"there is no table '{table}'", ", ".join(tables))
                if (table, sla.property) in self._levels:
                    raise at(place, f"{sla.property} is given twice for {table or 'all tables'}", "once")
                self._levels[table, sla.property] = (index, sla)

    def of(self, table: str, found: Mistakes) -> dict[str, Any]:
        """Values of the table's freshness, retention and quarantine rate, where given; its own win over everybody's."""
        values: dict[str, Any] = {}
        for name in ("latency", "retention", "errorRate"):
            index, sla = self._levels.get((table, name)) or self._levels.get(("", name)) or (0, None)
            place = f"slaProperties[{index}]"
            if sla is None:
                continue
            if name == "errorRate":
                values["quarantine_rate"] = found.get(_share, sla.value, sla.unit, place)
            elif name == "retention":
                values["retention"] = found.get(_amount, sla.value, sla.unit, place)
            else:
                values["freshness_warn"] = warn = found.get(_amount, sla.value, sla.unit, place)
                if warn is not None:  # what is wrong with the unit is told once
                    values["freshness_fail"] = found.get(_amount, sla.valueExt, sla.unit, f"{place}.valueExt")
        return {attribute: value for attribute, value in values.items() if value is not None}


def _elements(sla: ServiceLevelAgreementProperty) -> list[str]:
    """Tables named by a service level: `events`, `events.event_time`, or several with commas. One empty name: all of them."""
    return list(dict.fromkeys(part.strip().split(".")[0] for part in (sla.element or "").split(",")))


def _share(value: Any, unit: str | None, place: str) -> float:
    if (
        unit not in ("percent", "%")
        or isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value <= 100
    ):
        raise at(place, f"errorRate {value!r} {unit or ''}", "a value over 0 up to 100 with unit percent")
    return float(value / 100)


def _amount(value: Any, unit: str | None, place: str) -> timedelta:
    seconds = _UNIT_NAMES.get(unit or "")
    if isinstance(value, bool) or not isinstance(value, int | float) or seconds is None:
        raise at(place, f"{value!r} {unit or 'without a unit'} is no duration", "a positive value; unit s, m, h or d")
    if not 1 <= value * seconds <= MAX_DURATION.total_seconds():
        raise at(place, f"{value!r} {unit} is no duration", f"one second to {MAX_DURATION.days} days")
    return timedelta(seconds=value * seconds)


def duration(value: Any, place: str) -> timedelta:
    """A duration such as 10m or 2d. Raises ContractError for what is none, or too long."""
    try:
        length = parse_duration(value) if isinstance(value, str) else timedelta(0)
    except ValueError:
        length = timedelta(0)
    if not length:
        raise at(place, f"{value!r} is no duration", "a whole number with s, m, h, d or w, e.g. 10m or 2d")
    if length > MAX_DURATION:
        raise at(place, f"is {value}", f"at most {MAX_DURATION.days}d")
    return length
