"""Settings load anywhere and fail only where a missing value is used."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings, inherited_environment, read_env_file

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell takes part."""
    for name in [name for name in os.environ if name.startswith("ASSAY_")]:
        monkeypatch.delenv(name)


def write_home(home: Path, **secrets: str) -> None:
    (home / "local").mkdir(parents=True)
    endpoints = {"kafka_bootstrap": "127.0.0.1:1", "opensearch_url": "https://127.0.0.1:2", "opensearch_ca": "/ca.pem"}
    (home / "local" / "endpoints.json").write_text(json.dumps(endpoints))
    (home / "secrets.env").write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))


def test_nothing_is_needed_to_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.load()
    assert settings.home == tmp_path / ".assay"
    assert settings.lake_path == tmp_path / ".assay" / "lake"
    assert settings.opensearch_ca is None


@pytest.mark.parametrize(
    ("use", "variable"),
    [
        (lambda s: s.kafka_bootstrap, "ASSAY_KAFKA_BOOTSTRAP"),
        (lambda s: s.kafka_conf("ingest"), "ASSAY_KAFKA_BOOTSTRAP"),
        (lambda s: s.opensearch_url, "ASSAY_OPENSEARCH_URL"),
        (lambda s: s.opensearch_auth("reader"), "ASSAY_OPENSEARCH_READER_PASSWORD"),
        (lambda s: s.hmac_key, "ASSAY_HMAC_KEY"),
        (lambda s: s.hmac_key_id, "ASSAY_HMAC_KEY_ID"),
    ],
)
def test_a_missing_value_names_its_variable_when_used(
    tmp_path: Path, use: Callable[[Settings], object], variable: str
) -> None:
    with pytest.raises(AssayError) as error:
        use(Settings.load(tmp_path))
    assert "assay up" in error.value.hint
    assert error.value.hint.endswith(variable)


def test_the_home_of_local_services_is_enough(tmp_path: Path) -> None:
    write_home(tmp_path, ASSAY_KAFKA_INGEST_PASSWORD="p=1#2", ASSAY_OPENSEARCH_INGEST_PASSWORD="q")
    settings = Settings.load(tmp_path)
    assert settings.kafka_conf("ingest") == {
        "bootstrap.servers": "127.0.0.1:1",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "ingest",
        "sasl.password": "p=1#2",
    }
    assert settings.opensearch_auth("ingest") == ("ingest", "q")
    assert settings.opensearch_ca == Path("/ca.pem")


def test_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_home(tmp_path, ASSAY_KAFKA_INGEST_PASSWORD="local")
    for name, value in {
        "ASSAY_KAFKA_BOOTSTRAP": "kafka.example:9093",
        "ASSAY_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "ASSAY_KAFKA_SASL_MECHANISM": "PLAIN",
        "ASSAY_KAFKA_CA": "/other.pem",
        "ASSAY_KAFKA_INGEST_USER": "svc-worker",
        "ASSAY_KAFKA_INGEST_PASSWORD": "remote",
    }.items():
        monkeypatch.setenv(name, value)
    assert Settings.load(tmp_path).kafka_conf("ingest") == {
        "bootstrap.servers": "kafka.example:9093",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "/other.pem",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "svc-worker",
        "sasl.password": "remote",
    }


def test_a_broker_without_sasl_needs_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_KAFKA_BOOTSTRAP", "b:1")
    monkeypatch.setenv("ASSAY_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    conf = Settings.load(tmp_path).kafka_conf("producer")
    assert conf == {"bootstrap.servers": "b:1", "security.protocol": "PLAINTEXT"}


def test_secrets_do_not_show_in_the_representation(tmp_path: Path) -> None:
    write_home(tmp_path, ASSAY_KAFKA_INGEST_PASSWORD="very-secret")
    assert "very-secret" not in repr(Settings.load(tmp_path))


def test_retired_keys_stay_known_and_the_current_one_is_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_home(tmp_path, ASSAY_HMAC_KEY=KEY, ASSAY_HMAC_KEY_ID="new")
    old = base64.b64encode(b"o" * 32).decode()
    monkeypatch.setenv("ASSAY_HMAC_OLD_KEYS", f"old={old}, older={old}")
    keys = Settings.load(tmp_path).hmac_keys()
    assert list(keys) == ["new", "old", "older"]
    assert keys["new"] == b"k" * 32
    assert keys["old"] == b"o" * 32


@pytest.mark.parametrize("value", ["not base64!", base64.b64encode(b"short").decode()])
def test_a_weak_or_malformed_key_is_refused_without_being_shown(tmp_path: Path, value: str) -> None:
    write_home(tmp_path, ASSAY_HMAC_KEY=value, ASSAY_HMAC_KEY_ID="k")
    with pytest.raises(AssayError) as error:
        _ = Settings.load(tmp_path).hmac_key
    assert value not in str(error.value)


def test_a_damaged_endpoints_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "endpoints.json").write_text("{")
    with pytest.raises(AssayError, match=r"cannot read .*endpoints\.json"):
        Settings.load(tmp_path)


def test_env_files_may_have_comments_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_text("# comment\n\n A = b=c \n")
    assert read_env_file(path) == {"A": "b=c"}
    assert read_env_file(tmp_path / "absent") == {}


def test_settings_are_light_to_import() -> None:
    """The code location imports them: no client, no downloader, no server code may come along."""
    code = "import sys, platform_assets.core.settings; print([m for m in sys.modules if m.split('.')[0] in "
    code += "('jgo', 'confluent_kafka', 'opensearchpy', 'cryptography', 'rich')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_process_with_another_current_folder_gets_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_SYSTEMS", "mine/systems")
    monkeypatch.setenv("ASSAY_DBT_PROJECT", "/elsewhere")
    monkeypatch.setenv("ASSAY_API_RATE", "10")
    assert inherited_environment() == {
        "ASSAY_SYSTEMS": str(tmp_path / "mine" / "systems"),
        "ASSAY_DBT_PROJECT": "/elsewhere",
        "ASSAY_API_RATE": "10",
    }
