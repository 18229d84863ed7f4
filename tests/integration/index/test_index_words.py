"""What people type finds what is stored: words, patterns and names of members, on the real node."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random

import pyarrow as pa
import pytest
from opensearchpy import OpenSearch
from searchlab import own_table, rows

from platform_assets.contracts.model import Table
from platform_assets.index.bulk import BulkWriter
from platform_assets.index.documents import to_ndjson
from platform_assets.index.errors import QueryError, TooManyClauses
from platform_assets.index.indices import Indices
from platform_assets.index.query import search

pytestmark = pytest.mark.services

DOTTED = "Failed: java.io.IOException: Broken pipe"
KAFKA = "caused by org.apache.kafka.common.errors.TimeoutException: topic not present (cause:timeout)"
COLOURED = "\x1b[31mERROR\x1b[0m \x1b[1;32mTime\x1b[01;31mout\x1b[m in \x1b[4mlink\x9b0m \x1b[Kworker"
STEERED = "\x1b]0;title\x07ERR\x1b(BOR " + (
    "\x1b]8;;http://target.example/\x1b\\Time\x1b7out\x9d8;;\x9c \x1bPq7\x1b\\wor\x1bMker \x1b]0;endless"
)
CAMEL = "SocketTimeoutException in getHTTPResponseCode for iPhone"
SNAKE = "max_poll_records and kebab-case-name of user_id=42"
MAIL = "mail to ann.lee@mail.example.org from web-12.eu.example.net failed"
PATH = "cannot open /var/log/nginx/access.log.1 or C:\\temp\\x.txt"
UNITS = "took 150ms, read 1.5GB at 10.0.0.17:8080, 1,234 rows, 50% of v2"
QUOTED = "the user's file, O\u2019Brien's \"note\" (don't)"
CYRILLIC = "Ошибка сервера: Время ожидания истекло, ёлка Йод"
GREEK = "ΣΦΆΛΜΑ στο λάθος του πελάτη"
ACCENTS = "café crème in Straße, Zu\u0308rich Malmö"
CJK = "支払いに失敗しました。接続タイムアウト 결제가 실패했습니다 超时错误"
URL = "GET https://shop.example.com/search?q=shoes&page=2 HTTP/1.1"
IDS = "trace 4bf92f3577b34da6a3ce929d0e0e4736 request 9f1c2e4a-77aa-4b02-9c55-0a1b2c3d4e5f"
PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
UNSEEN = f"hy\u00adphen zero\u200bwidth \ufeffstart \u202eover\u202cride un\u2060broken {PERSIAN}"
PLAIN = "payment failed twice, the payment was taken"
TEXTS = (
    *(DOTTED, KAFKA, COLOURED, STEERED, CAMEL, SNAKE, MAIL, PATH, UNITS, QUOTED),
    *(CYRILLIC, GREEK, ACCENTS, CJK, URL, IDS, UNSEEN, PLAIN),
)

FOUND = [
    (
        DOTTED,
        ["IOException", "java.io.IOException", "io.IOException", "java", "Exception", "ioexception", "java.io.IOE*"],
    ),
    (
        DOTTED,
        [
            '"java.io.IOException: Broken pipe"',
            '"IOException broken"',
            '"io ioexception broken pipe"',
            "IOEx*",
            "*Exception",
        ],
    ),
    (
        DOTTED,
        [
            "message:java.io.*",
            "message:java.*",
            "*.IOException",
            "J?va",
            "io.*xception",
            "Broken.pipe",
            "java.io.ioe?ception",
        ],
    ),
    (
        KAFKA,
        ["TimeoutException", "Timeout", "timeout", '"cause:timeout"', "cause", "Timeo*", "org.apache.kafka", "kafka"],
    ),
    (
        KAFKA,
        [
            "org.apache.kafka.common.errors.TimeoutException",
            '"timeoutexception topic"',
            '"errors timeoutexception topic"',
        ],
    ),
    (COLOURED, ["ERROR", "timeout", "Timeout", '"error timeout in"', "Time*", "link", '"in link worker"', "worker"]),
    (STEERED, ["ERROR", "timeout", "worker", '"error timeout worker"', "endless"]),
    (
        CAMEL,
        [
            "Timeout",
            "Socket",
            "Exception",
            "TimeoutException",
            "SocketTimeout",
            "sockettimeoutexception",
            "SocketTime*",
        ],
    ),
    (
        CAMEL,
        [
            "HTTP",
            "Response",
            "code",
            "getHTTP",
            "ResponseCode",
            '"sockettimeoutexception in gethttpresponsecode"',
            "Phone",
        ],
    ),
    (
        SNAKE,
        [
            "poll",
            "max_poll_records",
            "poll_records",
            "max_*",
            "max_po*",
            "kebab",
            "kebab-case",
            "case-name",
            "kebab-c*",
        ],
    ),
    (SNAKE, ["user_id", "user_id=42", "42", '"name of user"']),
    (
        MAIL,
        [
            "ann",
            "lee",
            "ann.lee@mail.example.org",
            "mail.example.org",
            "web-12",
            "web-12.eu.example.net",
            "web-1*",
            "*xample",
        ],
    ),
    (
        PATH,
        [
            "nginx",
            "/var/log/nginx/access.log.1",
            "access.log",
            "/var/log",
            "/var/lo*",
            "temp",
            '"C:\\temp\\x.txt"',
            "x.txt",
        ],
    ),
    (
        UNITS,
        [
            "150ms",
            "150",
            "1.5GB",
            "1.5",
            "GB",
            "10.0.0.17",
            "10.0.0.17\\:8080",
            "8080",
            "10.0.*",
            '"1,234"',
            "50%",
            "v2",
        ],
    ),
    (UNITS, ['"took 150ms read"', '"took 150"', "15*", "10.0.0.1?"]),
    (QUOTED, ["user", "user's", '"user\'s file"', "O\u2019Brien", "O'Brien", "brien", "don't", "note", '"\\"note\\""']),
    (UNSEEN, ["hyphen", "hy\u00adphen", "zero", "width", "start", "override", "unbroken", "hyph*", '"start override"']),
    (UNSEEN, [PERSIAN, PERSIAN.replace("\u200c", "")]),
    (CYRILLIC, ["ошибка", "ОШИБКА", "сервера", "ожид*", "елка", "ЁЛКА", "йод", "*идания", '"время ожидания"', "ошиб*"]),
    (GREEK, ["σφάλμα", "ΛΑΘΟΣ", "λάθος", "λαθος", "πελατη", "σφαλ*"]),
    (
        ACCENTS,
        ["cafe", "café", "CAFE\u0301", "creme", "strasse", "Straße", "Zürich", "zurich", "Malmo", "zür*", "caf?"],
    ),
    (
        CJK,
        [
            "支払い",
            "失敗",
            "支払*",
            "タイムアウト",
            "接続タイム*",
            "결제",
            "결제가",
            "실패*",
            "错误",
            "超时错误",
            "결*",
            "*エラー OR 接続",
        ],
    ),
    (
        URL,
        [
            "shop.example.com",
            "/search?q=shoes",
            "shoes",
            "page=2",
            '"https://shop.example.com/search?q=shoes&page=2"',
            "HTTP/1.1",
        ],
    ),
    (
        IDS,
        [
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "4bf92f35*",
            "9f1c2e4a-77aa-4b02-9c55-0a1b2c3d4e5f",
            "9f1c2e4a-77aa-*",
            "*4736",
        ],
    ),
    (
        PLAIN,
        [
            "payment",
            '"payment failed"',
            "failed AND taken",
            "failed && taken",
            "nothing OR twice",
            "nothing || twice",
            "fail*",
        ],
    ),
    (
        PLAIN,
        [
            "(nothing OR twice) payment",
            "twice -nothing",
            "twice NOT nothing",
            "NOT NOT twice",
            "!nothing twice",
            "+twice",
        ],
    ),
    (
        PLAIN,
        [
            "message:(nothing twice)",
            "message:(payment AND twice)",
            "message:(twice AND NOT nothing)",
            "-(nothing OR worse) twice",
        ],
    ),
]
ABSENT = [
    (
        DOTTED,
        [
            "Broken.java",
            '"IOException pipe"',
            "pipe.broken",
            "Except",
            "java.io.Broken",
            '"java IOException"',
            "IO.java*",
        ],
    ),
    (KAFKA, ["Timeou", '"topic timeoutexception"', "Out", "kafka.apache"]),
    (COLOURED, ["31m", "1mERROR", "01", "4m", "0m"]),
    (STEERED, ["title", "target.example", "Bor", "7out", "q7", "Mker"]),
    (CAMEL, ["out", "SocketException", '"socket exception"', "TimeoutSocket", "TTPR"]),
    (SNAKE, ["poll_max", "kebab-name"]),
    (MAIL, ["lee.ann", "web-13", "web-2*"]),
    (UNITS, ["15", "151", "10.0.17", "1.6GB", "10.0.0.2*"]),
    (CYRILLIC, ["ошиб", "сервер"]),
    (CJK, ["払支", "敗失", "가결"]),
    (PLAIN, ['"failed payment"', "payment -failed", "payment AND nothing", "nothing OR worse", "failed NOT twice"]),
]


MEMBERS = [
    *(
        "x-request-id",
        "x@y",
        "p/q",
        "$ref",
        "x request id",
        'q"q',
        "a.b",
        "a..b",
        ".lead",
        "trail.",
        "",
        "OR",
        "AND",
        "NOT",
        "*",
    ),
    *(
        "sta*r",
        "q?x",
        "ünïcode",
        "名前",
        "ключ",
        "a=b",
        "a:b",
        "back\\slash",
        "-neg",
        "+pos",
        "(p)",
        " ",
        "  lead",
        "a,b",
        "🙂",
        ".",
    ),
    *("_value", "id", "to..", "x~", "y^2", "/re/", "new\nline"),
]


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class TestWords:
    @pytest.fixture(scope="module")
    def filled(self, client: OpenSearch) -> Iterator[Table]:
        """A document for each text, and one for each member's name, which no test here changes."""
        indices = Indices(client)
        with own_table(client, indices) as table, BulkWriter(indices, patience_s=20) as writer:
            made = [rows(table, 1, start=number, message=text) for number, text in enumerate(TEXTS)]
            made += [
                rows(table, 1, start=100 + number, message=None, attributes=json.dumps({name: f"v{number}-a b"}))
                for number, name in enumerate(MEMBERS)
            ]
            values = [
                {"n": 7.0},
                {"n": "7"},
                {"n": 1.5},
                {"n": True},
                {"n": ""},
                {"n": "web-1"},
                {"n": "web-2"},
                {"n": "a*b"},
            ]
            made += [
                rows(table, 1, start=200 + number, message=None, attributes=json.dumps(value))
                for number, value in enumerate(values)
            ]
            hosts = ["web-1", "web-12", "db-1", "a*b", "back\\slash", "it's", "", "OR", "(x)"]
            made += [rows(table, 1, start=300 + n, message=None, service=host) for n, host in enumerate(hosts)]
            written = writer.write(table, to_ndjson(table, pa.concat_tables(made), 1))
            assert written.refused == []
            indices.refresh(table)
            yield table

    def offsets(self, client: OpenSearch, table: Table, query: str) -> list[int]:
        return sorted(row["_assay"]["offset"] for row in search(client, table, query, limit=1000).rows)

    @pytest.mark.parametrize(("text", "queries"), FOUND)
    def test_finds(self, client: OpenSearch, filled: Table, text: str, queries: Sequence[str]) -> None:
        wanted = TEXTS.index(text)
        assert [query for query in queries if wanted not in self.offsets(client, filled, query)] == []

    @pytest.mark.parametrize(("text", "queries"), ABSENT)
    def test_finds_nothing_else(self, client: OpenSearch, filled: Table, text: str, queries: Sequence[str]) -> None:
        unwanted = TEXTS.index(text)
        assert [query for query in queries if unwanted in self.offsets(client, filled, query)] == []

    @pytest.mark.parametrize("name", MEMBERS)
    def test_every_member_can_be_asked_for(self, client: OpenSearch, filled: Table, name: str) -> None:
        number = MEMBERS.index(name)
        mine = 100 + number
        for path in (f"attributes.{quoted(name)}", quoted(f"attributes.{name}")):
            assert self.offsets(client, filled, f'{path}:"v{number}-a b"') == [mine]
            assert self.offsets(client, filled, f"{path}:v{number}-*") == [mine]
            assert self.offsets(client, filled, f'{path}:(nothing "v{number}-a b")') == [mine]
            assert self.offsets(client, filled, f'-{path}:"v{number}-a b" offset:{mine}') == []
            assert self.offsets(client, filled, f'-{path}:"v-a b" offset:{mine}') == [mine]
            assert mine in self.offsets(client, filled, f"{path}:*")
            assert mine in self.offsets(client, filled, f"{path}:*{number}-a\\ b")

    @pytest.mark.parametrize(
        ("query", "offsets"),
        [
            ("attributes.x-request-id:v0-*", [100]),
            ("attributes.x@y:* offset:<150", [101]),
            ("attributes.x\\ request\\ id:v4*", [104]),
            ("attributes.n:7", [200, 201]),
            ("attributes.n:7.0", [200, 201]),
            ('attributes.n:"7"', [201]),
            ("attributes.n:1.50", [202]),
            ("attributes.n:true", [203]),
            ('attributes.n:""', [204]),
            ("attributes.n:web-*", [205, 206]),
            ("attributes.n:*-1", [205]),
            ("attributes.n:w?b-2", [206]),
            ("attributes.n:a\\*b", [207]),
            ('attributes.n:"a*b"', [207]),
            ("service:web-*", [300, 301]),
            ("service:*-1", [300, 302]),
            ("service:w*-1?", [301]),
            ("service:(web-1 db-1)", [300, 302]),
            ("service:web-1,db-1", [300, 302]),
            ("service:(web-* AND NOT *2)", [300]),
            ("service:a\\*b", [303]),
            ('service:"a*b"', [303]),
            ('service:"back\\\\slash"', [304]),
            ("service:it's", [305]),
            ('service:""', [306]),
            ('service:"OR"', [307]),
            ('service:"(x)"', [308]),
            ("web-1*", [MAIL, 300, 301]),
            ("db-1 OR service:web-12", [301, 302]),
            ("offset:(>=307 301..302)", [301, 302, 307, 308]),
            ("* offset:308", [308]),
            ("offset:(..1 AND >0)", [1]),
            ("-offset:* OR offset:5", [5]),
        ],
    )
    def test_values(self, client: OpenSearch, filled: Table, query: str, offsets: Sequence[int | str]) -> None:
        wanted = [TEXTS.index(one) if isinstance(one, str) else one for one in offsets]
        assert self.offsets(client, filled, query) == sorted(wanted)

    @pytest.mark.parametrize(
        "query",
        [
            "message:*",
            "a* b* c*",
            "*a*b*c*d*e*f*gh OR x",
            "message:????????x",
            "offset:1 " + "(x OR (y " * 4 + "z" + "))" * 4,
        ],
    )
    def test_what_is_allowed_is_answered(self, client: OpenSearch, filled: Table, query: str) -> None:
        search(client, filled, query)


