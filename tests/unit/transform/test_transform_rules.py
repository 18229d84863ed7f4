"""Conditions over several fields: what they refuse, what quarantine says, and which expressions a contract may use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transform_samples import EVENTS, encoded, reasons, rejected

from platform_assets.contracts.compat import breaking_changes, from_json, to_json
from platform_assets.contracts.model import Contract, Rule, Table
from platform_assets.transform.probe import sql_mistakes


def with_rules(*expressions: str) -> Table:
    """The events table with these rules, named r1, r2, …"""
    return replace(EVENTS, rules=tuple(Rule(f"r{i}", text) for i, text in enumerate(expressions, 1)))


def test_rows_that_break_a_rule_are_rejected_by_its_name() -> None:
    table = with_rules("level <> 'ERROR' OR status >= 400 -- errors", "latency_ms < 1000 AND trace_id <> event_id")
    values = [
        encoded(),
        encoded(status=200),
        encoded(level="INFO", status=200),
        encoded(latency_ms=1000),
        encoded(event_id="t", trace_id="t"),
        encoded(status=None),  # unknown, as in SQL's CHECK
        encoded(latency_ms=None),
        encoded(latency_ms=None, trace_id="e-1"),  # false whatever the latency was
        encoded(status="200"),  # the checks of fields come first
    ]
    found = reasons(values, table)
    assert found == [None, "rule:r1", None, "rule:r2", "rule:r2", None, None, "rule:r2", "type:status"]


def test_quarantine_shows_the_rule_and_not_the_value() -> None:
    table = with_rules("user_id  <>\n'nobody-77'")
    row = rejected(encoded(user_id="nobody-77"), table)
    assert (row["reason"], row["detail"]) == ("rule:r1", "the rule r1 does not hold: user_id <> 'nobody-77'")
    assert "nobody" not in row["excerpt"]


ALLOWED = [
    "status BETWEEN 100 AND 599 OR status IN (0, 1)",
    "CASE WHEN level = 'ERROR' THEN status >= 500 ELSE true END",
    "latency_ms / 1000 <= 60 AND length(service) > 2",
    "event_time > CAST('2020-01-01 00:00:00+00' AS TIMESTAMPTZ)",
    "coalesce(status, 200) <> 418 AND service NOT LIKE 'test%' AND regexp_full_match(host, '[a-z0-9-]+')",
    "user_id IS NULL OR NOT starts_with(user_id, 'robot')",
]
REFUSED = {
    "nothing = 1": "no field 'nothing'",
    "_position > 1": "no field '_position'",
    "status": "gives BIGINT",
    "status > (SELECT 1)": "subquery",
    "status > max(status)": "max is not allowed",
    "status > row_number() OVER ()": "not allowed",
    "event_time < now()": "now is not allowed",
    "random() < 0.5": "random is not allowed",
    "getenv('HOME') = ''": "getenv is not allowed",
    "status > 1) OR (true": "",
    "status > 1; SELECT 1": "",
    "status >": "",
    "service > 1": "",
    " + ".join(["status"] * 500) + " > 1": "",
    " + ".join(["status"] * 5000) + " > 1": "longer than 4000 characters",
    "service COLLATE NOCASE = 'a'": "collate is not allowed",
    "CAST(status AS BOOLEAN) IN (SELECT true)": "subquery",
    "main.read_text('/etc/passwd') = ''": "read_text is not allowed",
    "error('x')": "error is not allowed",
    "$1": "parameter is not allowed",
}


@pytest.mark.parametrize("expression", ALLOWED)
def test_conditions_over_fields_are_allowed(expression: str) -> None:
    assert not list(sql_mistakes(with_rules(expression)))


@pytest.mark.parametrize(("expression", "said"), REFUSED.items())
def test_other_expressions_are_refused(expression: str, said: str) -> None:
    [(place, found)] = sql_mistakes(with_rules("status > 1", expression))
    assert place == ".quality[r2].implementation"
    assert said in found


def test_every_wrong_rule_is_a_mistake_of_its_own() -> None:
    assert list(sql_mistakes(with_rules("a = 1", "status > 1", "b = 1"))) == [
        (".quality[r1].implementation", "there is no field 'a'"),
        (".quality[r3].implementation", "there is no field 'b'"),
    ]


def test_a_rule_that_fails_on_a_row_rejects_that_row_alone() -> None:
    table = with_rules("CAST(host AS BIGINT) > 0", "status // (status - 100) < 1000")
    values = [encoded(host="7"), encoded(host="node"), encoded(host="7", status=100), encoded(host=None)]
    assert reasons(values, table) == [None, "rule:r1", "rule:r2", None]


def test_a_new_rule_breaks_readers_and_is_kept_with_the_contract() -> None:
    old = Contract("logs", "1.0.0", "", "team", (EVENTS,))
    new = replace(old, tables=(with_rules("status > 1"),))
    assert breaking_changes(old, new) == ["events: rows must now keep the rule r1"]
    assert breaking_changes(new, old) == []
    assert from_json(to_json(new)) == new
