"""What all routes share: settings, contracts, keys, audit, and the connections that are made when first needed.

Belongs here: one object for the life of a server. Does not belong here: what routes do with it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from opensearchpy import OpenSearch

from platform_assets.contracts.model import Contract
from platform_assets.core.settings import Settings
from platform_assets.declarations import Problem
from platform_assets.index.callers import CallerPool, token
from platform_assets.serve.audit import Audit
from platform_assets.serve.cursors import CursorSeal
from platform_assets.serve.idempotency import Answers
from platform_assets.serve.keys import FOLDER, Key, KeyStore
from platform_assets.serve.limits import (
    SEARCH_TIMEOUT_S,
    SUBMISSION_WAIT_S,
    SUBMISSIONS_AT_ONCE,
    SUBMIT_TIMEOUT_S,
    AtOnce,
    RateCounter,
    Rates,
    Turns,
)
from platform_assets.serve.metrics import Metrics
from platform_assets.sources.kafka.submit import Submitter

_CONNECTIONS = 64
"""More than one key's searches take, each of which asks every table for its page and its count at once."""


class Backend:
    """Everything a route needs. Making one asks for nothing: what is missing is an error of the route that needs it."""

    def __init__(self, settings: Settings, contracts: Mapping[str, Contract]) -> None:
        self.settings = settings
        self.contracts = dict(contracts)
        self.problems: tuple[Problem, ...] = ()
        self.keys = KeyStore(settings.home)
        self.audit = Audit(settings.home)
        self.rates = Rates.of(settings)
        self.counter = RateCounter()
        self.at_once = AtOnce(self.rates.at_once)
        self.submissions = Turns(SUBMISSIONS_AT_ONCE, SUBMISSION_WAIT_S)
        self.metrics = Metrics(settings, self.contracts.values())
        self.threads = ThreadPoolExecutor(_CONNECTIONS, "assay-api-search")
        self.replaying = threading.Lock()
        self._making = threading.Lock()

    def serve(self, contracts: Mapping[str, Contract], problems: tuple[Problem, ...]) -> None:
        """Serve these systems from now on, with the same connections, rates and figures; tell what is wrong with declarations."""
        self.contracts = dict(contracts)
        self.problems = problems
        self.metrics.platform.serve(self.contracts.values())

    @cached_property
    def _pool(self) -> CallerPool:
        url, ca = self.settings.opensearch_url, self.settings.opensearch_ca
        return CallerPool(url, ca, timeout_s=SEARCH_TIMEOUT_S, size=_CONNECTIONS)

    @cached_property
    def _submitter(self) -> Submitter:
        return Submitter(self.settings.kafka_conf("producer"), timeout_s=SUBMIT_TIMEOUT_S)

    @cached_property
    def _answers(self) -> Answers:
        return Answers(self.settings.home / FOLDER, self.settings.opensearch_jwt_key)

    @cached_property
    def seal(self) -> CursorSeal:
        """Seals cursors. Raises AssayError when the key is unknown."""
        return CursorSeal(self.settings.opensearch_jwt_key)

    @property
    def submitter(self) -> Submitter:
        """The producer. Raises AssayError when the broker's address or password is unknown."""
        with self._making:
            return self._submitter

    @property
    def answers(self) -> Answers:
        """Earlier answers by Idempotency-Key."""
        with self._making:
            return self._answers

    def client(self, key: Key, *, platform_alerts: bool = False) -> OpenSearch:
        """OpenSearch as this caller may see it: its own token, made for this request.

        `platform_alerts` is for a request that shows administrators what the platform says of itself.
        """
        bearer = token(self.settings.opensearch_jwt_key, key.id, key.system, key.only, platform_alerts=platform_alerts)
        with self._making:
            pool = self._pool
        return pool.client(bearer)

    def close(self) -> None:
        """End threads and connections."""
        self.submissions.close()
        self.threads.shutdown(cancel_futures=True)
        if "_pool" in self.__dict__:
            self._pool.close()
        if "_submitter" in self.__dict__:
            self._submitter.close()
