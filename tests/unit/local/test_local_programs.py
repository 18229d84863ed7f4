"""Pinned artifacts, the choice of a Java, and configuration that can be checked without a server."""

from __future__ import annotations

import hashlib
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from platform_assets.core.errors import AssayError
from platform_assets.local import artifacts
from platform_assets.local.endpoints import Ports, ensure_secrets
from platform_assets.local.java import Java, find_java, reachable_java
from platform_assets.local.layout import Layout, run_as
from platform_assets.local.lock import OPENSEARCH_MODULES, Artifact, read_lock, versions
from platform_assets.local.opensearch import SearchNode
from platform_assets.local.properties import log4j_text, properties_text
from platform_assets.local.tls import ensure_certificates
from platform_assets.local.topics import TopicSpec


def test_the_lock_is_of_the_pinned_versions() -> None:
    """A version that was changed without a new lock would start what nobody asked for."""
    found = {(row.group, row.name): row.version for row in read_lock()}
    kafka, opensearch = versions()["kafka"], versions()["opensearch"]
    assert found["org.apache.kafka", f"kafka_{kafka['scala']}"] == kafka["version"]
    assert found["org.opensearch", "opensearch"] == opensearch["version"]
    assert found["org.opensearch.plugin", "opensearch-security"] == opensearch["security"]
    assert found["org.apache.commons", "commons-collections4"] == opensearch["commons-collections4"]
    for name, _ in OPENSEARCH_MODULES.values():
        assert found["org.opensearch.plugin", name] == opensearch["version"]


def test_no_module_repeats_a_jar_of_the_core() -> None:
    rows = read_lock()
    core = {(row.group, row.name) for row in rows if row.folder == "opensearch/lib"}
    assert not [row for row in rows if row.folder.startswith("opensearch/modules/") and (row.group, row.name) in core]


class Wanted:
    """What jgo gives for a coordinate: here a file that a test prepared."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def project(self, _group: str, _name: str) -> Wanted:
        return self

    def at_version(self, _version: str) -> Wanted:
        return self

    def artifact(self, packaging: str) -> Wanted:
        assert packaging == "jar"
        return self

    def resolve(self) -> Path:
        return self.paths.pop(0)


def pinned(data: bytes) -> Artifact:
    return Artifact("kafka/lib", "g", "a", "1", "jar", len(data), hashlib.sha256(data).hexdigest())


def test_a_part_of_a_download_is_fetched_again(tmp_path: Path) -> None:
    part, whole = tmp_path / "part", tmp_path / "whole"
    part.write_bytes(b"who")
    whole.write_bytes(b"whole")
    context: Any = Wanted([part, whole])
    assert artifacts._fetch(context, pinned(b"whole")) == whole
    assert not part.exists()


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for path in (first, second):
        path.write_bytes(b"forged")
    context: Any = Wanted([first, second])
    with pytest.raises(AssayError, match=r"a-1\.jar is not the file that was pinned"):
        artifacts._fetch(context, pinned(b"whole"))
    assert not first.exists()
    assert not second.exists()


def test_an_assembled_runtime_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def download(rows: list[Artifact], _what: str, _console: object) -> list[Path]:
        calls.append(len(rows))
        return [tmp_path] * len(rows)

    def assemble(root: Path, _files: object) -> None:
        root.mkdir()
        (root / ".complete").touch()

    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    monkeypatch.setattr(artifacts, "runtime_folder", lambda: tmp_path)
    monkeypatch.setattr(artifacts, "download", download)
    monkeypatch.setattr(artifacts, "_assemble", assemble)
    first = artifacts.ensure_runtime()
    assert artifacts.ensure_runtime() == first
    assert calls == [len(read_lock())]


def fake_java(home: Path, version: str, modules: str = "java.base") -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").touch(mode=0o755)
    (home / "release").write_text(f'JAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    return home


def test_a_java_that_is_named_must_be_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_JAVA_HOME", str(fake_java(tmp_path / "17", "17.0.15")))
    with pytest.raises(AssayError, match="ASSAY_JAVA_HOME names no Java 21 or newer"):
        find_java()
    monkeypatch.setenv("ASSAY_JAVA_HOME", str(fake_java(tmp_path / "21", "21")))
    assert find_java().major == 21


def test_a_java_with_all_modules_is_preferred_to_a_newer_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASSAY_JAVA_HOME", raising=False)
    homes = [
        fake_java(tmp_path / "old", "17.0.1", "java.base jdk.incubator.vector"),
        fake_java(tmp_path / "full", "21.0.2", "java.base jdk.incubator.vector"),
        fake_java(tmp_path / "small", "25.0.2"),
        tmp_path / "absent",
    ]
    monkeypatch.setattr("platform_assets.local.java._homes", lambda: iter(homes))
    assert find_java().home == tmp_path / "full"
    homes.pop(1)
    assert find_java().home == tmp_path / "small"
    homes.pop(1)
    with pytest.raises(AssayError, match="no Java 21 or newer was found"):
        find_java()


def test_two_starts_at_once_copy_java_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, when other users cannot reach it."""
    tmp_path.chmod(0o700)
    java = Java(fake_java(tmp_path / "java", "25.0.2"), 25, frozenset())
    copies: list[Path] = []

    def slow(target: Path) -> None:
        copies.append(target)
        time.sleep(0.5)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("platform_assets.local.java.open_to_all", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: reachable_java(java, tmp_path / "runtime"), range(2))
    assert first == second
    assert copies == [first.home]
    assert first.executable.is_file()


