"""The supervisor and the commands as OpenSearch's clients.

Belongs here: bringing users and roles up to date, and checking that each role is let in.
Does not: the server (`opensearch.py`), or documents (`index/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import (
    AuthenticationException,
    AuthorizationException,
    ConnectionError,
    OpenSearchException,
    SSLError,
)

from platform_assets.core.errors import AssayError
from platform_assets.core.files import write_text
from platform_assets.core.settings import OpenSearchRole, Settings
from platform_assets.local.opensearch import SearchNode
from platform_assets.local.tls import Certificates

_TIMEOUT_S = 10


def apply_security(node: SearchNode) -> bool:
    """Bring users, roles, mapping and ways to log in to what the configuration says; returns whether anything was sent.

    Signed by the administrator's certificate, so that it works whatever the passwords were. A new node has read the
    same files by itself.
    """
    digest = node.security_digest()
    if node.applied.is_file() and node.applied.read_text(encoding="utf-8") == digest:
        return False
    push_security(node.url, node.layout.certificates, node.security)
    write_text(node.applied, digest)
    return True


def push_security(url: str, certificates: Certificates, security: Mapping[str, Mapping[str, Any]]) -> None:
    """Send roles, users, mapping and the way to log in, signed by the administrator's certificate. Others that are there stay."""
    client = _administrator(url, certificates)
    try:
        for kind in ("roles", "internalusers", "rolesmapping"):
            operations = [{"op": "add", "path": f"/{name}", "value": value} for name, value in security[kind].items()]
            client.transport.perform_request("PATCH", f"/_plugins/_security/api/{kind}", body=operations)
        known_by = security["config"]["config"]["dynamic"]["authc"]
        operation = {"op": "replace", "path": "/config/dynamic/authc", "value": known_by}
        client.transport.perform_request("PATCH", "/_plugins/_security/api/securityconfig", body=[operation])
    finally:
        client.close()


def _administrator(url: str, certificates: Certificates) -> OpenSearch:
    return OpenSearch(
        hosts=[url],
        ca_certs=str(certificates.ca),
        client_cert=str(certificates.admin),
        client_key=str(certificates.admin_key),
        timeout=_TIMEOUT_S,
        max_retries=0,
    )


def security_answers(node: SearchNode) -> bool:
    """Whether the node serves HTTPS and its security plugin has read its configuration."""
    client = _administrator(node.url, node.layout.certificates)
    try:
        health: dict[str, Any] = client.transport.perform_request("GET", "/_plugins/_security/health")
    except OpenSearchException:
        return False
    finally:
        client.close()
    return health.get("status") == "UP"


def check_opensearch(settings: Settings, role: OpenSearchRole = "ingest", timeout_s: float = 5.0) -> str:
    """Ask the cluster's health as `role`; returns `green` or `yellow`.

    Raises AssayError in one line: a wrong password, a missing right, no answer, a red cluster.
    """
    url = settings.opensearch_url
    client = OpenSearch(
        hosts=[url],
        http_auth=settings.opensearch_auth(role),
        ca_certs=str(settings.opensearch_ca) if settings.opensearch_ca else None,
        timeout=timeout_s,
        max_retries=0,
    )
    try:
        status = str(client.cluster.health()["status"])
    except AuthenticationException as error:
        raise AssayError(
            f"OpenSearch at {url} refuses the user {role!r}: wrong password",
            f"compare ASSAY_OPENSEARCH_{role.upper()}_PASSWORD with secrets.env",
        ) from error
    except AuthorizationException as error:
        raise AssayError(f"OpenSearch at {url} gives {role!r} no right to see its health", "check its role") from error
    except SSLError as error:
        raise AssayError(
            f"OpenSearch at {url} has a certificate that we do not trust", "check ASSAY_OPENSEARCH_CA"
        ) from error
    except ConnectionError as error:
        raise AssayError(f"OpenSearch at {url} does not answer", "is it up? `assay status` tells") from error
    except OpenSearchException as error:
        raise AssayError(f"OpenSearch at {url} is not ready: {type(error).__name__}", "see its log") from error
    finally:
        client.close()
    if status == "red":
        raise AssayError(f"OpenSearch at {url} has lost shards (red)", "see its log")
    return status
