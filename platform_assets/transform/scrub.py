r"""Removing e-mail addresses, card numbers and network addresses from free text, in SQL.

Belongs here: which texts are looked at closely, and the functions that the engine calls for those. Does not belong here: what
is personal and how it is found (`personal.py`), which columns are scrubbed, and of what (the contract says), masking of whole
values (`masking.py`).

One regular expression decides whether a text is looked at closely. It must hold for every text that has something to remove, and
should hold for few others: what it lets through costs about as much as all else that is done for a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import duckdb
import pyarrow as pa
from duckdb.func import PythonUDFType
from duckdb.sqltypes import VARCHAR

from platform_assets.transform.personal import replaced
from platform_assets.transform.sql import matches, replace_all

_H = "[0-9A-Fa-f]"
# Escape sequences of terminals that have no text within.
_SEQUENCE = r"(?:(?:\x1b\[|\x{9b})[0-?]*[ -/]*(?:[@-~]|=[0-9A-Fa-f]{2})|\x1b(?:[ -/]{1,3}[0-~]|[0-Z\\^-~]))"
# An encoded character of any kind in its outermost layer.
_UNIT = rf"(?:[%=]{_H}{{2}}|&#?[0-9A-Za-z]{{1,31}};?|\\+[uUxX]\{{?{_H}{{2,8}}\}}?|\\+[0-7]{{3}}|\\+[nrt]|=[\r\n]+)"
# What shows nothing, apart from that.
_SILENT = r"[\p{Cf}\p{M}\x00\x7f\x{115f}\x{1160}\x{2065}\x{3164}\x{ffa0}\x{fff0}-\x{fff8}\x{fffd}\x{e0000}-\x{e0fff}]"
# What may stand between the digits of a card number.
_BLANK = r"[^0-9A-Za-z,:;\"'()\[\]{}<>\x1b]"
# Encoded characters that may be part of a further encoding, a letter, a digit, or an at sign; escape sequences.
_HIDING = "|".join(
    [
        rf"%(?:2[56]|3[0-9]|4{_H}|5[0-9AaCc]|6{_H}|7[0-9Aa]|[uU]{_H}|[Cc][01]%|[Ee][Ff]%)",
        r"%3[Dd](?:4(?:0|%)|[%=&\\]|3[0-9Dd]|2[56]|5[Cc])",
        r"&%23|&#|&(?i:commat|num|percnt|bsol|equals);|&(?i:amp);(?:[#%=&\\]|[A-Za-z0-9]{2,31};)",
        rf"\w{_SEQUENCE}+\w|[0-9]{_BLANK}*(?:{_SEQUENCE}{_BLANK}*)+(?:[0-9=]|[^\x00-\x7f])",
        r"%1[Bb]|=1[Bb](?:[78]|[^0-9A-Za-z\s;&])|\x1b[\]PX^_]|[\x{90}\x{98}\x{9d}-\x{9f}]|%[Cc]2%9|=[Cc]2=9",
        rf"\\[uUxX](?:{_H}|[{{=%&])|\\[0-3][0-7]{{2}}",
        r"=40[0-9]{0,20}[^0-9&;\s\"]|=3[Dd]|=25(?:[0-9A-Fa-f]{2}|[=%&\\])|=26[#=%\\A-Za-z]|=5[Cc]|=[Ee][Ff]=",
    ]
)
_DOTS = r".\x{b7}\x{387}\x{2022}\x{2219}\x{22c5}\x{30fb}\x{ff65}\x{3002}\x{fe12}\x{ff61}\x{ff0e}\x{2024}\x{fe52}"
_EMAIL = rf"[@\x{{ff20}}\x{{fe6b}}][^\s@\"]*[%=&\\{_DOTS}]"
_DIGIT = r"(?:[\p{Nd}\p{No}]|[=%]3[0-9])"
_FOREIGN_DIGIT = rf"[^\x00-\x7f]|[=%]3[0-9]|(?:[=%]{_H}{{2}}){{2,4}}"
_GAP = rf"(?:[^0-9A-Za-z,:;\"'()\[\]{{}}<>]|{_UNIT})*"
# Thirteen digits with gaps; the first is an issuer's, or one that cannot be told here.
_CARD = rf"(?:^|[^0-9])0*(?:[2-689]|{_FOREIGN_DIGIT})(?:{_GAP}(?:[0-9]|{_FOREIGN_DIGIT})){{12}}"
_DOT = rf"(?:[\p{{Cf}}\p{{Me}}]?(?:[{_DOTS}]|[%=]2[Ee]|&period;|\\+\.)[\p{{Cf}}\p{{Me}}]?)"
_COLON = (
    r"(?:[\p{Cf}\p{Me}]?(?:[:\x{ff1a}\x{a789}\x{2236}\x{2d0}\x{10781}\x{fe55}\x{fe13}]|[%=]3[Aa]|&colon;|\\+:)"
    r"[\p{Cf}\p{Me}]?)"
)
_WIDE = rf"[%=](?:7[Ff]|[C-Fc-f]{_H}(?:[%=][89ABab]{_H}){{1,3}})"
_HEX = rf"(?:[0-9A-Fa-f]|[^\x00-\x7f]|={_H}{{2}})"
_ADDRESS = "|".join(
    [
        f"{_DIGIT}{_DOT}{_DIGIT}{{1,3}}{_DOT}{_DIGIT}{{1,3}}{_DOT}{_DIGIT}",
        f"{_HEX}{_COLON}{{2}}{_HEX}",
        f"{_COLON}{_HEX}{{1,4}}{_COLON}{{2}}",
        f"{_COLON}{{2}}{_HEX}{{1,4}}{_COLON}",
        f"(?:{_HEX}{{1,4}}{_COLON}){{6}}",
        # What shows nothing, within an address: a repetition of it in the patterns above would multiply their cost.
        rf"[\p{{Nd}}A-Fa-f{_DOTS}:\x{{ff1a}}](?:{_SILENT}|{_SEQUENCE})+[\p{{Nd}}A-Fa-f{_DOTS}:\x{{ff1a}}&%=\\]",
        rf"[0-9A-Fa-f.:](?:{_WIDE})+[0-9.:]|[0-9.:](?:{_WIDE})+[A-Fa-f]",
        r"[0-9A-Fa-f.:]%00%",
    ]
)
# What only resembles an address goes from excerpts too: hardware addresses, parts of words.
_LIKE_IPV6 = (
    r"(?i)(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?"
    r"|::[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6}"
)


def scrub_text(sql: str, *, addresses: bool) -> str:
    """The text expression `sql` with e-mails as `[email]`, card numbers as `[card]`, if asked network addresses as `[ip]`."""
    return _scrubbed(sql, addresses=addresses, json=False)


def scrub_json(sql: str, *, addresses: bool) -> str:
    """Minified JSON text with the same removed from names, strings and numbers; still valid JSON."""
    return _scrubbed(sql, addresses=addresses, json=True)


def scrub_excerpt(sql: str, *, json: bool) -> str:
    """The text expression `sql` with all of them removed, and what resembles an address; JSON perhaps torn."""
    return replace_all(_scrubbed(sql, addresses=True, json=json), _LIKE_IPV6, "[ip]")


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the connection the functions that the expressions of this module call."""
    for addresses in (False, True):
        for json in (False, True):
            name = _function(addresses=addresses, json=json)
            function = _on_arrow(addresses=addresses, json=json)
            connection.create_function(name, function, [VARCHAR], VARCHAR, type=PythonUDFType.ARROW)


def _scrubbed(sql: str, *, addresses: bool, json: bool) -> str:
    # A CASE evaluates its results only for the rows that need them.
    pattern = "|".join([_EMAIL, _HIDING, _CARD, *([_ADDRESS] if addresses else [])])
    return f"CASE WHEN {matches(sql, pattern)} THEN {_function(addresses=addresses, json=json)}({sql}) ELSE {sql} END"


def _function(*, addresses: bool, json: bool) -> str:
    return f"scrub_{'json' if json else 'text'}{'_of_addresses' if addresses else ''}"


def _on_arrow(*, addresses: bool, json: bool) -> Callable[[pa.ChunkedArray[Any]], pa.Array[Any]]:
    # DuckDB evaluates the annotations of a function, and Arrow's types have no subscripts then: a lambda has none.
    return lambda column: pa.array(
        replaced(cast(list[str], column.to_pylist()), addresses=addresses, json=json), pa.string()
    )
