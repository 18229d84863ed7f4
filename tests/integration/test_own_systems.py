"""Systems from a folder outside the package, from messages to figures: exact decimals, keys of several columns, late rows.

What is expected is computed from the messages in plain Python, and shares no code with the platform.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clilab import Shell, search_client
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable
from fastapi.testclient import TestClient

from platform_assets.contracts.read import load_systems
from platform_assets.core.settings import ENDPOINTS_FILE, SECRETS_FILE, Settings
from platform_assets.marts.marts import PARTITION
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role

pytestmark = pytest.mark.services

OWN = Path(__file__).with_name("own")
TABLES = {"trades": ("trades",), "orders": ("orders", "shipments"), "sales": ("sales",)}
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
Rows = dict[tuple[Any, ...], dict[str, Any]]


@dataclass
class Own:
    """A system of its own on the shared services, with a home, a lake and a folder of its own."""

    shell: Shell

    @property
    def folder(self) -> Path:
        return self.shell.systems.parent

    def take(self, table: str, messages: list[str]) -> dict[str, Any]:
        """Send messages and carry them to silver and index; the worker's figures of the table."""
        path = self.folder / "messages.jsonl"
        path.write_text("\n".join(messages) + "\n")
        self.shell.run("send", f"{self.shell.system}.{table}", str(path))
        found: dict[str, Any] = self.shell.json("ingest", self.shell.system, "--once")["tables"][table]
        return found

    def mart(self, name: str, *key: str) -> Rows:
        """The published rows of a mart by their key."""
        table = DeltaTable(str(self.folder / "lake" / "gold" / self.shell.system / f"{self.shell.system}_{name}"))
        rows = table.to_pyarrow_table().drop_columns([PARTITION]).to_pylist()
        found = {tuple(row[column] for column in key): row for row in rows}
        assert len(found) == len(rows)
        return found

    def stats(self, **asked: Any) -> list[dict[str, Any]]:
        """What the API answers, as figures of marts."""
        _, key = KeyStore(self.folder / "home").add("tester", Role.ADMIN)
        contracts = load_systems(self.shell.systems).contracts
        with TestClient(create_app(Settings.load(), contracts)) as client:
            answer = client.get(
                f"/v1/{self.shell.system}/stats", headers={"Authorization": f"Bearer {key}"}, params=asked
            )
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows

    def proves(self) -> None:
        """Nothing was lost, and every mart is what silver makes it."""
        assert self.shell.json("prove", self.shell.system)["holds"]
        assert self.shell.json("prove", self.shell.system, "--gold", "--sample", "20")["holds"]


@pytest.fixture
def own(services: Settings, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Own]:
    kind: str = request.param
    folder = Path(tempfile.mkdtemp(prefix="assay-own-"))
    system = f"o{uuid.uuid4().hex[:8]}"
    home = folder / "home"
    for name in (SECRETS_FILE, ENDPOINTS_FILE):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(services.home / name, home / name)
    for source in sorted(path for path in (OWN / kind).rglob("*") if path.is_file()):
        target = folder / "systems" / system / str(source.relative_to(OWN / kind)).replace("SYSTEM", system)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text().replace("SYSTEM", system))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    ours = {
        "ASSAY_HOME": str(home),
        "ASSAY_LAKE": str(folder / "lake"),
        "ASSAY_SYSTEMS": str(folder / "systems"),
    }
    environment |= ours
    for name, value in ours.items():  # the API is asked in this process
        monkeypatch.setenv(name, value)
    shell = Shell(environment, system, folder / "systems")
    shell.run("contract", "check", system)
    shell.run("prepare")
    yield Own(shell)
    admin = AdminClient(services.kafka_conf("admin"))
    for future in admin.delete_topics([f"{system}.{table}" for table in TABLES[kind]]).values():
        future.result(20)
    client = search_client(services)
    client.indices.delete(index=f"{system}-*")
    client.close()
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Trade:
    number: int
    symbol: str
    at: datetime
    price: Decimal
    quantity: Decimal

    def message(self) -> str:
        """Numbers with all their digits; every other one as a text."""
        quote = '"' if self.number % 2 else ""
        return (
            f'{{"trade_id": {self.number}, "symbol": "{self.symbol}", "traded_at": "{self.at.isoformat()}",'
            f' "price": {quote}{self.price}{quote}, "quantity": {quote}{self.quantity}{quote}}}'
        )


