"""Lines that real servers write, transformed under the logs contract: each is a row, and its status counts.

The forms are those of Apache, nginx, Caddy (common), lighttpd and HAProxy (as combined), of Tomcat's loggers in log4j's form,
and of Kafka. Names and addresses are invented.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from transform_samples import ACCESS, BROKER, MASKER, accepted, bronze, reasons, transform

from platform_assets.transform import Transformer

REAL = Path(os.environ.get("ASSAY_SHARED_DATA") or Path(__file__).parents[4] / "shared" / "data") / "logs"
T = "[15/Jan/2026:09:30:00 +0000]"
END = f'- - {T} "GET / HTTP/1.1" 500 5 "-" "a"'
START = f"203.0.113.7 - - {T} "
HELLO = "\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03"

CLIENTS = {
    "unix:": "unix:",
    "unix:/run/web.sock": "unix:/run/web.sock",
    "-": None,
    "localhost": "localhost",
    "crawl-66-249.example.com": "crawl-66-249.example.com",
    "2001:db8::1": "2001:db8::1",
    "::1": "::1",
    "::ffff:203.0.113.7": "::ffff:203.0.113.7",
    "fe80::1%eth0": "fe80::1%eth0",
    "[2001:db8::1]": "2001:db8::1",
    "[2001:db8::1]:51234": "2001:db8::1",
    "[fe80::1%en0]:443": "fe80::1%en0",
    "203.0.113.7:51234": "203.0.113.7",
    "client.example.com:51234": "client.example.com",
    "203.0.113.7, 10.0.0.2, 10.0.0.3": "203.0.113.7",
    "www.example.com 203.0.113.7": "203.0.113.7",
    "www.example.com:443 2001:db8::1": "2001:db8::1",
    "www.example.com localhost": "localhost",
    "_ 203.0.113.7": "203.0.113.7",
}
USERS = {
    "- anna": "anna",
    "- John Smith": "John Smith",
    "- CORP\\\\anna de la Cruz": "CORP\\\\anna de la Cruz",
    "- [bot]": "[bot]",
    '- a\\"b c': 'a\\"b c',
    '- ""': None,
    "- ": None,
    "- -": None,
    "identd anna": "anna",
    "identd John Smith": "John Smith",
}
REQUESTS: dict[str, tuple[str | None, str | None, str | None]] = {
    "GET /a?b=c HTTP/2.0": ("GET", "/a?b=c", "HTTP/2.0"),
    "get / HTTP/1.1": ("get", "/", "HTTP/1.1"),
    "M-SEARCH * HTTP/1.1": ("M-SEARCH", "*", "HTTP/1.1"),
    "VERSION-CONTROL /x HTTP/1.1": ("VERSION-CONTROL", "/x", "HTTP/1.1"),
    "CONNECT example.com:443 HTTP/1.1": ("CONNECT", "example.com:443", "HTTP/1.1"),
    "GET http://example.com/x HTTP/1.0": ("GET", "http://example.com/x", "HTTP/1.0"),
    "OPTIONS rtsp://example.com/x RTSP/1.0": ("OPTIONS", "rtsp://example.com/x", "RTSP/1.0"),
    "GET /a file name HTTP/1.1": ("GET", "/a file name", "HTTP/1.1"),
    'GET /\\"quoted\\" HTTP/1.1': ("GET", '/\\"quoted\\"', "HTTP/1.1"),
    'GET /a"b HTTP/1.1': ("GET", '/a"b', "HTTP/1.1"),
    "GET /" + "x" * 9000 + " HTTP/1.1": ("GET", "/" + "x" * 9000, "HTTP/1.1"),
    "GET /index.html": ("GET", "/index.html", None),
    "GET /": ("GET", "/", None),
    "": (None, None, None),
    "-": (None, None, None),
    HELLO: (None, None, None),
    HELLO + ' \\"\\x22 \\\\ x': (None, None, None),
    "\x16\x03\x01\x02": (None, None, None),
    "<BADREQ>": (None, None, None),
    "quit": (None, None, None),
    "hello world": (None, None, None),
    "{\\x22id\\x22: 1, \\x22method\\x22: \\x22mining.subscribe\\x22}": (None, None, None),
    "SSH-2.0-Go": (None, None, None),
}
STATUSES = {"200": 200, "000": 0, "101": 101, "499": 499, "500": 500, "599": 599, "999": 999, "-": None, "-1": None}
ENDS: dict[str, tuple[str | None, str | None]] = {
    ' "-" "-"': (None, None),
    ' "" ""': (None, None),
    ' "https://example.com/?q=\\"a\\"" "says \\"hello\\" twice"': (
        'https://example.com/?q=\\"a\\"',
        'says \\"hello\\" twice',
    ),
    ' "-" "says "hello" twice"': (None, 'says "hello" twice'),
    ' "-" "ends in a backslash \\\\"': (None, "ends in a backslash \\\\"),
    "": (None, None),
    " 0.004": (None, None),
    ' "-" "a" "10.0.0.1, 10.0.0.2"': (None, "a"),
    ' "-" "a" 0.004 0.003 .': (None, "a"),
    ' "-" "a" rt=0.004 uct="0.000" urt="0.003, 0.001"': (None, "a"),
    ' "-" "a" www.example.com - 6f1f0b5e5c3d4a "x y" [z]': (None, "a"),
    ' "-" "a" 5 "router@docker" "http://10.0.0.2:80" 3ms': (None, "a"),
    ' "-" "a" TCP_MISS:HIER_DIRECT ': (None, "a"),
    ' 0.004 "https://a/" "a"': ("https://a/", "a"),
    ' 0.004 . "-" "a" 5': (None, "a"),
}


def masked(column: str, values: list[str | None]) -> list[str | None]:
    return MASKER.mask_column(pa.chunked_array([values], pa.string()), column).to_pylist()


def access(lines: list[str]) -> list[dict[str, Any]]:
    """The silver rows of lines that are all accepted."""
    values = [line.encode() for line in lines]
    assert reasons(values, ACCESS) == [None] * len(lines), lines
    return transform(values, ACCESS).accepted.to_pylist()


def test_clients_of_every_kind() -> None:
    rows = access([f"{client} {END}" for client in CLIENTS])
    assert [row["client_ip"] for row in rows] == masked("client_ip", list(CLIENTS.values()))
    assert {row["status"] for row in rows} == {500}
    assert {row["user"] for row in rows} == {None}


def test_users_of_every_kind() -> None:
    tail = f'{T} "GET / HTTP/1.1" 500 5 "-" "a"'
    for before in ("203.0.113.7", "2001:db8::1", "www.example.com 203.0.113.7"):
        # Behind a virtual host, an identity of RFC 1413 and an empty user cannot be told from other lines.
        users = {
            user: name
            for user, name in USERS.items()
            if " 203" not in before or (user.startswith("- ") and user != "- ")
        }
        rows = access([f"{before} {user} {tail}" for user in users])
        assert [row["user"] for row in rows] == masked("user", list(users.values()))
        assert {row["client_ip"] for row in rows} == set(masked("client_ip", [before.split()[-1]]))


def test_requests_of_every_kind() -> None:
    rows = access([f'{START}"{request}" 400 5 "-" "a"' for request in REQUESTS])
    assert [(row["method"], row["path"], row["protocol"]) for row in rows] == list(REQUESTS.values())
    assert {row["status"] for row in rows} == {400}


@pytest.mark.parametrize("request_line", ["GET / HTTP/1.1", "GET /", "-", HELLO])
def test_every_status_counts(request_line: str) -> None:
    rows = access([f'{START}"{request_line}" {status} - "-" "a"' for status in STATUSES])
    assert [row["status"] for row in rows] == list(STATUSES.values())
    assert {row["bytes"] for row in rows} == {None}


@pytest.mark.parametrize("request_line", ["GET / HTTP/1.1", "GET /", "-"])
def test_what_follows_the_size(request_line: str) -> None:
    rows = access([f'{START}"{request_line}" 200 5{end}' for end in ENDS])
    assert [(row["referrer"], row["agent"]) for row in rows] == list(ENDS.values())


WRITTEN_OTHERWISE = [
    f'203.0.113.7\t-\t-\t{T}\t"GET / HTTP/1.1"\t200\t5\t"-"\t"a"',
    f'  203.0.113.7 - - {T} "GET / HTTP/1.1" 200 5 "-" "a"',
    START + '0.004 "GET / HTTP/1.1" 200 5 "-" "a"',
    START + '"GET / HTTP/1.1" 200 +5 "-" "a"',
    START + '"GET / HTTP/1.1\\r" 200 5 "-" "a"',
    START + '"GET / HTTP/1.1\\x0D" 200 5 0.1 "-" "a"',
    f'<190>Jan 15 09:30:00 web nginx: {START}"GET / HTTP/1.1" 200 5 "-" "a"',
    f'Jan  5 09:30:00 web nginx[17]: {START}"GET / HTTP/1.1" 200 5 "-" "a"',
    f'<190>Jan 15 09:30:00 nginx: {START}"GET / HTTP/1.1" 200 5 "-" "a"',
    f'<190>1 2026-01-15T09:30:00Z web nginx 17 - - {START}"GET / HTTP/1.1" 200 5 "-" "a"',
]


def test_lines_that_are_written_otherwise_lose_nothing() -> None:
    usual, *others = access([START + '"GET / HTTP/1.1" 200 5 "-" "a"', *WRITTEN_OTHERWISE])
    for line, row in zip(WRITTEN_OTHERWISE, others, strict=True):
        assert {k: v for k, v in row.items() if k[0] != "_"} == {k: v for k, v in usual.items() if k[0] != "_"}, line


def test_lines_without_a_request_or_a_size_count() -> None:
    rows = access([START + '- 408 0 "-" "a"', START + '"GET / HTTP/1.1" 200', START + '"GET / HTTP/1.1" 200 "-" "a"'])
    found = [(row["status"], row["bytes"], row["path"], row["agent"]) for row in rows]
    assert found == [(408, 0, None, "a"), (200, None, "/", None), (200, None, "/", "a")]


def test_raw_bytes_in_a_request_are_escaped() -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xe9"
    row = accepted(START.encode() + b'"' + hello + b'" 400 150 "-" "caf\xe9"', ACCESS)
    assert (row["status"], row["method"], row["path"], row["agent"]) == (400, None, None, "caf\\xE9")


@pytest.mark.parametrize(
    "line",
    [
        START + '"GET / HTTP/1.1" 200 1 "-" "cut off',
        START + '"GET / HTTP/1.1" 2000 1 "-" "a"',
        START + '"GET / HTTP/1.1 200 1',
        "no line of a web server",
        "",
    ],
)
def test_broken_lines_are_refused(line: str) -> None:
    assert reasons([line.encode()], ACCESS) in (["no_match"], ["empty"])


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared data is not beside this checkout")
def test_of_a_real_day_one_line_is_broken() -> None:
    lines = (REAL / "apache_access.log").read_bytes().splitlines()
    with Transformer(ACCESS, MASKER) as transformer:
        transformed = transformer.transform(bronze(lines))
    assert (len(lines), transformed.accepted.num_rows) == (10_000, 9_999)
    assert lines[transformed.rejected["_position"][0].as_py()].endswith(b"bot.html")


LOGGERS = (
    "kafka.server.KafkaServer",
    "state.change.logger",
    "kafka.log.UnifiedLog$",
    "kafka.log.LogCleaner$CleanerThread",
    "Main$Inner",
    "kafka-rest.request",
    "org.apache.catalina.core.ContainerBase.[Catalina].[localhost].[/].[dispatcher]",
    "org.apache.catalina.core.ContainerBase.[Catalina].[localhost].[/my app]",
    "kafka.network.Processor[0]",
    "java.base/java.lang.Thread",
    "a.b.C$$Lambda$14/0x0000000800066840",
)
PROSE = ("(ms)", "(retrying)", "(id 3)", "(e.g.)", "(2.8.0)", "(v2.8.0)", "(localhost:9092)", "(a.b c.d)", "(read/write)",
         "()", "(10.0.0.1)", "(epoch=5)")  # fmt: skip
TRACE = "java.io.IOException: gone\n\tat a.B.c(B.scala:112)\nCaused by: x.Y: z (see the log)"
AT = "[2026-01-15 09:30:00,123] WARN "


def broker(text: str) -> tuple[Any, ...]:
    row = accepted((AT + text).encode(), BROKER)
    return row["message"], row["logger"], row["stack"]


def test_loggers_of_every_kind() -> None:
    for logger in LOGGERS:
        assert broker(f"It took 5 (ms) ({logger})") == ("It took 5 (ms)", logger, None)
        assert broker(f"first\n\tsecond = 1\n ({logger})\n") == ("first\n\tsecond = 1", logger, None)
        assert broker(f"It failed (retrying) ({logger})\n{TRACE}") == ("It failed (retrying)", logger, TRACE)


def test_levels_may_be_padded_and_causes_stand_alone() -> None:
    assert accepted(b"[2026-01-15 09:30:00,123]  INFO started (a.b.C)", BROKER)["level"] == "INFO"
    assert accepted(b"[2026-01-15 09:30:00,123]  WARN gone", BROKER)["message"] == "gone"
    cause = "Caused by: x.Y: gone\n\t... 5 more"
    assert broker(f"It failed\n{cause}") == ("It failed", None, cause)


def test_prose_in_parentheses_belongs_to_the_message() -> None:
    for prose in PROSE:
        assert broker(f"It took 5 {prose}") == (f"It took 5 {prose}", None, None)
        assert broker(f"It failed {prose}\n{TRACE}") == (f"It failed {prose}", None, TRACE)
        assert broker(f"It failed {prose}\nand more {prose}") == (f"It failed {prose}\nand more {prose}", None, None)
        assert broker(f"A {prose} (a.b.C) {prose} (a.b.D)") == (f"A {prose} (a.b.C) {prose}", "a.b.D", None)
