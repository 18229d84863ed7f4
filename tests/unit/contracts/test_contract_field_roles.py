"""What fields are for: row policy, severity and origin are read, checked together, compared and told to people."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from platform_assets.contracts.compat import breaking_changes, from_json, to_json
from platform_assets.contracts.docs import render_markdown
from platform_assets.contracts.errors import ContractError
from platform_assets.contracts.export import dbt_sources, row_schema
from platform_assets.contracts.model import Contract, SeverityField, SeverityRank
from platform_assets.contracts.read import parse_contract

ROLES = """
      - {property: rowPolicy, value: district}
      - {property: severity, value: {field: quality, scale: {good: info, odd: warning, "1": critical}}}
      - {property: origin, value: [sensor, district]}
"""


def written(roles: str = ROLES, enum: str = 'good, odd, "1"', district: str = "") -> str:
    values = ", ".join(f"{{value: {value}}}" for value in enum.split(", "))
    return f"""
apiVersion: v3.1.0
kind: DataContract
id: urn:x
name: city
version: 1.0.0
status: active
team: {{name: planning}}
schema:
  - name: readings
    customProperties:
      - {{property: format, value: json}}{roles.rstrip()}
    properties:
      - {{name: at, logicalType: timestamp, required: true, partitioned: true}}
      - {{name: district, logicalType: string{district}}}
      - {{name: sensor, logicalType: string}}
      - {{name: quality, logicalType: string, enum: [{values}]}}
      - {{name: degrees, logicalType: number}}
"""


CITY = parse_contract(written())
[READINGS] = CITY.tables


def test_they_are_read_and_kept() -> None:
    assert READINGS.row_policy == "district"
    assert READINGS.origin == ("sensor", "district")
    ranks = (("good", SeverityRank.INFO), ("odd", SeverityRank.WARNING), ("1", SeverityRank.CRITICAL))
    assert READINGS.severity == SeverityField("quality", ranks)
    assert from_json(to_json(CITY)) == CITY


def test_values_with_well_known_names_need_no_scale() -> None:
    short = "\n      - {property: severity, value: quality}\n"
    [table] = parse_contract(written(short, enum="Debug, NOTICE, warn, ERR, Emergency")).tables
    assert table.severity is not None
    assert [rank for _, rank in table.severity.ranks] == list(SeverityRank)
    assert (table.row_policy, table.origin) == (None, ())
    with pytest.raises(ContractError, match="has no rank for odd"):
        parse_contract(written(short, enum="info, odd"))


WRONG = [
    ("rowPolicy", "value: nothing", "there is no field 'nothing'"),
    ("rowPolicy", "value: degrees", "'degrees' is of type number"),
    ("rowPolicy", "value: [district]", "is no text"),
    ("origin", "value: [sensor, degrees]", "'degrees' is of type number"),
    ("origin", "value: [sensor, sensor]", "no list of distinct texts"),
    ("origin", "value: sensor", "no list of distinct texts"),
    ("severity", "value: degrees", "'degrees' is of type number"),
    ("severity", "value: sensor", "'sensor' has no enum"),
    ("severity", "value: {field: quality}", "scale: {VALUE: rank}"),
    ("severity", "value: {field: quality, scale: {good: info}}", "has no rank for odd, 1"),
    ("severity", 'value: {field: quality, scale: {good: fine, odd: info, "1": info}}', "debug, info, warning, error"),
    ("severity", "value: {field: quality, scale: {good: info, odd: info, 1: info}}", "is no text"),
    ("severity", 'value: {field: quality, scale: {good: info, odd: info, "1": info, bad: error}}', "ranks bad"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_what_they_cannot_be_is_told_with_its_place(name: str, value: str, said: str) -> None:
    with pytest.raises(ContractError) as refused:
        parse_contract(written(f"\n      - {{property: {name}, {value}}}\n"))
    [mistake] = refused.value.mistakes
    assert said in str(mistake)
    assert mistake.place.startswith(f"schema[readings].customProperties[{name}]")


def test_a_masked_field_limits_nobody() -> None:
    masked = ", classification: pii, customProperties: [{property: mask, value: hmac}]"
    with pytest.raises(ContractError, match=r"rowPolicy.*'district' is masked"):
        parse_contract(written(district=masked))


def test_all_mistakes_are_told_at_once() -> None:
    roles = "".join(
        f"\n      - {{property: {n}, value: {v}}}"
        for n, v in (("rowPolicy", "a"), ("severity", "b"), ("origin", "[c, d]"))
    )
    with pytest.raises(ContractError) as refused:
        parse_contract(written(roles))
    assert [str(mistake).partition("no field ")[2][:3] for mistake in refused.value.mistakes] == [
        "'a'",
        "'b'",
        "'c'",
        "'d'",
    ]


def changed(**changes: object) -> Contract:
    return replace(CITY, tables=(replace(READINGS, **changes),))  # type: ignore[arg-type]


def ranked(**ranks: SeverityRank) -> SeverityField:
    assert READINGS.severity is not None
    return replace(READINGS.severity, ranks=tuple({**dict(READINGS.severity.ranks), **ranks}.items()))


def test_what_limits_readers_or_changes_a_severity_breaks_readers() -> None:
    def breaks(**changes: object) -> list[str]:
        return breaking_changes(CITY, changed(**changes))

    assert breaks(row_policy="sensor") == ["readings: the row policy changed from district to sensor"]
    assert breaks(row_policy=None) == ["readings: the row policy changed from district to none"]
    assert breaking_changes(changed(row_policy=None), CITY) == [
        "readings: the row policy changed from none to district"
    ]
    assert breaks(severity=None) == ["readings: the severity changed from quality to none"]
    assert breaks(severity=ranked(odd=SeverityRank.ERROR)) == [
        "readings: the severity of odd changed from warning to error"
    ]
    assert breaks(severity=ranked(new=SeverityRank.ERROR)) == []
    assert breaks(origin=("sensor",)) == []
    assert breaking_changes(changed(severity=None), CITY) == []


def test_people_and_programs_are_told() -> None:
    page, without = render_markdown(CITY), render_markdown(changed(row_policy=None, severity=None, origin=()))
    assert "- **Readers**: A limited key sees the rows whose `district` is one of its values." in page
    assert "- **Severity**: `quality`; info: `good`; warning: `odd`; critical: `1`." in page
    assert "- **Origin**: `sensor`, `district`." in page
    assert "- **Readers**: Only keys without a limit see its rows: it has no row policy." in without
    assert "whose `district` is one of its values" in row_schema(READINGS)["description"]
    [table] = dbt_sources(CITY)["sources"][0]["tables"]
    scale = {"good": "info", "odd": "warning", "1": "critical"}
    meta = {
        "row_policy": "district",
        "severity": {"field": "quality", "scale": scale},
        "origin": ["sensor", "district"],
    }
    assert json.loads(json.dumps(table["config"]["meta"])) == meta
