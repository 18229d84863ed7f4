"""The traps of separated values: quotes, line breaks, rows of names, other separators and encodings."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import replace

import pytest
from formatlab import GERMAN, MEMBERS, ROW, Member, table

from platform_assets.contracts.formats import BodyError, FramingError, format_named
from platform_assets.contracts.model import CsvDialect, Format
from platform_assets.contracts.read import parse_contract

PLAIN = MEMBERS["csv"]
CSV = format_named(Format.CSV)
HEADER = table(Format.CSV, csv=CsvDialect(header=True))
NAMES = ",".join(ROW).encode()


@pytest.mark.parametrize(
    "text", ['said "yes"', "a, b", "two\nlines", "two\r\nlines", '"', '""', ",", "\t", "'", 'ends with "', " blanks "]
)
def test_quoted_texts_are_read_as_they_were_meant(text: str) -> None:
    [row] = PLAIN.transform(PLAIN.row(text=text)).accepted.to_pylist()
    assert row["text"] == text


def test_rows_that_the_standard_library_writes_are_read_alike() -> None:
    rand = random.Random(7)
    texts = ["".join(rand.choices("\",\n;'ab \r", k=rand.randint(1, 12))) + "." for _ in range(500)]
    for member in (PLAIN, MEMBERS["csv-german"]):
        accepted = member.transform(*(member.row(text=text) for text in texts)).accepted
        assert accepted["text"].to_pylist() == texts


def test_an_empty_text_in_quotes_is_not_absent() -> None:
    quoted = PLAIN.row(text="x").replace(b",x", b',""')
    assert PLAIN.transform(quoted, PLAIN.row(text=None)).accepted["text"].to_pylist() == ["", None]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'r-1,2026-01-15T09:29:59Z,1,1,1,true,w,"open', "malformed_csv"),
        (b'r-1,2026-01-15T09:29:59Z,1,1,1,true,w,"a"b', "malformed_csv"),
        (b"r-1,2026-01-15T09:29:59Z,1,1,1,true,w", "column_count"),
        (b"r-1,2026-01-15T09:29:59Z,1,1,1,true,w,t,more", "column_count"),
        (b"a\nb,2026-01-15T09:29:59Z,1,1,1,true,w,t", "malformed_csv"),
        (b",2026-01-15T09:29:59Z,1,1,1,true,w,t", "missing:id"),
    ],
)
def test_rows_that_are_none(row: bytes, reason: str) -> None:
    assert PLAIN.reasons(row) == [reason]


def test_a_quote_within_a_text_is_a_character() -> None:
    [row] = PLAIN.transform(PLAIN.row(text="x").replace(b",x", b',5" disk')).accepted.to_pylist()
    assert row["text"] == '5" disk'


def test_numbers_with_a_decimal_comma() -> None:
    german = MEMBERS["csv-german"]
    [row] = german.transform(german.row(amount="1234.50")).accepted.to_pylist()
    assert str(row["amount"]) == "1234.50"
    # What stands between thousands elsewhere is no point here.
    assert german.reasons(german.row().replace(b"12,50", b"1.234,50")) == ["type:amount"]


@pytest.mark.parametrize("size", [1, 3, 17, 100_000])
def test_line_breaks_in_quotes_end_no_row(size: int) -> None:
    rand = random.Random(3)
    rows = [PLAIN.row(text="".join(rand.choices('ab"\n,', k=20)) + ".") for _ in range(60)]
    content = b"\n".join(rows) + b"\n"
    framer = CSV.framer(PLAIN.table, 10_000)
    found = [row for at in range(0, len(content), size) for row in framer.feed(content[at : at + size])]
    assert [*found, *framer.finish()] == rows
    assert framer.consumed == len(content)


def test_a_quote_that_is_never_closed_takes_its_line_only() -> None:
    content = PLAIN.row() + b"\n" + b'r-2,"open\n' + b"\n".join(PLAIN.row(id=f"r-{n}") for n in range(3, 40)) + b"\n"
    for limit in (500, 100_000):
        framer = CSV.framer(PLAIN.table, limit)
        found = [*framer.feed(content), *framer.finish()]
        assert found[:3] == [PLAIN.row(), b'r-2,"open', PLAIN.row(id="r-3")]
        assert (len(found), framer.consumed) == (39, len(content))


class TestNames:
    """A row of the columns' names."""

    @pytest.mark.parametrize("names", [NAMES, b'"' + NAMES.replace(b",", b'","') + b'"'])
    def test_is_left_out_wherever_it_stands(self, names: bytes) -> None:
        content = b"\n".join([names, PLAIN.row(), names, PLAIN.row(id="r-2"), b""])
        framer = CSV.framer(HEADER, 10_000)
        assert framer.feed(content) == [PLAIN.row(), PLAIN.row(id="r-2")]
        assert framer.consumed == len(content)

    def test_must_begin_a_file_and_name_the_columns_in_their_order(self) -> None:
        for first in (PLAIN.row(), NAMES.replace(b"id,at", b"at,id")):
            with pytest.raises(FramingError, match=r"the file begins with the columns .*, the contract has id,at,"):
                CSV.framer(HEADER, 10_000).feed(first + b"\n")
        with pytest.raises(BodyError, match="begins with"):
            CSV.records(HEADER, PLAIN.row(), 10)

    def test_is_not_asked_for_within_a_file(self) -> None:
        assert CSV.framer(HEADER, 10_000, at_start=False).feed(PLAIN.row() + b"\n") == [PLAIN.row()]

    def test_behind_a_mark_of_utf8_in_a_body(self) -> None:
        assert CSV.records(HEADER, b"\xef\xbb\xbf" + NAMES + b"\n" + PLAIN.row(), 10) == [PLAIN.row()]


