"""The local OpenSearch node: its configuration, its users and roles, its command line.

Belongs here: everything that makes the server. Does not: being its client (`search_access.py`), or index settings.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt

from platform_assets.core.errors import AssayError
from platform_assets.core.files import write_private
from platform_assets.core.settings import variable
from platform_assets.index.callers import API_LIMITED, API_READER, JWT_AUDIENCE, JWT_ISSUER
from platform_assets.index.mappings import ROW
from platform_assets.local.artifacts import Runtime
from platform_assets.local.endpoints import HOST, OPENSEARCH_ROLES, Ports
from platform_assets.local.java import Java
from platform_assets.local.layout import Layout
from platform_assets.local.process import Command
from platform_assets.local.properties import log4j_text
from platform_assets.local.tls import ADMIN_DN, NODE_DN

NAME = "opensearch"
# Security's own notation for a regular expression. Names that begin with a dot belong to the system; `assay-*` holds
# the platform's bookkeeping, which a reader has no use for.
_INGEST_INDICES = ("/[^.].*/",)
_READER_INDICES = (r"/(?!\.|assay-).*/",)
# Passwords are 24 random bytes: stretching protects guessable ones, and each new connection would pay for it.
_BCRYPT_ROUNDS = 8
_BCRYPT_BYTES = 72  # it takes no more


@dataclass(frozen=True)
class SearchNode:
    """One OpenSearch node of a home. `security` is the content of its security configuration, by kind."""

    layout: Layout
    ports: Ports
    java: Java
    runtime: Runtime
    heap_mb: int
    security: Mapping[str, dict[str, Any]]

    @classmethod
    def prepare(
        cls, layout: Layout, ports: Ports, java: Java, runtime: Runtime, *, heap_mb: int, secrets: Mapping[str, str]
    ) -> SearchNode:
        """Write the configuration, certificates and security files included."""
        config = layout.service(NAME) / "config"
        security = security_configuration(secrets, config / "opensearch-security" / "internal_users.yml")
        node = cls(layout, ports, java, runtime, heap_mb, security)
        node._write_configuration(config, secrets)
        return node

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"https://{HOST}:{self.ports.opensearch}"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.layout.logs / NAME / "server.log"

    @property
    def output(self) -> Path:
        """What the virtual machine printed since its start."""
        return self.layout.logs / NAME / "console.out"

    @property
    def applied(self) -> Path:
        """Holds the digest of the security configuration that the node is known to have."""
        return self.layout.local / "security.applied"

    def security_digest(self) -> str:
        """Identity of users, roles and their mapping."""
        return hashlib.sha256(json.dumps(self.security, sort_keys=True).encode()).hexdigest()

    def command(self) -> Command:
        """The server's command line."""
        home, folder = self.runtime.opensearch, self._folder
        agent = next((home / "agent").glob("opensearch-agent-[0-9]*.jar"))
        options = [
            f"-Xms{self.heap_mb}m",
            f"-Xmx{self.heap_mb}m",
            "-XX:+UseG1GC",
            "-XX:G1ReservePercent=25",
            "-XX:InitiatingHeapOccupancyPercent=30",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Djava.io.tmpdir={folder / 'tmp'}",
            "-Dfile.encoding=UTF-8",
            "-Djava.locale.providers=CLDR,SPI",
            "-Dio.netty.noUnsafe=true",
            "-Dio.netty.noKeySetOptimization=true",
            "-Dio.netty.recycler.maxCapacityPerThread=0",
            "-Dlog4j.shutdownHookEnabled=false",
            "-Dlog4j2.disable.jmx=true",
            "-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1",
            f"-javaagent:{agent}",
            "--enable-native-access=ALL-UNNAMED",
            f"-Dopensearch.path.home={home}",
            f"-Dopensearch.path.conf={folder / 'config'}",
            "-Dopensearch.distribution.type=tar",
        ]
        if self.java.has_vectors:
            options.append("--add-modules=jdk.incubator.vector")
        if self.java.major >= 25:
            options.append("-XX:+UseCompactObjectHeaders")
        program = ["-cp", f"{home / 'lib'}/*", "org.opensearch.bootstrap.OpenSearch"]
        return Command([str(self.java.executable), *options, *program], folder, self.output, folder)

    @property
    def _folder(self) -> Path:
        return self.layout.service(NAME)

    def _write_configuration(self, config: Path, secrets: Mapping[str, str]) -> None:
        owner, certificates = self.layout.user.owner, self.layout.certificates
        for source, name in (
            (certificates.ca, "ca.pem"),
            (certificates.node, "node.pem"),
            (certificates.node_key, "node.key"),
        ):
            write_private(config / name, source.read_bytes(), owner)
        settings = {
            "cluster.name": "assay-local",
            "node.name": "assay-local-1",
            "path.data": str(self._folder / "data"),
            "path.logs": str(self.log.parent.resolve()),
            "network.host": HOST,
            "http.port": self.ports.opensearch,
            "transport.port": self.ports.opensearch_transport,
            **node_settings(secrets),
        }
        # JSON is YAML, and needs no second library to write it safely.
        write_private(config / "opensearch.yml", json.dumps(settings, indent=1).encode(), owner)
        logging = log4j_text(self.log, "[%d{ISO8601}][%-5p][%-25c{1.}]%marker %m%n")
        write_private(config / "log4j2.properties", logging, owner)
        folder = config / "opensearch-security"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(folder, *owner)
        for name, content in security_files(self.security).items():
            write_private(folder / name, content, owner)


