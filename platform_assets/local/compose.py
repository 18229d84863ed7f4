"""What `deploy/compose` needs before its first start: secrets, certificates and the servers' configuration, into one folder.

Belongs here: which file each container gets, and which of the secrets. Does not: what a server's configuration says (`kafka.py`,
`opensearch.py`: the same as without containers), or the containers (`deploy/compose/compose.yaml`).

`python -m platform_assets.local.compose FOLDER` is what `deploy/compose/init` runs. A second run keeps what is there and adds
what is missing. Every file is closed to others (0600): whoever reads the folder is every role.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bcrypt

from platform_assets.core.errors import AssayError
from platform_assets.core.files import make_folder, write_private
from platform_assets.core.settings import SECRETS_FILE
from platform_assets.local.endpoints import ensure_secrets
from platform_assets.local.kafka import broker_properties
from platform_assets.local.opensearch import node_settings, password_hash, security_configuration, security_files
from platform_assets.local.properties import properties_text
from platform_assets.local.tls import Certificates, ensure_certificates

CONTAINER_USER = 1000
"""The user of every container; the images of Kafka and OpenSearch have it, ours too."""
KAFKA_HOST_PORT = 9094
"""Where producers outside of the containers' network reach Kafka, on the loopback address."""
API_USER = "api"
"""The API's own user of OpenSearch, for what it does besides its callers' requests."""
_API_ROLE: dict[str, Any] = {
    "description": "what the API does for administrators: status, trace, replay, alerts; it drops no index",
    "cluster_permissions": ["cluster_composite_ops", "cluster_monitor", "indices:admin/index_template/*"],
    "index_permissions": [
        {
            "index_patterns": ["/[^.].*/"],
            "allowed_actions": [
                *("crud", "create_index", "indices_monitor"),
                *("indices:admin/get", "indices:admin/aliases", "indices:admin/refresh*"),
                "indices:admin/settings/update",  # ends the block of a rebuild that has died
            ],
        }
    ],
}
_PASSWORDS = ("kafka-internal", "postgres", "dashboards", "dashboards-cookie", "api-opensearch", "proxy")
_PROXY_BCRYPT_ROUNDS = 12  # a person's password, asked for at each request: guessing must cost more than checking


def write(folder: Path) -> None:
    """Write every file that `compose.yaml` names below `folder`."""
    make_folder(folder, 0o700)
    known = ensure_secrets(folder)
    own = {name: _password(folder / "passwords" / name) for name in _PASSWORDS}
    certificates = ensure_certificates(folder / "tls", node_names=("opensearch",), servers={"proxy": ()})
    _write_roles(folder / "roles", known, own)
    _write_kafka(folder / "kafka", own["kafka-internal"])
    _write_opensearch(folder / "opensearch", known, own)
    _write_dashboards(folder / "dashboards", own)
    _write_proxy(folder / "proxy", own["proxy"])
    _put(folder / "postgres" / "pgpass", f"postgres:5432:dagster:dagster:{own['postgres']}\n")
    _close(folder, certificates)


def _password(path: Path) -> str:
    if not path.is_file():
        _put(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="utf-8").strip()


def _put(path: Path, text: str) -> None:
    make_folder(path.parent, 0o700)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_private(path, text.encode())


def _write_roles(folder: Path, known: Mapping[str, str], own: Mapping[str, str]) -> None:
    """One `secrets.env` a container: what its role needs and no more."""

    def chosen(*names: str) -> dict[str, str]:
        return {name: known[name] for name in names if name in known}

    kafka = {name: value for name, value in known.items() if name.startswith("ASSAY_KAFKA_")}
    masking = ("ASSAY_HMAC_KEY", "ASSAY_HMAC_KEY_ID", "ASSAY_HMAC_OLD_KEYS")
    messages = ("ASSAY_ALERT_URLS", "ASSAY_API_URL", "ASSAY_RUNBOOK_URL")
    roles = {
        "prepare": {
            **kafka,
            "ASSAY_OPENSEARCH_INGEST_PASSWORD": known["ASSAY_OPENSEARCH_INGEST_PASSWORD"],
            "ASSAY_KAFKA_INTERNAL_PASSWORD": own["kafka-internal"],
        },
        "ingest": chosen("ASSAY_KAFKA_INGEST_PASSWORD", "ASSAY_OPENSEARCH_INGEST_PASSWORD", *masking, *messages),
        # Marts are made from silver, and written to the index.
        "gold": chosen("ASSAY_OPENSEARCH_INGEST_PASSWORD"),
        # The API searches with its callers' tokens, submits, and says how far the worker is.
        "serve": {
            **chosen(
                "ASSAY_KAFKA_PRODUCER_PASSWORD", "ASSAY_KAFKA_INGEST_PASSWORD", "ASSAY_OPENSEARCH_JWT_KEY", *masking
            ),
            **{name: value for name, value in known.items() if name.startswith("ASSAY_API_")},
            "ASSAY_OPENSEARCH_INGEST_USER": API_USER,
            "ASSAY_OPENSEARCH_INGEST_PASSWORD": own["api-opensearch"],
        },
        "producer": {"ASSAY_KAFKA_PRODUCER_PASSWORD": known["ASSAY_KAFKA_PRODUCER_PASSWORD"]},
    }
    for role, values in roles.items():
        _put(folder / f"{role}.env", "".join(f"{name}={value}\n" for name, value in sorted(values.items())))