def test_every_letter_of_an_encoding_is_read_as_the_standard_library_reads_it() -> None:
    for encoding in ("iso-8859-1", "windows-1252", "cp437", "koi8-r", "iso-8859-15"):
        member = Member(replace(PLAIN.table, encoding=encoding), PLAIN.write)
        begin = PLAIN.row(text="x")[:-1]
        defined = [n for n in range(0xA0, 0x100) if bytes([n]).decode(encoding, "ignore")]
        accepted = member.transform(*(begin + bytes([n]) + b"." for n in defined)).accepted
        assert accepted["text"].to_pylist() == [bytes([n]).decode(encoding) + "." for n in defined]


def _contract(**properties: object) -> str:
    items = "".join(f"      - {{property: {name}, value: {value}}}\n" for name, value in properties.items())
    return f"""\
apiVersion: v3.0.2
kind: DataContract
id: urn:lab
name: lab
version: 1.0.0
status: active
team: {{name: lab}}
schema:
  - name: rows
    physicalName: lab.rows
    customProperties:
      - {{property: format, value: csv}}
{items}    properties:
      - {{name: id, logicalType: string, required: true}}
      - {{name: at, logicalType: timestamp, required: true, partitioned: true, partitionKeyPosition: 1}}
"""


def test_a_contract_declares_the_dialect() -> None:
    made = parse_contract(
        _contract(columns="[at, gone, id]", header="true", delimiter="tab", quote='"\'"', encoding="cp437")
    )
    [rows] = made.tables
    assert rows.csv == CsvDialect(columns=("at", "gone", "id"), header=True, delimiter="\t", quote="'")
    assert rows.encoding == "cp437"
    assert rows.csv != GERMAN


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"delimiter": "'ab'"}, "one character of ASCII"),
        ({"delimiter": "'1'"}, "one character of ASCII"),
        ({"quote": "','"}, "is the delimiter"),
        ({"decimalComma": "true"}, "does not go with the delimiter"),
        ({"columns": "[at]"}, "has no 'id'"),
        ({"encoding": "utf-16"}, "iso-8859-1"),
        ({"pattern": "x"}, "is not known for format csv"),
        ({"sample": "'a,b,c'"}, "has not 2 columns"),
        ({"sample": '"a\\rb,c"'}, "has not 2 columns"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(properties: dict[str, str], told: str) -> None:
    with pytest.raises(Exception, match=told):
        parse_contract(_contract(**properties))


def test_the_standard_library_agrees_on_whole_files() -> None:
    rand = random.Random(11)
    rows = [["".join(rand.choices('a"\n,', k=rand.randint(0, 6))) for _ in ROW] for _ in range(300)]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    framer = CSV.framer(PLAIN.table, 10_000)
    found = [*framer.feed(written.getvalue().encode()), *framer.finish()]
    assert [next(csv.reader([one.decode()])) for one in found] == rows