def node_settings(secrets: Mapping[str, str]) -> dict[str, Any]:
    """The settings of every single node that we run; addresses and folders are the caller's. PEM files lie beside them."""
    tls = {"pemcert_filepath": "node.pem", "pemkey_filepath": "node.key", "pemtrustedcas_filepath": "ca.pem"}
    salt = hmac.digest(secrets["ASSAY_HMAC_KEY"].encode(), b"opensearch field masking", "sha256").hex()[:16]
    return {
        "discovery.type": "single-node",
        "http.max_content_length": "128mb",
        "action.auto_create_index": "false",
        # Shares of a large disk would refuse work while many gigabytes are free.
        "cluster.routing.allocation.disk.watermark.low": "2gb",
        "cluster.routing.allocation.disk.watermark.high": "1gb",
        "cluster.routing.allocation.disk.watermark.flood_stage": "500mb",
        **{f"plugins.security.ssl.transport.{name}": value for name, value in tls.items()},
        **{f"plugins.security.ssl.http.{name}": value for name, value in tls.items()},
        "transport.ssl.enforce_hostname_verification": False,
        "plugins.security.ssl.http.enabled": True,
        "plugins.security.ssl.http.clientauth_mode": "OPTIONAL",
        "plugins.security.authcz.admin_dn": [ADMIN_DN],
        "plugins.security.nodes_dn": [NODE_DN],
        "plugins.security.allow_default_init_securityindex": True,
        "plugins.security.restapi.roles_enabled": ["all_access"],
        "plugins.security.restapi.admin.enabled": True,  # the administrator's certificate may change how callers are known
        "plugins.security.system_indices.enabled": True,
        "plugins.security.audit.type": "noop",
        "plugins.security.compliance.salt": salt,
    }


def security_configuration(secrets: Mapping[str, str], known_users: Path) -> dict[str, dict[str, Any]]:
    """Users, roles, their mapping and the way to log in, by kind; `known_users` is the users' file of before, if there is one."""
    users, roles = _users(known_users, secrets), _roles()
    return {"internalusers": users, "roles": roles, "config": _config(secrets), **deepcopy(_FIXED)}


def security_files(security: Mapping[str, dict[str, Any]]) -> dict[str, bytes]:
    """The security plugin's files by name."""
    return {
        _FILES[kind]: json.dumps({"_meta": {"type": kind, "config_version": 2}, **content}, indent=1).encode()
        for kind, content in security.items()
    }


def read_security(folder: Path) -> dict[str, dict[str, Any]]:
    """Users, roles, mapping and the way to log in from the plugin's files. AssayError when one is missing or damaged."""
    found = {}
    for kind in ("internalusers", "roles", "rolesmapping", "config"):
        path = folder / _FILES[kind]
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AssayError(f"cannot read {path}", "make the files anew and start again") from error
        found[kind] = {name: value for name, value in content.items() if name != "_meta"}
    return found


def password_hash(known: str, password: bytes) -> str:
    """The password's bcrypt hash: `known` if it still fits, so that nothing changes without need."""
    if known and bcrypt.checkpw(password, known.encode()):
        return known
    return bcrypt.hashpw(password, bcrypt.gensalt(_BCRYPT_ROUNDS)).decode()


