"""How the platform reaches its services and its lake, wherever they run: the one module that touches the environment.

Belongs here: addresses, credentials and folders, read from the environment first and from the home of the local services
second; single variables for those who have no home yet; the environment of child processes. Does not belong here: starting
services (`local/`), or tuning a client (`sources/`, `index/`).

Loading needs neither environment nor network. A value that is missing or malformed is an error when it is used, and the
error names the variable, never its content.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from platform_assets.core.errors import AssayError

KafkaRole = Literal["producer", "ingest", "admin"]
OpenSearchRole = Literal["ingest", "reader", "admin"]

SECRETS_FILE = "secrets.env"
ENDPOINTS_FILE = "local/endpoints.json"
_PLACES = ("ASSAY_HOME", "ASSAY_LAKE", "ASSAY_SYSTEMS", "ASSAY_DBT_PROJECT")
"""Variables whose values are paths, which may be relative to the current folder."""
_UP = "start local services with `assay up`"


class Values(dict[str, str]):
    """Variables by name. The representation shows the names alone, because any value may be a secret."""

    def __repr__(self) -> str:
        """The names, sorted."""
        return f"Values({', '.join(sorted(self))})"


@dataclass(frozen=True)
class Settings:
    """Where everything is and who we are there. Holds secrets: its representation does not show them."""

    home: Path
    lake_path: Path
    values: Mapping[str, str] = field(repr=False)

    def __post_init__(self) -> None:
        """Keep the values from being shown."""
        object.__setattr__(self, "values", Values(self.values))

    @classmethod
    def load(cls, home: Path | None = None) -> Settings:
        """Read the environment, `<home>/secrets.env` and `<home>/local/endpoints.json`; absent files are no error.

        `home` defaults to `$ASSAY_HOME`, and that to `.assay` in the current folder. `$ASSAY_LAKE` moves the lake.
        """
        home = (home or Path(variable("ASSAY_HOME") or ".assay")).absolute()
        values = {**_read_endpoints(home / ENDPOINTS_FILE), **read_env_file(home / SECRETS_FILE), **environment()}
        return cls(home, Path(values.get("ASSAY_LAKE") or home / "lake").absolute(), values)

    @property
    def systems(self) -> Path | None:
        """The folder of systems that `$ASSAY_SYSTEMS` names; None means the packaged ones. Raises AssayError when it is none."""
        root = self.values.get("ASSAY_SYSTEMS")
        if root and not Path(root).is_dir():
            raise AssayError(
                "ASSAY_SYSTEMS does not name a folder", "unset it, or name the folder that holds the systems"
            )
        return Path(root) if root else None

    @property
    def dbt_project(self) -> Path | None:
        """The dbt project that `$ASSAY_DBT_PROJECT` names, for macros and settings of one's own; None means the platform's.

        Raises AssayError when it is none.
        """
        root = self.values.get("ASSAY_DBT_PROJECT")
        if root and not (Path(root) / "dbt_project.yml").is_file():
            raise AssayError(
                "ASSAY_DBT_PROJECT does not name a dbt project", "unset it, or name the folder of dbt_project.yml"
            )
        return Path(root) if root else None

    @property
    def kafka_bootstrap(self) -> str:
        """`host:port[,host:port...]`. Raises AssayError when unknown."""
        return self._need("ASSAY_KAFKA_BOOTSTRAP", "the address of Kafka")

    def kafka_conf(self, role: KafkaRole) -> dict[str, Any]:
        """Connection settings for confluent-kafka as `role`. Raises AssayError when a part is unknown."""
        conf: dict[str, Any] = {
            "bootstrap.servers": self.kafka_bootstrap,
            "security.protocol": self.values.get("ASSAY_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
        }
        if ca := self.values.get("ASSAY_KAFKA_CA"):
            conf["ssl.ca.location"] = ca
        if conf["security.protocol"].startswith("SASL_"):
            conf["sasl.mechanism"] = self.values.get("ASSAY_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
            conf["sasl.username"] = self.values.get(f"ASSAY_KAFKA_{role.upper()}_USER", role)
            conf["sasl.password"] = self._need(f"ASSAY_KAFKA_{role.upper()}_PASSWORD", f"Kafka's password of {role!r}")
        return conf

    @property
    def opensearch_url(self) -> str:
        """`https://host:port`. Raises AssayError when unknown."""
        return self._need("ASSAY_OPENSEARCH_URL", "the address of OpenSearch")

    @property
    def opensearch_ca(self) -> Path | None:
        """The authority that signs OpenSearch's certificate; None means those that the system trusts."""
        ca = self.values.get("ASSAY_OPENSEARCH_CA")
        return Path(ca) if ca else None

    def opensearch_auth(self, role: OpenSearchRole) -> tuple[str, str]:
        """(user, password) of `role`. Raises AssayError when unknown."""
        user = self.values.get(f"ASSAY_OPENSEARCH_{role.upper()}_USER", role)
        return user, self._need(f"ASSAY_OPENSEARCH_{role.upper()}_PASSWORD", f"OpenSearch's password of {role!r}")

    @property
    def index_shards_share(self) -> float:
        """The share of the cluster's limit of shards above which an alert is raised. Raises AssayError unless it is in (0, 1]."""
        name = "ASSAY_INDEX_SHARDS_SHARE"
        text = self.values.get(name, "0.8")
        try:
            share = float(text)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise AssayError(f"{name} is not a number above 0 and at most 1", "correct or unset it; 0.8 is the default")
        return share

    @property
    def opensearch_jwt_key(self) -> bytes:
        """The key that signs the tokens of the API's callers, at least 64 bytes. Raises AssayError when unknown or too short."""
        name = "ASSAY_OPENSEARCH_JWT_KEY"
        key = _decode_key(self._need(name, "the key that signs the tokens of the API's callers"), name)
        if len(key) < 64:
            raise AssayError(f"{name} is shorter than 64 bytes", "make one with `openssl rand -base64 64`")
        return key

    @property
    def hmac_key_id(self) -> str:
        """Id of the key that masks new rows. Raises AssayError when unknown."""
        return self._need("ASSAY_HMAC_KEY_ID", "the id of the masking key")

    @property
    def hmac_key(self) -> bytes:
        """The key that masks new rows, at least 16 bytes. Raises AssayError when unknown or malformed."""
        return _decode_key(self._need("ASSAY_HMAC_KEY", "the masking key"), "ASSAY_HMAC_KEY")

    def hmac_keys(self) -> dict[str, bytes]:
        """Every known key by its id, the current one first; `$ASSAY_HMAC_OLD_KEYS` keeps retired ones.

        Its form is `id=base64,id=base64`. Raises AssayError when a key is malformed.
        """
        keys = {self.hmac_key_id: self.hmac_key}
        for entry in filter(None, self.values.get("ASSAY_HMAC_OLD_KEYS", "").split(",")):
            key_id, _, encoded = entry.strip().partition("=")
            keys.setdefault(key_id, _decode_key(encoded, "ASSAY_HMAC_OLD_KEYS"))
        return keys

    def _need(self, name: str, what: str) -> str:
        value = self.values.get(name)
        if not value:
            raise AssayError(f"{what} is not known", f"{_UP}, or set {name}")
        return value


