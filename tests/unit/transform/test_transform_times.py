"""Times as messages write them: formats in turn, epochs, zones whose clocks change, times that are composed of fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transform_samples import ACCESS, BROKER, MASKER, bronze

from platform_assets.contracts.compat import breaking_changes
from platform_assets.contracts.docs import render_markdown
from platform_assets.contracts.errors import ContractError
from platform_assets.contracts.export import message_schema
from platform_assets.contracts.model import Table
from platform_assets.contracts.read import parse_contract
from platform_assets.transform import Transformed, Transformer
from platform_assets.transform.reasons import describe

LANDED = datetime(2030, 1, 1, tzinfo=UTC)
DOCUMENT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:x
name: city
version: 1.0.0
status: active
team: {{name: planning}}
slaProperties: [{{property: retention, value: 30, unit: d}}]
schema:
  - name: readings
    customProperties:
      - {{property: format, value: json}}
    properties:
      - {{name: at, logicalType: timestamp, required: true, partitioned: true{at}}}
{more}
"""


def contract(at: str = "", more: str = "") -> Any:
    return parse_contract(DOCUMENT.format(at=at, more=more))


def table(*formats: str, zone: str = "", **custom: str) -> Table:
    given = {**({"timeFormat": json.dumps(formats)} if formats else {}), **custom}
    properties = ", ".join(f"{{property: {name}, value: {value}}}" for name, value in given.items())
    options = f", logicalTypeOptions: {{defaultTimezone: {zone}}}" if zone else ""
    [made] = contract(f"{options}, customProperties: [{properties}]" if given else options).tables
    return made


def transformed(values: list[bytes], of: Table) -> Transformed:
    with Transformer(of, MASKER) as transformer:
        return transformer.transform(bronze(values, landed=LANDED))


def read(of: Table, *written: Any) -> list[datetime | str]:
    """The moment of each value, or the reason for which it is refused."""
    found = transformed([json.dumps({"at": one}).encode() for one in written], of)
    result: dict[int, datetime | str] = dict(
        zip(*(found.accepted[name].to_pylist() for name in ("_position", "at")), strict=True)
    )
    result |= dict(zip(*(found.rejected[name].to_pylist() for name in ("_position", "reason")), strict=True))
    return [result[n] for n in range(len(written))]


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


def test_formats_are_tried_in_turn() -> None:
    of = table("%d/%b/%Y:%H:%M:%S %z", "iso", "%Y%m%d %H%M%S.%n", "%Y-%m-%d")
    wanted = at(2026, 1, 15, 8, 30)
    assert read(
        of,
        *("15/Jan/2026:09:30:00 +0100", "2026-01-15T09:30:00+01:00", "20260115 083000.5", "2026-01-15"),
        *("15/Jan/2026", "2026-01-15T08:30:00", 20260115, None),
    ) == [
        *(wanted, wanted, wanted + timedelta(seconds=0.5), at(2026, 1, 15)),
        *("time:at", "time:at", "type:at", "missing:at"),
    ]
    assert "by %d/%b/%Y:%H:%M:%S %z or iso or" in describe(of, "time:at")


def test_a_date_is_its_first_moment_in_the_zone() -> None:
    assert read(table("%Y-%m-%d", zone="Europe/Berlin"), "2026-01-15", "2026-07-15", "2026-02-30", "soon") == [
        at(2026, 1, 14, 23), at(2026, 7, 14, 22), "time:at", "time:at",
    ]  # fmt: skip


