"""What the API reports: figures of marts, alerts, rejects, the state of the platform."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from apilab import MINUTES, Api, index_rows
from support import event, publish

from platform_assets.search.client import connect

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
        for wrong in ({"sum": "service"}, {"by": "nothing", "sum": "errors"}, {"where": "errors:x"}, {"by": "service"}):
            api.get("stats", admin, 422, **day, **wrong)
        assert "no mart" in api.get("stats", admin, 404, mart="latency_hour")["detail"]
        assert "no main mart" in api.get("stats", admin, 422)["detail"]

    def test_alerts_are_read_with_the_caller_s_rights(self, api: Api, admin: dict[str, str]) -> None:
        mine = {"system": api.contract.system}
        assert "no index of alerts" in api.get("/v1/alerts", admin, 404, **mine)["detail"]
        now = datetime.now(UTC).isoformat()
        alerts = [
            {
                "alert_id": f"a{n}",
                "service": service,
                "state": state,
                "severity": "high",
                "opened_at": now,
                "updated_at": now,
                **({"resolved_at": now} if state == "resolved" else {}),
            }
            for n, (service, state) in enumerate([("users", "open"), ("payments", "open"), ("payments", "resolved")])
        ]
        columns = dict.fromkeys(("alert_id", "service", "state", "severity"), "keyword")
        times = dict.fromkeys(("opened_at", "updated_at", "resolved_at"), "date")
        lane = connect(api.settings.opensearch_url, api.settings.opensearch_auth("lane"), api.settings.opensearch_ca)
        index_rows(lane, f"{api.contract.system}-alerts", columns | times, alerts)
        lane.close()
        limited = api.key(services=("payments",))
        ahead = {"as_of": (datetime.now(UTC) + timedelta(minutes=1)).isoformat()}
        assert {one["alert_id"] for one in api.get("/v1/alerts", admin, **mine, **ahead)["alerts"]} == {
            "a0",
            "a1",
            "a2",
        }
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