def test_any_member_and_any_value_is_found(
    client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
) -> None:
    """Whatever was stored, in whatever characters: its document is found, and left out by a negation."""
    random = Random(7)
    letters = [
        *map(chr, range(0x20, 0x250)),
        *'"\\*?:()~^/-+!=.,<>{}[]|&\n\tЖщか漢한\u0627🙂\u200b\u202e',
        "AND",
        "OR",
        "NOT",
    ]

    def text(most: int) -> str:
        return "".join(random.choices(letters, k=random.randint(1, most)))

    pairs = [(f"{number}{text(8)}", text(12)) for number in range(80)]
    made = [
        rows(table, 1, start=n, service=value, attributes=json.dumps({name: value}))
        for n, (name, value) in enumerate(pairs)
    ]
    assert writer.write(table, to_ndjson(table, pa.concat_tables(made), 1)).refused == []
    indices.refresh(table)
    for number, (name, value) in enumerate(pairs):
        asked = f"attributes.{quoted(name)}:{quoted(value)} service:{quoted(value)}"
        assert [row["_assay"]["offset"] for row in search(client, table, asked).rows] == [number], (name, value)
        left = search(client, table, f"-attributes.{quoted(name)}:{quoted(value)} offset:{number}").rows
        assert left == [], (name, value)


def test_a_pattern_in_a_phrase_that_stands_for_too_many_words_is_refused(
    client: OpenSearch, indices: Indices, writer: BulkWriter, table: Table
) -> None:
    many = " ".join(f"in w{number} order" for number in range(1100))  # in one document, and so in one segment
    writer.write(table, to_ndjson(table, rows(table, 1, message=many), 1))
    indices.refresh(table)
    assert len(search(client, table, "w*").rows) == len(search(client, table, "in.w1*").rows) == 1
    with pytest.raises(TooManyClauses):
        search(client, table, "in.w*")


@pytest.mark.parametrize(
    "query", ["message:!!!", "message:...", "message:\u00bd", "\u2460\u2461", 'message:"\'"', "*?", "*", "a.*.b"]
)
def test_what_no_text_can_answer_is_refused(client: OpenSearch, table: Table, query: str) -> None:
    if query == "*":
        assert search(client, table, query).rows == []
    else:
        with pytest.raises(QueryError) as refused:
            search(client, table, query)
        assert refused.value.position is not None