@pytest.mark.parametrize(("unit", "size"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_an_epoch_is_a_number_of_its_unit(unit: str, size: int) -> None:
    of = table(f"epoch_{unit}")
    moment = at(2026, 1, 15, 8, 30)
    whole = int(moment.timestamp()) * size
    assert read(of, whole, 0, -1 * size, whole * 10**6, 2**70, str(whole), True) == [
        moment, at(1970, 1, 1), "before_1970", "time:at", "time:at", "type:at", "type:at",
    ]  # fmt: skip
    fraction = read(table("epoch_s", "epoch_ms", "iso"), 1768465800.25, "2026-01-15T08:30:00Z", "1768465800")
    assert fraction == [moment + timedelta(seconds=0.25), moment, moment]
    assert message_schema(of)["properties"]["at"]["type"] == "number"
    assert "format" not in message_schema(of)["properties"]["at"]


def test_nanoseconds_lose_no_digit_before_the_microsecond() -> None:
    assert read(table("epoch_ns"), 1768465800123456789) == [at(2026, 1, 15, 8, 30, 0, 123456)]


SPRING = ["2026-03-29 01:59:59", "2026-03-29 02:00:00", "2026-03-29 02:59:59", "2026-03-29 03:00:00"]
AUTUMN = ["2026-10-25 01:59:59", "2026-10-25 02:00:00", "2026-10-25 02:59:59", "2026-10-25 03:00:00"]
CLOCK = "%Y-%m-%d %H:%M:%S"


def test_a_day_of_23_hours_has_an_hour_that_is_refused_with_its_reason() -> None:
    of = table(CLOCK, zone="Europe/Berlin")
    skipped = "skipped_time:at"
    assert read(of, *SPRING) == [at(2026, 3, 29, 0, 59, 59), skipped, skipped, at(2026, 3, 29, 1)]
    assert describe(of, skipped) == "at is a time that the clocks of Europe/Berlin skipped"
    shifted = table(CLOCK, zone="Europe/Berlin", skippedTime="shift")
    assert read(shifted, *SPRING)[1:3] == [at(2026, 3, 29, 1), at(2026, 3, 29, 1, 59, 59)]


def test_a_day_of_25_hours_has_an_hour_whose_moment_is_declared() -> None:
    first, last = at(2026, 10, 24, 23, 59, 59), at(2026, 10, 25, 2)
    early = [at(2026, 10, 25, 0), at(2026, 10, 25, 0, 59, 59)]
    assert read(table(CLOCK, zone="Europe/Berlin"), *AUTUMN) == [first, *early, last]
    late = [one + timedelta(hours=1) for one in early]
    assert read(table(CLOCK, zone="Europe/Berlin", ambiguousTime="latest"), *AUTUMN) == [first, *late, last]
    refusing = table(CLOCK, zone="Europe/Berlin", ambiguousTime="reject")
    assert read(refusing, *AUTUMN) == [first, "ambiguous_time:at", "ambiguous_time:at", last]
    assert "showed twice" in describe(refusing, "ambiguous_time:at")


ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/St_Johns",
)


@given(zone=st.sampled_from(ZONES), local=st.datetimes(datetime(2000, 1, 2), datetime(2024, 12, 30)))
@settings(max_examples=60, deadline=None)
def test_every_zone_agrees_with_the_standard_library(zone: str, local: datetime) -> None:
    """Of drawn days of the past, on which all databases of zones agree."""
    _agrees_with_the_standard_library(zone, local.replace(microsecond=0))


def _agrees_with_the_standard_library(zone: str, local: datetime) -> None:
    """A day by the half hour from there on, changes of clocks included."""
    texts = [(local + timedelta(minutes=30 * n)).strftime(CLOCK) for n in range(48)]
    found = read(table(CLOCK, zone=zone), *texts)
    for text, got in zip(texts, found, strict=True):
        clock = datetime.strptime(text, CLOCK)
        moment = clock.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        back = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        assert got == (moment if back == clock else "skipped_time:at"), (zone, text)


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-04-05", "2026-10-04", "2026-03-08", "2026-11-01"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/New_York"])
def test_days_of_other_lengths_agree_with_the_standard_library(zone: str, day: str) -> None:
    _agrees_with_the_standard_library(zone, datetime.fromisoformat(day))


def test_iso_times_may_lack_a_zone_where_one_is_declared() -> None:
    written = ("2026-07-15T10:00:00", "2026-07-15 10:00:00.5Z", "2026-07-15T10:00:00+05:00")
    assert read(table(zone="Europe/Berlin"), *written) == [
        at(2026, 7, 15, 8), at(2026, 7, 15, 10, 0, 0, 500_000), at(2026, 7, 15, 5),
    ]  # fmt: skip
    assert read(table(), *written)[0] == "time:at"
    assert read(table(zone="UTC"), *written)[0] == at(2026, 7, 15, 10)


PARTS = "\n".join(
    f"      - {{name: {name}, logicalType: integer, required: true}}" for name in ("y", "m", "d", "h", "min")
)
COMPOSED = ", customProperties: [{property: composedOf, value: [y, m, d, h, min]}]"


def test_a_time_is_composed_of_fields() -> None:
    [of] = contract(COMPOSED, PARTS).tables
    rows = [
        (2026, 1, 15, 8, 30),
        (2026, 2, 30, 0, 0),
        (2026, 1, 15, 24, 0),
        (2026, 1, 15, "8", 0),
        (2026, 1, 5, None, 0),
        (1969, 1, 1, 0, 0),
    ]
    found = transformed(
        [json.dumps(dict(zip(("y", "m", "d", "h", "min"), row, strict=True))).encode() for row in rows], of
    )
    assert found.accepted["at"].to_pylist() == [at(2026, 1, 15, 8, 30)]
    assert found.accepted["event_partition"].to_pylist() == ["2026-01-15"]
    assert found.rejected["reason"].to_pylist() == ["time:at", "time:at", "type:h", "missing:h", "before_1970"]
    assert describe(of, "time:at") == "at cannot be read from y, m, d, h, min"
    assert set(message_schema(of)["properties"]) == {"y", "m", "d", "h", "min"}
    own = json.dumps({"y": 2026, "m": 1, "d": 5, "h": 0, "min": 0, "at": "2026-01-01T00:00:00Z"}).encode()
    assert transformed([own], of).rejected["reason"].to_pylist() == ["unknown_field"]


