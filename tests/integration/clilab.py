"""The command line as a person types it: a system of its own, and commands in this process or in one of their own.

What starts, streams or takes signals, and one of each other kind, should run in a process of its own; the rest in this one, by
the same entry and with the same environment, because a process takes a second to start.

The system under test is the packaged one under a name of its own, with a lake of its own, so that nobody else's topics and
indices are touched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient
from opensearchpy import OpenSearch
from support import private_systems

from platform_assets.cli.app import assay
from platform_assets.core.settings import Settings
from platform_assets.sources.kafka.consume import KafkaSource


@dataclass(frozen=True)
class Shell:
    """Runs `assay` with a system, a lake and a home of its own choice."""

    environment: dict[str, str]
    system: str
    systems: Path

    def start(self, *arguments: str, stdin: int | IO[bytes] = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "platform_assets.cli", *arguments],
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, own: bool = False) -> subprocess.CompletedProcess[str]:
        """In this process, or in one of its `own`."""
        if own:
            process = self.start(*arguments)
            out, err = process.communicate()
            ended = process.returncode
        else:
            others = {name: None for name in os.environ if name.startswith("ASSAY_")}
            done = CliRunner().invoke(assay, arguments, env=others | self.environment)
            assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
            out, err, ended = done.stdout, done.stderr, done.exit_code
        assert ended == code, f"{arguments}: {out}{err}"
        return subprocess.CompletedProcess(arguments, code, out, err)

    def json(self, *arguments: str, code: int = 0, own: bool = False) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code, own=own).stdout)

    def fails(self, *arguments: str, own: bool = False) -> str:
        """The one line that a failing command says."""
        done = self.run(*arguments, code=1, own=own)
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr


@contextmanager
def prepared(services: Settings) -> Iterator[Shell]:
    """A system that is ready: contract in place, topics and templates made."""
    folder = Path(tempfile.mkdtemp(prefix="assay-cli-"))
    system = f"c{uuid.uuid4().hex[:8]}"
    systems = private_systems(folder, system)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    environment |= {
        "ASSAY_HOME": str(services.home),
        "ASSAY_LAKE": str(folder / "lake"),
        "ASSAY_SYSTEMS": str(systems),
    }
    shell = Shell(environment, system, systems)
    shell.run("up", own=True)
    yield shell
    admin = AdminClient(services.kafka_conf("admin"))
    for future in admin.delete_topics([f"{system}.{table}" for table in ("events", "access", "broker")]).values():
        future.result(20)
    client = search_client(services)
    client.indices.delete(index=f"{system}-*")
    client.close()
    shutil.rmtree(folder)


def search_client(settings: Settings) -> OpenSearch:
    return OpenSearch(
        [settings.opensearch_url], http_auth=settings.opensearch_auth("ingest"), ca_certs=str(settings.opensearch_ca)
    )


def published(settings: Settings, topic: str) -> pa.Table:
    """All that a topic holds."""
    reader = KafkaSource(settings.kafka_conf("ingest"))
    try:
        found = reader.describe([topic])[topic]
        until = {(topic, partition): high for partition, (_, high) in reader.watermarks(found).items()}
        reader.seek({topic: (found, dict.fromkeys(found.shards))})
        batches = reader.read(max_rows=1_000_000, max_bytes=1 << 30, seconds=30, until=until)
        return pa.concat_tables([batch.rows for batch in batches]) if batches else pa.table({"value": []})
    finally:
        reader.close()
