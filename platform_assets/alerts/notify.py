"""Telling people: messages from alerts, and the targets of `ASSAY_ALERT_URLS`.

Belongs here: the text of a message, sending it through Apprise or to the log. Does not: whom to tell when (`incident.py`),
and keeping account of it (`service.py`).

The targets' URLs hold tokens. They are never part of a message, an error or a log line: a target is known by its place in the
list and its scheme.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from platform_assets.alerts.incident import ESCALATED, ONGOING, OPENED, RESOLVED, Alert
from platform_assets.alerts.model import AlertError
from platform_assets.alerts.runbooks import known
from platform_assets.alerts.text import plain

URLS = "ASSAY_ALERT_URLS"
RUNBOOKS = "ASSAY_RUNBOOK_URL"
RUNBOOK_FOLDER = "docs/runbooks/"
API = "ASSAY_API_URL"
"""Where people reach the page and the API, such as `https://assay.example`: messages link to it."""
TIMEOUT_S = 5.0
"""To connect, and to read: a receiver that hangs holds up other receivers, never the worker."""
TEXT_LENGTH = 1500

_log = logging.getLogger("assay.alerts")
_BETWEEN = re.compile(r"[\n\r]+|,\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_WORDS = {OPENED: "OPEN", ESCALATED: "WORSE", ONGOING: "STILL OPEN", RESOLVED: "RESOLVED"}


class _Hush(logging.Filter):
    """Drops what the HTTP client says while a message is under way: it names paths, and tokens are in paths.

    Apprise sends in threads of its own, so that this holds for all threads.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._sending = 0

    def filter(self, record: logging.LogRecord) -> bool:
        return self._sending == 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._sending += 1
        try:
            yield
        finally:
            with self._lock:
                self._sending -= 1


_hushed = _Hush()
for _name in ("urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_hushed)


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that goes with a message, and what it is called there; its type follows from that name."""

    path: Path
    name: str


class Target(Protocol):
    """Somebody to tell. `id` is no secret, `name` is safe to show."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    def send(self, title: str, body: str, kind: str, attached: Attached | None = None) -> bool:
        """Whether the receiver took it, within the timeouts. Who takes no attachments gets the text alone."""


@dataclass(frozen=True, slots=True)
class _Service:
    """One URL, through Apprise; `id` is its digest."""

    id: str
    name: str
    sender: Any = field(repr=False)

    def send(self, title: str, body: str, kind: str, attached: Attached | None = None) -> bool:
        from apprise import Apprise, NotifyFormat

        told = Apprise()
        told.add(self.sender)
        file = f"file://{quote(str(attached.path))}?name={quote(attached.name)}" if attached else None
        with _hushed():
            return bool(
                told.notify(body=body, title=title, notify_type=kind, body_format=NotifyFormat.TEXT, attach=file)
            )


class _Log:
    """What there is without a URL: the process's log."""

    id = name = "log"

    def send(self, title: str, body: str, kind: str, attached: Attached | None = None) -> bool:
        _log.warning("%s: %s", title, body.replace("\n", " | "))
        return True


def targets(values: Mapping[str, str]) -> dict[str, Target]:
    """Whom to tell, by id; the log when nobody is named. Raises AlertError for a URL that is not understood."""
    urls = [url.strip() for url in _BETWEEN.split(values.get(URLS, "")) if url.strip()]
    if not urls:
        return {_Log.id: _Log()}
    return {target.id: target for target in (_target(number, url) for number, url in enumerate(urls, start=1))}


def _target(number: int, url: str) -> Target:
    from apprise import Apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its messages name addresses
    sender = Apprise.instantiate(url, suppress_exceptions=True)
    if not sender:  # whatever it is, it may be a token: nothing of it is shown
        raise AlertError(
            f"{URLS}: target {number} is not understood", "see https://appriseit.com/services for its form"
        )
    name = f"target {number} ({url.partition('://')[0].lower()})"
    sender.socket_connect_timeout = sender.socket_read_timeout = TIMEOUT_S
    return _Service(hashlib.sha256(url.encode()).hexdigest()[:12], name, sender)


def message(alert: Alert, values: Mapping[str, str]) -> tuple[str, str, str]:
    """(title, body, Apprise's type) of what is to be told. Values of data in the summary are neutral already."""
    state = _WORDS[alert.notify or OPENED] + (" (late)" if alert.late else "")
    title = plain(f"[{alert.severity}] {state} {alert.system}: {alert.rule}", 200)
    lines = [alert.summary, f"since {alert.opened_at:%Y-%m-%d %H:%M:%S} UTC"]
    if alert.resolved_at is not None:
        lines[1] += f", until {alert.breached_at:%Y-%m-%d %H:%M:%S} UTC"
    if alert.late:
        lines.append("late: the events came when their time had passed")
    lines += [f"runbook: {runbook(alert.runbook, values)}", f"alert: {alert.alert_id}"]
    kind = (
        "success"
        if alert.notify == RESOLVED
        else {"critical": "failure", "info": "info"}.get(alert.severity, "warning")
    )
    return title, "\n".join(plain(line, 500) for line in lines)[:TEXT_LENGTH], kind


def runbook(page: str, values: Mapping[str, str]) -> str:
    """Where the page is: below `ASSAY_RUNBOOK_URL`, else `ASSAY_API_URL`, else in the project or the system's folder.

    A page that is nowhere is only named: no link leads into the void.
    """
    if page.startswith("https://"):
        return page
    if values.get(RUNBOOKS):
        return f"{values[RUNBOOKS].rstrip('/')}/{page}"
    if not known(page):
        return page
    if values.get(API):
        return f"{values[API].rstrip('/')}/runbooks/{page}"
    return page.replace("/", "/runbooks/") if "/" in page else RUNBOOK_FOLDER + page