def trades() -> list[Trade]:
    """Trades of a day and the day before, not in order: later ones belong into minutes and hours that are there already."""
    begin = datetime.combine(YESTERDAY, time(), UTC)
    found = [
        Trade(
            number,
            ("BTC-EUR", "DOGE/€")[number % 2],
            begin + timedelta(minutes=(number * 397) % 2000 - 500, seconds=number % 50),
            Decimal(number * 7_919_000_017 % 10**13 + 1).scaleb(-8),
            Decimal(number * 104_729_000_003 % 10**12 + 1).scaleb(-8),
        )
        for number in range(240)
    ]
    return [trade for trade in found if trade.at.date() <= YESTERDAY]


def candles(of: list[Trade], grain: str) -> Rows:
    groups: dict[tuple[Any, ...], list[Trade]] = defaultdict(list)
    for trade in sorted(of, key=lambda trade: (trade.at, trade.number)):
        hour = trade.at.replace(minute=0, second=0)
        slot = {"minute": trade.at.replace(second=0), "hour": hour, "day": trade.at.date()}[grain]
        groups[slot, trade.symbol].append(trade)
    return {
        key: {
            grain: key[0],
            "symbol": key[1],
            "open": group[0].price,
            "high": max(trade.price for trade in group),
            "low": min(trade.price for trade in group),
            "close": group[-1].price,
            "volume": sum(trade.quantity for trade in group),
            "turnover": sum(trade.price * trade.quantity for trade in group),
            "trades": len(group),
        }
        for key, group in groups.items()
    }


@pytest.mark.parametrize("own", ["trades"], indirect=True)
def test_candles_of_days_are_made_of_minutes(own: Own) -> None:
    everything, system = trades(), own.shell.system
    known: list[Trade] = []
    for part in (everything[::3], everything[1::3], everything[2::3]):
        known += part
        figures = own.take("trades", [trade.message() for trade in part])
        assert (sum(figures["silver"].values()), figures["rejected"]) == (len(part), {})
        own.shell.run("gold", "refresh", system)
        for grain in ("minute", "hour", "day"):
            assert own.mart(grain, grain, "symbol") == candles(known, grain), grain
    before = own.mart("day", "day", "symbol")
    own.shell.run("gold", "refresh", system, "--day", YESTERDAY.isoformat())
    assert own.mart("day", "day", "symbol") == before

    again = own.take("trades", [everything[0].message(), everything[1].message().replace("trade_id", "trade")])
    assert (again["duplicates"], sum(again["rejected"].values())) == (1, 1)
    one = everything[5]
    [hit] = own.shell.json("search", system, f"trade_id:{one.number}")["hits"]
    assert (hit["price"], hit["notional"]) == (f"{one.price:f}", f"{one.price * one.quantity:.16f}")

    days = candles(known, "day")
    asked = {"from": (YESTERDAY - timedelta(days=1)).isoformat(), "to": (YESTERDAY + timedelta(days=1)).isoformat()}
    rows = own.stats(**asked, by="symbol", sum=["turnover", "volume"], max="high", min="low")
    assert {row["symbol"]: row for row in rows} == {
        symbol: {
            "symbol": symbol,
            "turnover": f"{sum(day['turnover'] for day in days.values() if day['symbol'] == symbol):.16f}",
            "volume": f"{sum(day['volume'] for day in days.values() if day['symbol'] == symbol):.8f}",
            "high": f"{max(day['high'] for day in days.values() if day['symbol'] == symbol):.8f}",
            "low": f"{min(day['low'] for day in days.values() if day['symbol'] == symbol):.8f}",
        }
        for symbol in ("BTC-EUR", "DOGE/€")
    }
    own.proves()


