"""A served system for each module of the API's tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from apilab import EVENTS, MESSAGE_COLUMNS, MESSAGES, MINUTES, START, Api, index_rows, written
from fastapi.testclient import TestClient
from support import private_project, private_system, publish

from platform_assets.core.settings import Settings
from platform_assets.index.client import connect
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role


@pytest.fixture(scope="module")
def api(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    home = tmp_path_factory.mktemp("api")
    rates = dict.fromkeys(("ASSAY_API_RATE", "ASSAY_API_REFUSED_RATE"), "100000/minute")
    own = replace(services, home=home, lake_path=home / "lake", values={**services.values, **rates})
    contract = private_system(own, ("events", "access"))
    publish(own, contract.table("events"), [written(n) for n in range(EVENTS)])
    line = '203.0.113.%d - - [%s] "GET /p/%d HTTP/1.1" 500 1 "-" "-"'
    publish(
        own, contract.table("access"), [(line % (n, f"{START:%d/%b/%Y:%H:%M:%S +0000}", n)).encode() for n in range(9)]
    )
    worker = connect(own.opensearch_url, own.opensearch_auth("ingest"), own.opensearch_ca)
    columns = {"minute": "date", "service": "keyword", "status": "integer", "events": "long", "errors": "long"}
    index_rows(worker, f"{contract.system}-errors_minute", columns, MINUTES)
    index_rows(worker, f"{contract.system}-messages_minute", MESSAGE_COLUMNS, MESSAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_DBT_PROJECT", str(private_project(home, contract.system)))
        with TestClient(create_app(own, {contract.system: contract})) as client:
            made = Api(own, contract, client, KeyStore(home))
            made.drain()
            yield made
    worker.indices.delete(index=f"{contract.system}-*")
    worker.close()


@pytest.fixture(scope="module")
def admin(api: Api) -> dict[str, str]:
    return api.key(Role.ADMIN)