def _users(path: Path, secrets: Mapping[str, str]) -> dict[str, Any]:
    """Users with bcrypt hashes. Raises AssayError for a password that bcrypt does not take."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    users = {}
    for role in OPENSEARCH_ROLES:
        variable = f"ASSAY_OPENSEARCH_{role.upper()}_PASSWORD"
        password = secrets[variable].encode()
        if len(password) > _BCRYPT_BYTES:
            raise AssayError(f"{variable} is longer than {_BCRYPT_BYTES} bytes", "choose a shorter one in secrets.env")
        hashed = password_hash(known.get(role, {}).get("hash", ""), password)
        users[role] = {"hash": hashed, "description": f"the platform's {role}"}
    return users


def _patterns(name: str, default: tuple[str, ...]) -> list[str]:
    """Index patterns of a role: `logs-*,assay-*` from the environment, else the default."""
    return [item.strip() for item in (variable(name) or "").split(",") if item.strip()] or list(default)


def _roles() -> dict[str, Any]:
    """What `ingest`, `reader` and the callers of the API may do; `admin` has the plugin's own `all_access`.

    The API's callers come with a token: it names the indices of their system, and the values of the row policy that a limited
    one may see. A token without the list matches no document (the variable stays as it is, and is no query); so does an index
    without a row policy.
    """
    api = {"index_patterns": ["${attr.jwt.indices}"], "allowed_actions": ["read"]}
    limit = f'{{"terms": {{"{ROW}": ${{attr.jwt.only}}}}}}'
    return {
        "assay_ingest": {
            "description": "writes documents, builds, swaps and drops the platform's indices",
            "cluster_permissions": [
                "cluster_composite_ops",
                "cluster_monitor",
                "indices:admin/index_template/*",
                "cluster:admin/component_template/*",
                "indices:data/write/reindex",
                "indices:data/read/scroll/clear",
            ],
            "index_permissions": [
                {
                    "index_patterns": _patterns("ASSAY_INGEST_INDICES", _INGEST_INDICES),
                    "allowed_actions": ["create_index", "manage", "crud", "indices_monitor"],
                }
            ],
        },
        "assay_reader": {
            "description": "searches, and changes nothing",
            "cluster_permissions": ["cluster_composite_ops_ro", "indices:data/read/scroll/clear"],
            "index_permissions": [
                {
                    "index_patterns": _patterns("ASSAY_READER_INDICES", _READER_INDICES),
                    "allowed_actions": ["read", "indices:admin/mappings/get", "indices:admin/aliases/get"],
                }
            ],
        },
        API_READER: {
            "description": "a caller of the API: reads the indices that its token names",
            "cluster_permissions": ["cluster_composite_ops_ro"],
            "index_permissions": [api],
        },
        API_LIMITED: {
            "description": "a caller of the API: reads the documents whose row policy has one of its token's values",
            "cluster_permissions": ["cluster_composite_ops_ro"],
            "index_permissions": [{**api, "dls": limit}],
        },
    }


def _config(secrets: Mapping[str, str]) -> dict[str, Any]:
    """How callers are known: the API's by a token that it signs for each request, the platform's own by their password."""
    return {
        "config": {
            "dynamic": {
                "http": {"anonymous_auth_enabled": False},
                "authc": {
                    "jwt": {
                        "http_enabled": True,
                        "order": 0,
                        "http_authenticator": {
                            "type": "jwt",
                            "challenge": False,
                            "config": {
                                "signing_key": secrets["ASSAY_OPENSEARCH_JWT_KEY"],
                                "jwt_header": "Authorization",
                                "subject_key": "sub",
                                "roles_key": "roles",
                                "required_issuer": JWT_ISSUER,
                                "required_audience": JWT_AUDIENCE,
                                "jwt_clock_skew_tolerance_seconds": 5,
                            },
                        },
                        "authentication_backend": {"type": "noop"},
                    },
                    "basic": {
                        "http_enabled": True,
                        "order": 1,
                        "http_authenticator": {"type": "basic", "challenge": True},
                        "authentication_backend": {"type": "intern"},
                    },
                },
            }
        }
    }


_FIXED: dict[str, dict[str, Any]] = {
    "rolesmapping": {
        "all_access": {"users": ["admin"]},
        "assay_ingest": {"users": ["ingest"]},
        "assay_reader": {"users": ["reader"]},
        API_READER: {"backend_roles": [API_READER]},
        API_LIMITED: {"backend_roles": [API_LIMITED]},
    },
    "actiongroups": {},
    "tenants": {},
    "nodesdn": {},
}
_FILES = {
    "internalusers": "internal_users.yml",
    "roles": "roles.yml",
    "rolesmapping": "roles_mapping.yml",
    "config": "config.yml",
    "actiongroups": "action_groups.yml",
    "tenants": "tenants.yml",
    "nodesdn": "nodes_dn.yml",
}