@pytest.mark.parametrize("own", ["orders"], indirect=True)
def test_orders_over_two_years_with_a_key_of_two_columns(own: Own) -> None:
    days = [YESTERDAY - timedelta(days=back) for back in (0, 1, 40, 366, 730)]
    regions = ("eu", "asia pacific")
    orders: list[dict[str, Any]] = [
        {
            "region": region,
            "order_no": number,
            "ordered_at": datetime.combine(days[number % 5], time(number % 24, 30), UTC).isoformat(),
            "amount": None if number % 4 == 0 else number + 0.25,
        }
        for number in range(60)
        for region in regions
    ]
    parcels: list[dict[str, Any]] = [
        {
            "region": order["region"],
            "order_no": order["order_no"],
            "parcel": parcel,
            "shipped_at": (datetime.fromisoformat(order["ordered_at"]) - timedelta(days=1)).isoformat(),
        }
        for order in orders[::3]
        for parcel in range(2)
    ]
    for part in (0, 1):
        figures = own.take("orders", [json.dumps(order) for order in orders[part::2]])
        assert (sum(figures["silver"].values()), figures["rejected"]) == (60, {})
        own.take("shipments", [json.dumps(parcel) for parcel in parcels[part::2]])
        own.shell.run("gold", "refresh", own.shell.system)
    assert own.take("orders", [json.dumps(order) for order in orders[:4]])["duplicates"] == 4

    expected = ordered(orders)
    assert own.mart("orders", "day", "region") == expected
    sent: dict[tuple[Any, ...], int] = defaultdict(int)
    for parcel in parcels:
        sent[datetime.fromisoformat(parcel["shipped_at"]).date(), parcel["region"]] += 1
    assert own.mart("flow", "day", "region") == {
        key: {
            "day": key[0],
            "region": key[1],
            "orders": expected.get(key, {"orders": 0})["orders"],
            "parcels": sent.get(key, 0),
        }
        for key in expected.keys() | sent.keys()
    }
    both = own.shell.json("search", own.shell.system, "order_no:7", "--table", "orders")["hits"]
    assert {row["region"] for row in both} == set(regions)
    asked = {"from": days[1].isoformat(), "to": (days[0] + timedelta(days=1)).isoformat()}
    rows = own.stats(**asked, by="region", sum=["orders", "amount"], mean="amount", max="last_ordered_at")
    for row in rows:
        mine = [one for (day, region), one in expected.items() if region == row["region"] and day in days[:2]]
        total = sum(one["amount"] for one in mine)
        assert (row["orders"], row["amount"]) == (sum(one["orders"] for one in mine), f"{total:.2f}")
        assert Decimal(row["mean_amount"]) == (total / sum(one["priced"] for one in mine)).quantize(Decimal("1e-8"))
        assert datetime.fromisoformat(row["last_ordered_at"]) == max(one["last_ordered_at"] for one in mine)
    assert len(rows) == 2
    own.proves()


def ordered(orders: list[dict[str, Any]]) -> Rows:
    groups: dict[tuple[date, str], list[dict[str, Any]]] = defaultdict(list)
    for order in orders:
        groups[datetime.fromisoformat(order["ordered_at"]).date(), order["region"]].append(order)
    return {
        key: {
            "day": key[0],
            "region": key[1],
            "orders": len(group),
            "priced": sum(order["amount"] is not None for order in group),
            "amount": sum((Decimal(str(order["amount"] or 0)) for order in group), Decimal(0)),
            "last_ordered_at": max(datetime.fromisoformat(order["ordered_at"]) for order in group),
        }
        for key, group in groups.items()
    }


@pytest.mark.parametrize("own", ["sales"], indirect=True)
def test_a_file_of_separated_values_goes_the_whole_way(own: Own) -> None:
    day = f"{YESTERDAY:%d.%m.%Y}"
    rows = [
        ["Datum", "Beleg", "Filiale", "Betrag", "Kunde", "Notiz"],
        *(
            [f"{day} 08:{n:02}", f"B-{n}", "Köln", f"{n},5{n % 10}", f"Kundin {n}", f"Größe {n};\nzweite Zeile"]
            for n in range(60)
        ),
        [f"{day} 09:01", "B-61", "Köln", "1.000,00", "Kundin 61", "a point between thousands"],
        [f"{day} 09:02", "B-62", "Köln"],
    ]
    again = [rows[0], [f"{day} 09:00", "B-7", "Köln", "1,00", "Kundin 7", "the same receipt again"]]
    path = own.folder / "sales.csv"
    system = own.shell.system
    for part in (rows, again):
        with path.open("w", encoding="windows-1252", newline="") as file:
            csv.writer(file, delimiter=";").writerows(part)
        own.shell.run("send", f"{system}.sales", str(path))
        own.shell.json("ingest", system, "--once")

    silver = DeltaTable(str(own.folder / "lake" / "silver" / system / "sales")).to_pyarrow_table().to_pylist()
    assert {row["receipt"]: (row["amount"], row["note"]) for row in silver} == {
        f"B-{n}": (Decimal(f"{n}.5{n % 10}"), f"Größe {n};\nzweite Zeile") for n in range(60)
    }
    quarantine = DeltaTable(str(own.folder / "lake" / "quarantine" / system / "sales")).to_pyarrow_table()
    assert sorted(quarantine["reason"].to_pylist()) == ["column_count", "type:amount"]
    assert "Kundin" not in str(quarantine["excerpt"].to_pylist())
    found = own.shell.json("search", system, "note:Größe receipt:B-7", "--last", "48h")["hits"]
    assert [(row["receipt"], row["amount"]) for row in found] == [("B-7", "7.57")]
    assert own.shell.json("prove", system)["holds"]

    # Columns in another order would be read as each other: nothing of such a file is sent.
    path.write_text("Beleg;Datum;Filiale;Betrag;Kunde;Notiz\n")
    assert "the contract has Datum;Beleg" in own.shell.fails("send", f"{system}.sales", str(path))