def read_by_java(text: bytes) -> dict[str, str]:
    """As `Properties.load` reads values: Latin-1 with \\uXXXX, and a backslash before anything else is nothing."""

    def character(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else match[2]

    found = {}
    for line in text.decode("latin-1").splitlines():
        name, _, value = line.partition("=")
        units = re.sub(r"\\(?:u([0-9a-f]{4})|(.))", character, value.lstrip())
        found[name] = units.encode("utf-16-be", "surrogatepass").decode("utf-16-be")
    return found


@pytest.mark.parametrize("path", ["/home/assay", "/home/josé/assay", "/data/a\\b", "/数据/😀 x/y", "/a\nb"])
def test_java_reads_a_path_as_it_is(path: str) -> None:
    assert read_by_java(properties_text({"log.dirs": Path(path), "n": 1})) == {"log.dirs": path, "n": "1"}
    found = read_by_java(log4j_text(Path(path) / "server.log", "[%d] %m%n"))
    assert found["appender.file.fileName"] == f"{path}/server.log"
    assert found["appender.file.layout.pattern"] == "[%d] %m%n"


def test_a_home_that_would_be_two_folders_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "a,b"
    with pytest.raises(AssayError, match="a comma in"):
        Layout(home, home / "local", run_as()).create()
    assert not home.exists()


@pytest.fixture
def prepare(tmp_path: Path) -> Any:
    """Prepares an OpenSearch node in a home; the runtime is an empty tree."""
    layout = Layout(tmp_path, tmp_path / "local", run_as())
    layout.create()
    ensure_certificates(layout.certificates.folder)
    agent = tmp_path / "runtime" / "agent"
    agent.mkdir(parents=True)
    (agent / "opensearch-agent-3.4.0.jar").touch()
    runtime: Any = SimpleNamespace(opensearch=tmp_path / "runtime")

    def run(java: Java | None = None) -> SearchNode:
        return SearchNode.prepare(
            layout,
            Ports(1, 2, 3, 4, 5),
            java or Java(Path("/java"), 25, frozenset()),
            runtime,
            heap_mb=512,
            secrets=ensure_secrets(tmp_path),
        )

    return run


def test_hashes_change_with_their_password_only(prepare: Any, tmp_path: Path) -> None:
    """Otherwise every start would write the security index anew."""
    first, again = prepare(), prepare()
    assert first.security_digest() == again.security_digest()
    path = tmp_path / "secrets.env"
    path.write_text(path.read_text().replace("ASSAY_OPENSEARCH_INGEST_PASSWORD=", "ASSAY_OPENSEARCH_INGEST_PASSWORD=x"))
    changed = prepare().security["internalusers"]
    assert changed["ingest"] != first.security["internalusers"]["ingest"]
    assert changed["admin"] == first.security["internalusers"]["admin"]


def test_index_patterns_of_roles_are_configurable(prepare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_INGEST_INDICES", "logs-*, assay-*")
    roles = prepare().security["roles"]
    assert roles["assay_ingest"]["index_permissions"][0]["index_patterns"] == ["logs-*", "assay-*"]


def test_the_configuration_is_private_and_holds_no_password(prepare: Any, tmp_path: Path) -> None:
    prepare()
    passwords = [value for name, value in ensure_secrets(tmp_path).items() if name.endswith("PASSWORD")]
    files = [path for path in (tmp_path / "local" / "opensearch" / "config").rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert not [password for password in passwords if password in path.read_text()]


def test_a_password_that_bcrypt_does_not_take_is_one_clear_line(prepare: Any, tmp_path: Path) -> None:
    ensure_secrets(tmp_path)
    path = tmp_path / "secrets.env"
    path.write_text(re.sub(r"(ASSAY_OPENSEARCH_READER_PASSWORD)=.*", rf"\1={'é' * 37}", path.read_text()))
    with pytest.raises(AssayError, match="ASSAY_OPENSEARCH_READER_PASSWORD is longer than 72 bytes"):
        prepare()


def test_vectors_are_asked_for_only_where_java_has_them(prepare: Any) -> None:
    module = "--add-modules=jdk.incubator.vector"
    full = Java(Path("/java"), 21, frozenset({"jdk.incubator.vector"}))
    assert module in prepare(full).command().arguments
    assert module not in prepare().command().arguments


def test_a_topics_retention_is_part_of_its_configuration() -> None:
    assert TopicSpec("a.b", 1).wanted_config() == {}
    spec = TopicSpec("a.b", 1, retention_ms=-1, config={"cleanup.policy": "delete"})
    assert spec.wanted_config() == {"cleanup.policy": "delete", "retention.ms": "-1"}