def _write_kafka(folder: Path, password: str) -> None:
    listeners = {
        "CLIENT": ("0.0.0.0:9092", "kafka:9092"),
        "EXTERNAL": (f"0.0.0.0:{KAFKA_HOST_PORT}", f"127.0.0.1:{KAFKA_HOST_PORT}"),
        "INTERNAL": ("0.0.0.0:9093", "kafka:9093"),
    }
    properties = broker_properties(
        listeners, controller="127.0.0.1:9095", password=password, data=Path("/var/lib/kafka/data")
    )
    _put(folder / "server.properties", properties_text(properties).decode())


def _write_opensearch(folder: Path, known: Mapping[str, str], own: Mapping[str, str]) -> None:
    settings = {
        "cluster.name": "assay",
        "node.name": "assay-1",
        "network.host": "0.0.0.0",  # noqa: S104 (inside of its container; what is published is compose's to say)
        **node_settings(known),
    }
    _put(folder / "opensearch.yml", json.dumps(settings, indent=1))
    for name, content in security_files(_security(folder, known, own)).items():
        _put(folder / "security" / name, content.decode())


def _security(folder: Path, known: Mapping[str, str], own: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The node's security as everywhere, and besides the users of Dashboards and of the API, and Dashboards' use for people."""
    users_file = folder / "security" / "internal_users.yml"
    security = security_configuration(known, users_file)
    before = json.loads(users_file.read_text(encoding="utf-8")) if users_file.is_file() else {}
    for user, password, description in (
        ("dashboards", own["dashboards"], "OpenSearch Dashboards itself"),
        (API_USER, own["api-opensearch"], "the API itself"),
    ):
        hashed = password_hash(before.get(user, {}).get("hash", ""), password.encode())
        security["internalusers"][user] = {"hash": hashed, "description": description}
    security["roles"]["assay_api"] = _API_ROLE
    security["rolesmapping"]["assay_api"] = {"users": [API_USER]}
    security["rolesmapping"]["kibana_server"] = {"users": ["dashboards"]}
    security["rolesmapping"]["kibana_user"] = {"users": ["reader"]}
    return security


def _write_dashboards(folder: Path, own: Mapping[str, str]) -> None:
    settings = {
        "server.host": "0.0.0.0",  # noqa: S104 (as above)
        "opensearch.hosts": ["https://opensearch:9200"],
        "opensearch.ssl.verificationMode": "full",
        "opensearch.ssl.certificateAuthorities": ["/run/secrets/ca"],
        "opensearch.username": "dashboards",
        "opensearch.password": own["dashboards"],
        "opensearch.requestHeadersAllowlist": ["authorization", "securitytenant"],
        "opensearch_security.multitenancy.enabled": False,
        "opensearch_security.cookie.secure": True,
        "opensearch_security.cookie.password": own["dashboards-cookie"],
    }
    _put(folder / "opensearch_dashboards.yml", json.dumps(settings, indent=1))


def _write_proxy(folder: Path, password: str) -> None:
    path = folder / "users"
    known = path.read_text(encoding="utf-8").split() if path.is_file() else []
    if len(known) != 2 or not bcrypt.checkpw(password.encode(), known[1].encode()):
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(_PROXY_BCRYPT_ROUNDS)).decode()
        _put(path, f"assay {hashed}\n")


def _close(folder: Path, certificates: Certificates) -> None:
    """Nobody but the containers' user reads it. Root hands it over; anybody else must be that user."""
    if not certificates.fresh(servers=("proxy",)):
        raise AssayError(
            f"the certificates in {certificates.folder} are not complete", "delete the folder and run it again"
        )
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if os.geteuid() == 0:
            os.chown(path, CONTAINER_USER, CONTAINER_USER)


def check_user() -> None:
    """Raises AssayError where the containers could not read what we write. Elsewhere than on Linux, Docker maps users itself."""
    if sys.platform == "linux" and os.geteuid() not in (0, CONTAINER_USER):
        raise AssayError(
            f"the containers run as user {CONTAINER_USER} and could not read what user {os.geteuid()} writes",
            "run it with sudo, or as that user",
        )


def main(arguments: list[str]) -> int:
    """Write into the folder that the arguments name; an exit code."""
    if len(arguments) != 1:
        print("usage: python -m platform_assets.local.compose FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).absolute()
    try:
        check_user()
        write(folder)
    except AssayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: secrets, certificates and configuration are ready")
    print(f"Dagster's user is 'assay', its password in {folder / 'passwords' / 'proxy'}")
    print(f"Dashboards' user is 'reader', its password in {folder / SECRETS_FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
