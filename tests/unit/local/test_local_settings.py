"""Settings load anywhere and fail only where a missing value is used."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from platform_assets.core.errors import AssayError
from platform_assets.core.settings import (
    Settings,
    child_environment,
    environment,
    exported,
    inherited_environment,
    read_env_file,
    variable,
    whole_number,
)

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
    settings = Settings.load(tmp_path)
    for shown in (
        repr(settings),
        str(settings),
        repr(settings.values),
        f"{settings.values}",
        f"{settings.values!s:>9}",
    ):
        assert "very-secret" not in shown
    assert "ASSAY_KAFKA_INGEST_PASSWORD" in repr(settings.values)
    assert "very-secret" not in repr(replace(settings, values={"ASSAY_X": "very-secret"}).values)


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
    expected = {
        "ASSAY_SYSTEMS": str(tmp_path / "mine" / "systems"),
        "ASSAY_DBT_PROJECT": "/elsewhere",
        "ASSAY_API_RATE": "10",
    }
    assert inherited_environment() == expected
    assert child_environment({"ASSAY_API_RATE": "20"}) == {**os.environ, **expected, "ASSAY_API_RATE": "20"}
    assert environment() == {**expected, "ASSAY_SYSTEMS": "mine/systems"}


def test_a_variable_is_exported_for_a_block_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with exported("ASSAY_ONE", "1"):
        with pytest.raises(ZeroDivisionError), exported("ASSAY_ONE", "2"):
            assert os.environ["ASSAY_ONE"] == "2"
            raise ZeroDivisionError
        assert os.environ["ASSAY_ONE"] == "1"
    assert "ASSAY_ONE" not in os.environ
    monkeypatch.setenv("ASSAY_ONE", "")
    assert variable("ASSAY_ONE") is None


@pytest.mark.parametrize("text", ["0", "11", "-1", "1.5", "five", "\N{ARABIC-INDIC DIGIT FIVE}", " 5"])
def test_a_malformed_number_names_its_variable_and_not_its_content(text: str) -> None:
    with pytest.raises(AssayError) as error:
        whole_number({"ASSAY_N": text}, "ASSAY_N", 1, 10)
    assert str(error.value).startswith("ASSAY_N is not a whole number from 1 to 10")


def test_a_number_may_be_absent_and_has_limits() -> None:
    assert whole_number({"ASSAY_N": "10"}, "ASSAY_N", 1, 10) == 10
    assert whole_number({"ASSAY_N": "999999"}, "ASSAY_N", 1) == 999_999
    assert whole_number({"ASSAY_N": ""}, "ASSAY_N", 1) is None


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("ASSAY_SYSTEMS", lambda s: s.systems),
        ("ASSAY_DBT_PROJECT", lambda s: s.dbt_project),
        ("ASSAY_INDEX_SHARDS_SHARE", lambda s: s.index_shards_share),
        ("ASSAY_OPENSEARCH_JWT_KEY", lambda s: s.opensearch_jwt_key),
        ("ASSAY_HMAC_KEY", lambda s: s.hmac_key),
    ],
)
def test_malformed_values_load_and_are_named_not_shown_when_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, use: Callable[[Settings], object]
) -> None:
    monkeypatch.setenv(name, "/no-such-thing")
    settings = Settings.load(tmp_path)
    with pytest.raises(AssayError, match=name) as error:
        use(settings)
    assert "no-such-thing" not in str(error.value)
