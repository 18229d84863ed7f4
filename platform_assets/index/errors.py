"""What can go wrong between us and the index, by what the caller does next.

Belongs here: the errors of this package and how a client's error becomes one of them. Does not: when to try again (`bulk.py`).
"""

from __future__ import annotations

from typing import Any

from opensearchpy.exceptions import (
    AuthenticationException,
    AuthorizationException,
    ConnectionError,
    ConnectionTimeout,
    ImproperlyConfigured,
    OpenSearchException,
    SSLError,
    TransportError,
)

from platform_assets.core.errors import AssayError, one_line

_QUERY_FAILED = "query_phase_execution_exception"
_OVER = "Time exceeded"
"""What OpenSearch says of a search that did not end in time and must not be answered in part."""
_SHARDS = "shards open"
"""What OpenSearch says of an index that would take it over its limit of shards."""
_CLAUSES = ("maxClauseCount is set to", "expanded to too many terms")
"""What it says of a question with more words than it looks for at once, and of a pattern that stands for more."""


class SearchError(AssayError):
    """The index cannot do what was asked, and asking again does not help."""


class Unavailable(SearchError):
    """The index cannot do it now (down, full, overloaded, read-only): keep the progress and try again later."""


class Conflict(SearchError):
    """Somebody else moved what we were about to move: read it again."""


class ShardLimit(SearchError):
    """There is no room for another index until somebody makes it. What has an index goes on."""

    def __init__(self, doing: str, why: str) -> None:
        super().__init__(
            f"OpenSearch has no room for another index: {why} ({doing})",
            "delete indices that nobody needs, add a data node, or raise cluster.max_shards_per_node; "
            "nothing is lost, and the index catches up from the tables by itself",
        )


class TimeExceeded(Unavailable):
    """The answer took longer than whoever waits for it has time."""


class QueryError(SearchError):
    """A person's query that we do not understand; the message says which part and what is known.

    `position` is where in the query's text, in characters from 0; None where no single place is at fault.
    """

    def __init__(self, message: str, hint: str = "", *, position: int | None = None) -> None:
        super().__init__(message, hint)
        self.position = position


class TooManyClauses(SearchError):
    """A person's question that we understand, and that is more than the index looks for at once: of no table is it answered."""


def error_type(error: OpenSearchException) -> str:
    """OpenSearch's name for the error, e.g. `index_not_found_exception`; empty when the body has none."""
    if not isinstance(error, TransportError) or len(error.args) < 3:
        return ""
    return str(_cause(error.info).get("type", ""))


def reason_of(error: OpenSearchException) -> str:
    """OpenSearch's own words in one line of at most 300 characters."""
    words: object = None
    if isinstance(error, TransportError) and len(error.args) > 2:
        cause = _cause(error.info)
        roots = cause.get("root_cause") or [cause]
        words = roots[0].get("reason") or (error.info if isinstance(error.info, str) else None)
    return one_line(words or type(error).__name__)


def too_long(doing: str) -> TimeExceeded:
    """The error of a question whose time is over while `doing` something ("searching logs.events")."""
    return TimeExceeded(f"{doing} took too long", "narrow it: a shorter time, another field")


def translate(error: OpenSearchException, doing: str) -> SearchError:
    """The one-line error for a client's error while `doing` something ("reading the checkpoint")."""
    match error:
        # The node answers 500 to both, although it is well; and 400 to some of the second, which it finds earlier.
        case TransportError() if _root_type(error) == _QUERY_FAILED and _OVER in reason_of(error):
            return too_long(doing)
        case TransportError(status_code=400) if _SHARDS in reason_of(error):
            return ShardLimit(doing, reason_of(error))
        case TransportError() if any(words in reason_of(error) for words in _CLAUSES):
            return TooManyClauses(
                f"the question has too many parts ({doing})",
                "ask for fewer words or values at once, or write more of a word before its star",
            )
        case SSLError():
            return SearchError(
                f"OpenSearch has a certificate that we do not trust ({doing})",
                "check ASSAY_OPENSEARCH_CA and the address",
            )
        case ConnectionTimeout():
            return Unavailable(f"OpenSearch did not answer in time ({doing})", "is it overloaded? see its log")
        case ConnectionError():
            return Unavailable(f"OpenSearch does not answer ({doing})", "is it up? `assay status` tells")
        case AuthenticationException():
            return SearchError(f"OpenSearch refuses our user: wrong user or password ({doing})", "check secrets.env")
        case AuthorizationException() if error_type(error) == "cluster_block_exception":
            return Unavailable(f"OpenSearch takes no writes now: {reason_of(error)} ({doing})", "is its disk full?")
        case AuthorizationException():
            return SearchError(f"our user has no right for this in OpenSearch ({doing})", "check its role")
        case TransportError(status_code=429 | 502 | 503 | 504):
            return Unavailable(f"OpenSearch is overloaded or starting: {reason_of(error)} ({doing})", "try again later")
        case ImproperlyConfigured():
            return SearchError(f"the client of OpenSearch is configured wrongly ({doing})", reason_of(error))
        case _:
            return SearchError(f"OpenSearch failed: {reason_of(error)} ({doing})", "see its log")


def _root_type(error: TransportError) -> str:
    """The type of what failed in a shard, e.g. `query_shard_exception`; empty when the body has none."""
    roots = _cause(error.info).get("root_cause") if len(error.args) > 2 else None
    return str(roots[0].get("type", "")) if roots else ""


def _cause(info: Any) -> dict[str, Any]:
    error = info.get("error") if isinstance(info, dict) else None
    return error if isinstance(error, dict) else {}
