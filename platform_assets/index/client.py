"""The connection to OpenSearch.

Belongs here: making a client that verifies TLS, and requests whose raw text we parse ourselves.
Does not belong here: what is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthorizationException, OpenSearchException

from platform_assets.index.errors import SearchError, translate

TIMEOUT_S = 60.0


def connect(
    url: str,
    auth: tuple[str, str],
    ca: Path | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
    pool: int = 8,
    check: bool = True,
) -> OpenSearch:
    """A client for `https://host:port`, with `pool` connections that many threads may share.

    `ca` signs the server's certificate; None means the authorities that the system trusts. Nothing is retried here:
    each caller knows what a repetition means. With `check` the server is asked once, so that a wrong password or a server
    that is down is one clear SearchError now.
    """
    client = make_client(url, ca, auth, timeout_s=timeout_s, pool=pool)
    if check:
        try:
            client.transport.perform_request("GET", "/", params={"request_timeout": min(timeout_s, 10.0)})
        except AuthorizationException:
            pass  # let in, but not allowed to see the version: a reader's role
        except OpenSearchException as error:
            client.close()
            raise translate(error, f"connecting to {url} as {auth[0]!r}") from error
    return client


def make_client(
    url: str, ca: Path | None, auth: tuple[str, str] | None = None, *, timeout_s: float, pool: int
) -> OpenSearch:
    """A client that has not asked anything yet; without `auth` each request must bring its own. Raises SearchError."""
    if not url.startswith("https://"):
        raise SearchError(
            f"the address of OpenSearch must begin with https://, not {url!r}", "set ASSAY_OPENSEARCH_URL"
        )
    if ca is not None and not ca.is_file():
        raise SearchError(f"there is no certificate authority in {ca}", "set ASSAY_OPENSEARCH_CA")
    return OpenSearch(
        hosts=[url],
        http_auth=auth,
        use_ssl=True,
        verify_certs=True,
        ca_certs=str(ca) if ca else None,
        timeout=timeout_s,
        pool_maxsize=pool,
        max_retries=0,
        retry_on_timeout=False,
    )


def request_text(
    client: OpenSearch,
    method: str,
    path: str,
    *,
    params: Mapping[str, str] | None = None,
    body: bytes | None = None,
    content_type: str = "application/json",
    timeout_s: float = TIMEOUT_S,
) -> str:
    """The answer as text, unparsed: answers of megabytes are parsed in SQL or not at all. Raises what the client raises."""
    _, _, text = client.transport.get_connection().perform_request(
        method, path, params=params, body=body, timeout=timeout_s, headers={"content-type": content_type}
    )
    return str(text)