def variable(name: str) -> str | None:
    """One variable of the environment; None when it is not set or empty."""
    return os.environ.get(name) or None


def environment() -> Values:
    """The platform's own variables (`ASSAY_...`) of the environment that are not empty."""
    return Values({name: value for name, value in os.environ.items() if name.startswith("ASSAY_") and value})


def inherited_environment() -> dict[str, str]:
    """`environment` for a process with another current folder: paths are absolute."""
    found = environment().items()
    return {name: str(Path(value).absolute()) if name in _PLACES else value for name, value in found}


def child_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The whole environment for a process with another current folder, and `more`."""
    return {**os.environ, **inherited_environment(), **more}


@contextmanager
def exported(name: str, value: str) -> Iterator[None]:
    """Set a variable of this process's environment for the block, for libraries that read it. Not for several threads at once."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def whole_number(values: Mapping[str, str], name: str, least: int, most: int | None = None) -> int | None:
    """The number in `values[name]`; None when there is none. Raises AssayError unless it is from `least` to `most`."""
    text = values.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= (most if most is not None else int(text)):
        wanted = f"from {least} on" if most is None else f"from {least} to {most}"
        raise AssayError(f"{name} is not a whole number {wanted}", f"correct or unset {name}")
    return int(text)


def read_env_file(path: Path) -> dict[str, str]:
    """`NAME=value` lines as a mapping; comments and blank lines are skipped, an absent file is empty.

    Raises AssayError when the file may not be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AssayError(f"cannot read {path}: {error.strerror}", "run as the user who owns it") from error
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _read_endpoints(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            "ASSAY_KAFKA_BOOTSTRAP": found["kafka_bootstrap"],
            "ASSAY_OPENSEARCH_URL": found["opensearch_url"],
            "ASSAY_OPENSEARCH_CA": found["opensearch_ca"],
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AssayError(f"cannot read {path}", "run `assay up` to write it anew") from error


def _decode_key(encoded: str, name: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AssayError(f"{name} is not base64", "make one with `openssl rand -base64 32`") from error
    if len(key) < 16:
        raise AssayError(f"{name} is shorter than 16 bytes", "make one with `openssl rand -base64 32`")
    return key
