"""The compose project as far as a machine without containers can tell: its form, its references, its hardening, its secrets."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from jsonschema import Draft7Validator

from platform_assets.core.settings import read_env_file
from platform_assets.index.callers import API_LIMITED, API_READER
from platform_assets.index.mappings import ROW
from platform_assets.local.endpoints import OPENSEARCH_ROLES
from platform_assets.local.opensearch import security_configuration

PROJECT = Path(__file__).parents[3]
COMPOSE = PROJECT / "deploy" / "compose"
SCHEMA = Path(__file__).with_name("compose-spec.json")
"""github.com/compose-spec/compose-spec, schema/compose-spec.json at 170098ba (Apache-2.0)."""
WRITABLE = {"opensearch", "dashboards"}
"""Services whose images write beside their programs; compose.yaml says what."""


def test_it_is_what_the_specification_allows(compose: dict[str, Any]) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    errors = [f"{'.'.join(map(str, e.path))}: {e.message}" for e in Draft7Validator(schema).iter_errors(compose)]
    assert errors == []


def test_every_reference_leads_somewhere(compose: dict[str, Any], generated: Path) -> None:
    files = {name: COMPOSE / entry["file"] for name, entry in compose["configs"].items()}
    secrets = {name: generated.parent / entry["file"] for name, entry in compose["secrets"].items()}
    assert [str(path) for path in (*files.values(), *secrets.values()) if not path.is_file()] == []
    used: dict[str, set[str]] = {"configs": set(), "secrets": set(), "volumes": set(), "networks": set()}
    for name, service in compose["services"].items():
        for kind in ("configs", "secrets"):
            used[kind] |= {e if isinstance(e, str) else e["source"] for e in service.get(kind, ())}
        used["volumes"] |= {volume.partition(":")[0] for volume in service.get("volumes", ())}
        used["networks"] |= set(service["networks"])
        for other, wanted in service.get("depends_on", {}).items():
            waited = compose["services"][other]
            assert (wanted["condition"] == "service_healthy") == ("healthcheck" in waited), (name, other)
        mounted = {f"/run/secrets/{entry}" for entry in service.get("secrets", ()) if isinstance(entry, str)}
        mounted |= {e["target"] for k in ("configs", "secrets") for e in service.get(k, ()) if not isinstance(e, str)}
        named = set(re.findall(r"/(?:run/secrets|etc/(?:dagster|assay))/[\w.]+", json.dumps(service)))
        assert named <= mounted, (name, named - mounted)
    assert used == {kind: set(compose[kind]) for kind in used}  # nothing undeclared, nothing left over


def test_the_proxys_configuration_names_services_and_its_own_secrets(compose: dict[str, Any]) -> None:
    text = (COMPOSE / "Caddyfile").read_text(encoding="utf-8")
    assert set(re.findall(r"/run/secrets/(\w+)", text)) == set(compose["services"]["proxy"]["secrets"])
    for service in re.findall(r"reverse_proxy (\w+):\d+", text):
        assert set(compose["services"][service]["networks"]) & set(compose["services"]["proxy"]["networks"])
    dagster = text.partition("https://:3000 {")[2].partition("\nhttps://")[0]
    assert "basic_auth" in dagster


def test_environment_is_known_to_the_program(compose: dict[str, Any]) -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "platform_assets").rglob("*.py"))
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if variable.startswith("ASSAY_"):
                assert variable in code, (name, variable)
            if re.search(r"PASSWORD|SECRET|TOKEN|KEY", variable):
                assert variable.endswith("_FILE"), (name, variable)
            assert "password" not in str(value).lower() or str(value).startswith("/run/secrets/"), (name, variable)


def test_published_on_the_loopback_address_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []
    assert [name for name, network in compose["networks"].items() if not (network or {}).get("internal")] == [
        "edge",
        "out",
    ]
    assert [name for name, s in compose["services"].items() if "edge" in s["networks"]] == ["kafka", "proxy"]
    assert [name for name, s in compose["services"].items() if "out" in s["networks"]] == ["code"]
    for service in compose["services"].values():
        assert "network_mode" not in service


def test_images_are_pinned_to_the_versions_of_the_local_services(compose: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in compose["services"].items()}
    assert [image for image in images.values() if not re.search(r":\d+\.\d+(\.\d+)?(-\w+)?$", image)] == []
    versions = tomllib.loads((PROJECT / "platform_assets/local/versions.toml").read_text(encoding="utf-8"))
    assert images["kafka"] == f"apache/kafka:{versions['kafka']['version']}"
    for name in ("opensearch", "dashboards"):
        assert images[name].endswith(f":{versions['opensearch']['version']}")
    release = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    own = [s for s in compose["services"].values() if s["image"].startswith("assay:")]
    assert {s["image"] for s in own} == {f"assay:{release}"}
    assert {s["pull_policy"] for s in own} == {"never"}  # nobody else's image of that name


def test_every_container_is_hardened(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["user"] == "1000:1000", name
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else []), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) == (name not in WRITABLE), name
        assert {"mem_limit", "pids_limit", "logging"} <= set(service), name
        assert service["restart"] == ("no" if name == "prepare" else "unless-stopped"), name
        assert ("healthcheck" in service) == (name != "prepare"), name
        assert not {"privileged", "pid", "ipc", "devices", "userns_mode"} & set(service), name
        assert all(volume.partition(":")[0] in compose["volumes"] for volume in service.get("volumes", ())), name


def test_the_lake_and_the_workers_secrets_are_where_runs_are(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert [n for n, s in services.items() if any("assay-home" in v for v in s.get("volumes", ()))] == [
        "code",
        "gold",
        "api",
    ]
    own = {"prepare": "prepare_env", "code": "ingest_env", "gold": "gold_env", "api": "serve_env"}
    given = {n: [e for e in s.get("secrets", ()) if "secrets.env" in str(e)] for n, s in services.items()}
    assert {n: e["source"] for n, found in given.items() for e in found} == own
    # Gold has no business with Kafka: neither its address, nor a password, nor a way to it.
    assert not set(services["gold"]["networks"]) & set(services["kafka"]["networks"])
    assert not [name for name in services["gold"]["environment"] if "KAFKA" in name]
    assert [n for n, s in services.items() if "dagster" in s["networks"]] == [
        "postgres",
        "code",
        "gold",
        "daemon",
        "dagster",
    ]


def test_dagsters_settings_differ_in_storage_only(compose: dict[str, Any]) -> None:
    read = lambda path: yaml.safe_load(path.read_text(encoding="utf-8"))  # noqa: E731
    ours, usual = read(COMPOSE / "dagster.yaml"), read(PROJECT / "deploy" / "dagster" / "dagster.yaml")
    assert ours.pop("storage") == {"postgres": {"postgres_url": "postgresql+psycopg2://dagster@postgres:5432/dagster"}}
    assert ours == usual
    modules = {
        e["python_module"]["location_name"]: e["python_module"]["module_name"]
        for e in read(PROJECT / "workspace.yaml")["load_from"]
    }
    for entry in read(COMPOSE / "workspace.yaml")["load_from"]:
        server = entry["grpc_server"]
        command = compose["services"][server["host"]]["command"]
        assert command[command.index("-p") + 1] == str(server["port"])
        assert command[command.index("-m") + 1] == modules.pop(server["location_name"])
        assert command[command.index("--location-name") + 1] == server["location_name"]
    assert not modules


def test_init_gives_each_its_own_and_closes_everything(generated: Path) -> None:
    files = [path for path in generated.rglob("*") if path.is_file()]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}
    roles = {path.stem: read_env_file(path) for path in (generated / "roles").iterdir()}
    assert set(roles["ingest"]) == {
        "ASSAY_KAFKA_INGEST_PASSWORD", "ASSAY_OPENSEARCH_INGEST_PASSWORD", "ASSAY_HMAC_KEY", "ASSAY_HMAC_KEY_ID",
    }  # fmt: skip
    assert set(roles["gold"]) == {"ASSAY_OPENSEARCH_INGEST_PASSWORD"}
    assert set(roles["producer"]) == {"ASSAY_KAFKA_PRODUCER_PASSWORD"}
    assert set(roles["serve"]) == {
        "ASSAY_KAFKA_INGEST_PASSWORD", "ASSAY_KAFKA_PRODUCER_PASSWORD", "ASSAY_OPENSEARCH_INGEST_USER",
        "ASSAY_OPENSEARCH_INGEST_PASSWORD", "ASSAY_OPENSEARCH_JWT_KEY", "ASSAY_HMAC_KEY", "ASSAY_HMAC_KEY_ID",
    }  # fmt: skip
    assert roles["serve"]["ASSAY_OPENSEARCH_INGEST_USER"] == "api"
    assert roles["serve"]["ASSAY_OPENSEARCH_INGEST_PASSWORD"] != roles["ingest"]["ASSAY_OPENSEARCH_INGEST_PASSWORD"]
    assert "ASSAY_HMAC_KEY" not in roles["prepare"]
    before = {path: path.read_bytes() for path in files}
    subprocess.run([str(COMPOSE / "init"), str(generated)], check=True, capture_output=True)
    assert {path: path.read_bytes() for path in files} == before


def test_init_hands_on_what_an_operator_adds(generated: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(generated, tmp_path / "generated")
    added = {
        "ASSAY_ALERT_URLS": "json://127.0.0.1:9/hook", "ASSAY_RUNBOOK_URL": "https://example.com/runbooks",
        "ASSAY_API_RATE": "10/minute",
    }  # fmt: skip
    with (folder / "secrets.env").open("a", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in added.items())
    subprocess.run([str(COMPOSE / "init"), str(folder)], check=True, capture_output=True)
    roles = {path.stem: read_env_file(path) for path in (folder / "roles").iterdir()}
    got = {role: sorted(added.items() & values.items()) for role, values in roles.items() if added.keys() & values}
    alerts, runbooks, rate = added.items()
    assert got == {"ingest": [alerts, runbooks], "serve": [rate]}


def test_init_uses_the_roles_of_the_local_node(generated: Path) -> None:
    secrets = read_env_file(generated / "secrets.env")
    folder = generated / "opensearch" / "security"
    found = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.iterdir()}
    usual = security_configuration(secrets, folder / "internal_users.yml")
    for name, kind in (("roles.yml", "roles"), ("config.yml", "config"), ("roles_mapping.yml", "rolesmapping")):
        assert usual[kind].items() <= found[name].items(), name
    assert set(found["internal_users.yml"]) == {"_meta", "dashboards", "api", *OPENSEARCH_ROLES}
    more = {"_meta", "kibana_server", "kibana_user", "assay_api"}
    assert set(found["roles_mapping.yml"]) - set(usual["rolesmapping"]) == more
    settings = json.loads((generated / "opensearch" / "opensearch.yml").read_text(encoding="utf-8"))
    assert settings["action.auto_create_index"] == "false"
    assert not [value for name, value in secrets.items() if name.endswith("PASSWORD") and value in str(found)]


def test_the_node_knows_the_apis_callers_and_what_they_may_see(generated: Path) -> None:
    """What `serve` relies on: its tokens are checked with its own key, and a limited one sees its own rows only."""
    serve = read_env_file(generated / "roles" / "serve.env")
    folder = generated / "opensearch" / "security"
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.iterdir()}
    login = found["config"]["config"]["dynamic"]["authc"]["jwt"]
    assert login["http_enabled"] and login["order"] == 0
    assert login["http_authenticator"]["config"]["signing_key"] == serve["ASSAY_OPENSEARCH_JWT_KEY"]
    for role in (API_READER, API_LIMITED):
        assert found["roles_mapping"][role] == {"backend_roles": [role]}
        assert [one["index_patterns"] for one in found["roles"][role]["index_permissions"]] == [["${attr.jwt.indices}"]]
    [limited] = found["roles"][API_LIMITED]["index_permissions"]
    assert ROW in limited["dls"] and "${attr.jwt.only}" in limited["dls"]


def test_certificates_answer_to_their_names_and_to_no_other_use(generated: Path) -> None:
    read = lambda name: x509.load_pem_x509_certificate((generated / "tls" / f"{name}.pem").read_bytes())  # noqa: E731
    names = read("node").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "opensearch"]
    usage = read("proxy").extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    subjects = {name: read(name).subject.rfc4514_string() for name in ("node", "proxy", "security-admin")}
    assert len(set(subjects.values())) == 3  # a stolen proxy key is neither node nor administrator
    assert not (generated / "tls" / "ca.key").exists()