def test_a_composed_date_is_of_its_zone() -> None:
    zoned = f"{COMPOSED.replace(', h, min', '')}, logicalTypeOptions: {{defaultTimezone: Europe/Berlin}}"
    [of] = contract(zoned, PARTS).tables
    value = json.dumps({"y": 2026, "m": 7, "d": 5, "h": 0, "min": 0}).encode()
    assert transformed([value], of).accepted["at"].to_pylist() == [at(2026, 7, 4, 22)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("customProperties: [{property: timeFormat, value: []}]", "empty list"),
        ('customProperties: [{property: timeFormat, value: ["%H:%M"]}]', "does not give a full date"),
        ('customProperties: [{property: timeFormat, value: ["%Y-%m-%d %Z"]}]', "'%Z' is not supported"),
        ("customProperties: [{property: timeFormat, value: epoch}]", "does not give a full date"),
        ("logicalTypeOptions: {defaultTimezone: Mars/Olympus}", "a zone of the IANA database"),
        ("customProperties: [{property: ambiguousTime, value: latest}]", "no such times exist in UTC"),
        ("customProperties: [{property: skippedTime, value: later}]", "reject, shift"),
        ("customProperties: [{property: composedOf, value: [y, m]}]", "has 2 fields"),
        ("customProperties: [{property: composedOf, value: [y, m, x]}]", "'x' is no field of type integer"),
        (
            "physicalName: t, customProperties: [{property: composedOf, value: [y, m, d]}]",
            "is composed of other fields",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(given: str, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        contract(f", {given}", PARTS)


def test_what_the_same_text_means_changes_with_a_major_version_only() -> None:
    one = contract(', customProperties: [{property: timeFormat, value: ["%Y-%m-%d"]}]')
    more = contract(', customProperties: [{property: timeFormat, value: ["%Y-%m-%d", iso]}]')
    zoned = contract(", logicalTypeOptions: {defaultTimezone: Europe/Berlin}")
    plain, utc = contract(), contract(", logicalTypeOptions: {defaultTimezone: UTC}")
    assert breaking_changes(one, more) == []
    assert breaking_changes(more, one) == ["readings.at: the time formats changed from %Y-%m-%d, iso to %Y-%m-%d"]
    assert breaking_changes(plain, zoned) == ["readings.at: the time zone changed from UTC to Europe/Berlin"]
    assert breaking_changes(plain, utc) == []
    assert breaking_changes(utc, plain) == ["readings.at: times without a zone are no longer read"]
    page = render_markdown(zoned)
    assert "without a zone of Europe/Berlin: twice shown earliest, skipped rejected" in page


def line(time: str) -> bytes:
    return f'203.0.113.7 - - [{time}] "GET / HTTP/1.1" 200 1 "-" "-"'.encode()


def test_web_servers_and_brokers_may_write_milliseconds_and_iso_times() -> None:
    moment = at(2026, 1, 15, 8, 30)
    later = moment + timedelta(milliseconds=123)
    lines = [
        "15/Jan/2026:09:30:00 +0100",
        "15/Jan/2026:09:30:00.123 +0100",
        "2026-01-15T09:30:00+01:00",
        "2026-01-15T08:30:00.123Z",
    ]
    assert times([line(one) for one in lines], ACCESS) == [moment, later, moment, later]
    assert transformed([line("2026-01-15T09:30:00")], ACCESS).rejected["reason"].to_pylist() == ["time:event_time"]
    records = [
        "2026-01-15 08:30:00,123", "2026-01-15T08:30:00,123", "2026-01-15T08:30:00.123", "2026-01-15 08:30:00.123",
        "2026-01-15T09:30:00,123+0100", "2026-01-15T09:30:00.123+01:00", "2026-01-15 08:30:00,123000",
    ]  # fmt: skip
    written = [f"[{one}] INFO started (kafka.server.KafkaServer)".encode() for one in records]
    assert times(written, BROKER) == [later] * len(records)


def times(values: list[bytes], of: Table) -> list[datetime]:
    found = transformed(values, of)
    assert found.rejected.num_rows == 0, pa.Table.to_pylist(found.rejected)
    moments: list[datetime] = found.accepted["event_time"].to_pylist()
    return moments
