"""A new release beside a worker at work, and the way back to the old one: nothing is stopped, nothing is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from releases import next_release
from support import event, private_settings, private_system, publish
from waiting import eventually
from worker_runs import reason, worker_process

from platform_assets.contracts.compat import to_json
from platform_assets.contracts.model import Contract, Field, FieldType
from platform_assets.contracts.registry import accept_contract, accepted_file
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings
from platform_assets.ingest.worker import Worker
from platform_assets.reconcile.prove import prove
from platform_assets.tables.layout import Lake
from platform_assets.tables.session import session

pytestmark = pytest.mark.services


def with_region(contract: Contract) -> Contract:
    """The next minor version: one more optional field."""
    known = contract.table("events")
    region = Field("region", FieldType.STRING, "where it ran", source="region")
    return next_release(contract, known, (*known.fields, region))


def test_a_new_release_takes_over_from_a_worker_at_work_and_gives_back(services: Settings, tmp_path: Path) -> None:
    settings = private_settings(services, tmp_path)
    old = private_system(settings)
    table = old.table("events")
    described = tmp_path / "contract.json"
    described.write_text(to_json(old), encoding="utf-8")
    accept_contract(settings, old)
    process = worker_process(described, settings.lake_path, "", seconds=120)
    publish(settings, table, [event(n) for n in range(300)])
    silver = Lake(settings.lake_path).tables(table).silver
    eventually(lambda: silver.refresh() > 0)
    assert process.poll() is None

    # The next run has the new code and contract; the old one hands over by itself.
    new = with_region(old)
    assert accept_contract(settings, new).state == "newer"
    publish(settings, table, [event(n, region="north") for n in range(300, 500)])
    Worker(settings, new).drain()
    assert reason(process) == "handed_over"
    publish(settings, table, [event(n, region="north") for n in range(500, 600)])
    Worker(settings, new).drain()
    rows = Lake(settings.lake_path).tables(new.table("events")).silver
    rows.refresh()
    counted = rows.relation(session()).aggregate("count(*), count(region), count(DISTINCT event_id)").fetchall()[0]
    assert counted[0] == counted[2] == 600
    assert 100 <= counted[1] <= 300  # what the old worker took, it took as it knew it
    assert prove(settings, new).holds

    # Back: the old release is refused until the operator says that the older contract is in force again.
    with pytest.raises(AssayError, match=re.escape(f"raise it above {new.version}")):
        accept_contract(settings, old)
    accepted_file(settings, old.system).write_text(to_json(old), encoding="utf-8")
    assert accept_contract(settings, old).state == "unchanged"
    publish(settings, table, [event(n) for n in range(600, 700)])
    Worker(settings, old).drain()
    proof = prove(
        settings, new
    )  # by the release that knows every row: the older one cannot hash what it never promised
    assert proof.holds, proof.to_dict()
    assert proof.tables["events"].counts["silver"] == proof.tables["events"].counts["documents"] == 700
