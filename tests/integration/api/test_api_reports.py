"""What the API reports: figures of marts, alerts, rejects, the state of the platform."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.compute as pc
import pytest
from apilab import MINUTES, Api, index_rows
from caller_requests import faults, recorded
from fastapi import HTTPException
from support import event, publish

from platform_assets.index.asking import Deadline
from platform_assets.index.client import connect
from platform_assets.index.errors import TimeExceeded
from platform_assets.reports.build import build
from platform_assets.reports.declare import parse_reports
from platform_assets.serve.backend import Backend
from platform_assets.serve.keys import Role
from platform_assets.serve.limits import REPORT_TIMEOUT_S
from platform_assets.serve.marts import IndexMarts

pytestmark = pytest.mark.services


class TestReports:
    def test_stats_are_the_mart_s_rows_and_sums(self, api: Api, admin: dict[str, str]) -> None:
        day = {"mart": "errors_minute", "last": "24h"}
        rows = api.get("stats", admin, size=1000, **day)["rows"]
        assert sorted(rows, key=str) == sorted(MINUTES, key=str)
        assert [row["minute"] for row in rows] == sorted((row["minute"] for row in rows), reverse=True)
        by = api.get("stats", admin, by=["minute", "service"], sum="errors", where="status:500", **day)["rows"]
        wanted = {(row["minute"], row["service"]): row["errors"] for row in MINUTES if row["status"] == 500}
        assert {(row["minute"], row["service"]): row["errors"] for row in by} == wanted
        [total] = api.get("stats", admin, sum=["events", "errors"], **day)["rows"]
        assert total == {name: sum(row[name] for row in MINUTES) for name in ("events", "errors")}
        for wrong in ({"by": "nothing", "sum": "errors"}, {"where": "errors:x"}, {"by": "service"}):
            api.get("stats", admin, 422, **day, **wrong)
        assert "sum of service would be wrong" in api.get("stats", admin, 400, sum="service", **day)["detail"]
        assert "has no mart nothing" in api.get("stats", admin, 404, mart="nothing")["detail"]
        assert "no mart errors_hour in its index yet" in api.get("stats", admin, 404)["detail"], "the main mart"

    def test_a_report_rests_on_more_rows_than_one_answer_of_the_index_holds(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hours, services, statuses = range(5), [f"s{n}" for n in range(9)], range(200, 500)
        day = datetime(2026, 3, 5, tzinfo=UTC)
        rows = [  # a page ends within an hour
            {
                "hour": f"{day + timedelta(hours=h):%Y-%m-%dT%H:00:00Z}",
                "service": s,
                "status": c,
                "events": 2,
                "errors": h,
            }
            for h in hours
            for s in services
            for c in statuses
        ]
        assert len(rows) == 13_500
        for row in rows[::2]:
            row["first_seen"] = row["hour"]  # a second time: which one says the slot is declared
        worker = connect(
            api.settings.opensearch_url, api.settings.opensearch_auth("ingest"), api.settings.opensearch_ca
        )
        columns = {"hour": "date", "service": "keyword", "status": "integer", "events": "long", "errors": "long"}
        columns["first_seen"] = "date"
        index_rows(worker, f"{api.contract.system}-errors_hour", columns, rows)
        worker.close()
        backend = Backend(api.settings, {})

        def marts(seconds: float = REPORT_TIMEOUT_S, **rights: Any) -> IndexMarts:
            client = backend.client(api.keys.add("test", Role.READER, **rights)[0])
            return IndexMarts(client, api.declared(), Deadline(seconds))

        section = "{title: T, kind: table, mart: errors_hour, group: [hour], sum: [errors], order: hour, columns: [hour, errors]}"
        (declared,) = parse_reports(f"reports: [{{name: r, title: R, sections: [{section}]}}]", "here").values()
        try:
            with recorded() as asked:
                every = marts().rows("errors_hour", day, day + timedelta(days=1))
                built = build(api.contract.system, declared, day.date(), marts(only=("s3", "s4")))
            assert {fault for one in asked for fault in faults(one)} == set()
            assert every.num_rows == every.group_by(["hour", "service", "status"]).aggregate([]).num_rows == len(rows)
            assert pc.sum(every["errors"]).as_py() == sum(row["errors"] for row in rows)
            assert [row["errors"] for row in built.sections[0].rows.to_pylist()] == [h * 2 * 300 for h in hours]
            monkeypatch.setattr("platform_assets.serve.marts.MAX_REPORT_ROWS", len(rows) - 1)
            with pytest.raises(HTTPException, match="more than 13,499 rows"):
                marts().rows("errors_hour", day, day + timedelta(days=1))
            with pytest.raises(TimeExceeded):
                marts(seconds=0).rows("errors_hour", day, day + timedelta(days=1))
        finally:
            backend.close()

    def test_alerts_are_read_with_the_caller_s_rights(self, api: Api, admin: dict[str, str]) -> None:
        mine = {"system": api.contract.system}
        assert "no index of alerts" in api.get("/v1/alerts", admin, 404, **mine)["detail"]
        now = datetime.now(UTC).isoformat()
        alerts = [
            {
                "alert_id": f"a{n}",
                "visible_to": service,
                "state": state,
                "severity": "high",
                "opened_at": now,
                "updated_at": now,
                **({"resolved_at": now} if state == "resolved" else {}),
            }
            for n, (service, state) in enumerate([("users", "open"), ("payments", "open"), ("payments", "resolved")])
        ]
        before = (datetime.now(UTC) - timedelta(days=400)).isoformat()
        past = {
            "opened_at": before,
            "resolved_at": before,
            "state": "resolved",
            "visible_to": "users",
            "severity": "high",
        }
        alerts += [
            past | {"alert_id": "late", "late": True, "updated_at": now},
            past | {"alert_id": "old", "updated_at": now},
        ]
        columns = dict.fromkeys(("alert_id", "visible_to", "state", "severity"), "keyword") | {"late": "boolean"}
        times = dict.fromkeys(("opened_at", "updated_at", "resolved_at"), "date")
        worker = connect(
            api.settings.opensearch_url, api.settings.opensearch_auth("ingest"), api.settings.opensearch_ca
        )
        index_rows(worker, f"{api.contract.system}-alerts", columns | times, alerts, row_policy="visible_to")
        worker.close()
        limited = api.key(only=("payments",))
        ahead = {"as_of": (datetime.now(UTC) + timedelta(minutes=1)).isoformat()}
        assert {one["alert_id"] for one in api.get("/v1/alerts", admin, **mine, **ahead)["alerts"]} == {
            "a0",
            "a1",
            "a2",
            "late",
        }
        over = api.get("/v1/alerts", admin, state="resolved", **mine, **ahead)["alerts"]
        assert {one["alert_id"] for one in over} == {"a2", "late"}
        assert {one["alert_id"] for one in api.get("/v1/alerts", limited, state="open", **ahead)["alerts"]} == {"a1"}

    def test_rejects_are_listed_and_replayed(self, api: Api, admin: dict[str, str]) -> None:
        publish(api.settings, api.contract.table("events"), [b"{", event(1, level="LOUD", user_id="clear-user")])
        api.drain()
        found = api.get("quarantine", admin, table="events")["tables"]["events"]
        assert {one["reason"]: one["rejects"] for one in found["reasons"]} == {"malformed_json": 1, "enum:level": 1}
        assert "clear-user" not in json.dumps(found)
        [row] = api.get("quarantine", admin, table="events", reason="enum:level")["tables"]["events"]["latest"]
        assert api.get(f"trace/{row['id']}", admin)["verdict"] == "quarantine"
        report = api.post("events/replay", admin, 200, json={"dry_run": True})
        assert report["tables"]["events"]["still_rejected"] == {"malformed_json": 1, "enum:level": 1}

    def test_status_and_figures_tell_the_same(self, api: Api, admin: dict[str, str]) -> None:
        api.get("search", admin)  # a request that the figures tell of
        tables = {one["table"]: one for one in api.get("/v1/status", admin)["systems"][0]["tables"]}
        assert tables["access"]["rows"] >= 9
        text = api.client.get("/metrics", headers=admin).text
        labels = f'{{system="{api.contract.system}",table="access"}}'
        assert f"assay_silver_rows{labels} {float(tables['access']['rows'])}" in text
        assert f'assay_api_requests_total{{method="GET",route="{api.path("search")}",status="200"}}' in text
        assert api.client.get("/metrics", headers=api.key(system=api.contract.system)).status_code == 403
