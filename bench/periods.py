"""How many indices rows of many days need, and how long a worker takes for all of it.

`python -m bench.periods tickets` sends 8,469 events of 730 days in no order of time; `python -m bench.periods city` the hourly
measurements of the stations whose files `--folder` holds (four years, 35,064 rows a station), as they lie there. Both go through
broker, lake and index of the services in `ASSAY_HOME` (they must be up), as a system of their own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from bench.common import machine, named, private_lake
from platform_assets.contracts.model import Contract, Field, FieldType, IndexPeriod, IndexType
from platform_assets.core.settings import Settings
from platform_assets.index.connect import connect_indices
from platform_assets.ingest.worker import Worker
from platform_assets.local.topics import TopicSpec, ensure_topics
from platform_assets.sources.kafka.produce import RecordProducer, send_paced

_TICKETS, _TICKET_DAYS = 8_469, 730
_MEASURES = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3", "TEMP", "PRES", "DEWP", "RAIN", "WSPM")


def run(settings: Settings, contract: Contract, values: Iterable[bytes]) -> dict[str, Any]:
    """Rows, indices, and the seconds from a full topic to the end of the worker, index included."""
    table = contract.tables[0]
    ensure_topics(settings.kafka_conf("admin"), [TopicSpec(table.topic, table.topic_partitions)])
    producer = RecordProducer(settings.kafka_conf("producer"), table.topic)
    sent = send_paced(producer, [[(b"%d" % n, value) for n, value in enumerate(values)]], None)
    with private_lake(settings) as private:
        started = time.perf_counter()
        worker = Worker(private, contract).drain()
        whole = time.perf_counter() - started
        indices = connect_indices(private)
        try:
            made = [index.name for index in indices.all(table)]
            indices.delete(made)
        finally:
            indices.client.close()
        return {
            "rows": sent,
            "partitions": len(worker.tables[table.name].silver),
            "documents": sum(worker.tables[table.name].indexed.values()),
            "indices": len(made),
            "seconds": round(whole, 1),
            "machine": machine(),
        }


def tickets() -> tuple[Contract, list[bytes]]:
    """Events of two years, in no order of time; all of them are in time, as the contract has it."""
    begin, logs = datetime(2024, 1, 1, tzinfo=UTC), named(f"bench{time.time_ns()}")
    table = replace(logs.tables[0], index_period=IndexPeriod.MONTH, lateness=timedelta(days=36_500))
    values = []
    for n in range(_TICKETS):
        at = begin + timedelta(days=n * 7_919 % _TICKET_DAYS, seconds=n)
        row = {"event_id": f"t{n}", "event_time": at.isoformat(), "service": "tickets", "level": "INFO"}
        values.append(json.dumps({**row, "message": f"ticket {n} was opened"}).encode())
    return replace(logs, tables=(table,)), values


def city(folder: Path) -> tuple[Contract, list[bytes]]:
    """The stations' hours of local time (UTC+8) as events, with the measurements as numbers; what is not known is absent."""
    fields = (
        Field("at", FieldType.TIMESTAMP, required=True, source="at", index=IndexType.DATE),
        Field("station", FieldType.STRING, required=True, source="station"),
        *(
            Field(name.lower().replace(".", "_"), FieldType.NUMBER, source=name, index=IndexType.DOUBLE)
            for name in _MEASURES
        ),
    )
    logs = named(f"bench{time.time_ns()}")
    table = replace(
        logs.tables[0], fields=fields, event_time="at", key=("station", "at"), dedupe_window=None, attributes=None,
        display=(), sample="", index_period=IndexPeriod.MONTH,
    )  # fmt: skip
    measures = ", ".join(f'"{name}"' for name in _MEASURES)
    with duckdb.connect() as con:
        found = con.execute(
            f"""
            SELECT to_json(struct_pack(at := strftime(make_timestamp(year, month, day, hour, 0, 0) - INTERVAL 8 HOUR,
                '%Y-%m-%dT%H:%M:%SZ'), station := station, {measures}))
            FROM read_csv(?, nullstr = 'NA')
            """,  # noqa: S608
            [str(folder / "*.csv")],
        ).fetchall()
    return replace(logs, tables=(table,)), [text.encode() for (text,) in found]


def main() -> None:
    """The command line of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=("tickets", "city"))
    parser.add_argument("--folder", type=Path, default=Path("../shared/data/city"))
    chosen = parser.parse_args()
    contract, values = tickets() if chosen.case == "tickets" else city(chosen.folder)
    print(json.dumps(run(Settings.load(), contract, values), indent=2))


if __name__ == "__main__":
    main()
