"""Small pieces of SQL text that every part of the transform SELECT uses.

Belongs here: quoting and generic building blocks. Does not belong here: anything that knows a contract.
"""

from __future__ import annotations

from collections.abc import Iterable

JSON_STRING = r'"(?:[^"\\]|\\.)*"'
"""RE2 for one string of a JSON text."""


def literal(text: str) -> str:
    """The SQL string literal of a text (which must not hold NUL)."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """The quoted SQL identifier of a name."""
    return '"' + name.replace('"', '""') + '"'


def text_list(items: Iterable[str]) -> str:
    """`'a', 'b'`: string literals, comma separated."""
    return ", ".join(literal(item) for item in items)


def one_of(sql: str, items: Iterable[str]) -> str:
    """True where the text expression `sql` is one of the items; NULL where it is NULL."""
    return f"{sql} IN ({text_list(items)})"


def replace_all(sql: str, pattern: str, replacement: str) -> str:
    """Every match of an RE2 pattern in the text expression `sql` replaced (`\\1` refers to a group)."""
    return f"regexp_replace({sql}, {literal(pattern)}, {literal(replacement)}, 'g')"


def escaped(sql: str) -> str:
    r"""The text of a blob expression, with each byte outside ASCII and each control character as `\xNN`, as web servers do.

    Tabs and line ends stay.
    """
    text = f"CAST({sql} AS VARCHAR)"  # escapes quotes and backslashes too
    for code in ("22", "27", "09", "0A", "0D", "5C"):  # the backslash last: it begins the others
        text = f"replace({text}, {literal(chr(92) + 'x' + code)}, chr({int(code, 16)}))"
    return text


def is_blank(sql: str) -> str:
    """True where the text expression `sql` has nothing but blanks and line ends."""
    return f"trim({sql}, ' ' || chr(9) || chr(10) || chr(13)) = ''"


def matches(sql: str, pattern: str) -> str:
    """True where the RE2 pattern occurs in the text expression `sql`."""
    return f"regexp_matches({sql}, {literal(pattern)})"


def without_strings(sql: str) -> str:
    """A JSON text with each string emptied, so that what is left is structure, numbers and words."""
    return replace_all(sql, f"(?s){JSON_STRING}", '""')


def occurs_outside_strings(sql: str, pattern: str) -> str:
    """True where the pattern occurs in a JSON text outside its strings; the strings are removed only where it may."""
    return f"CASE WHEN {matches(sql, pattern)} THEN {matches(without_strings(sql), pattern)} ELSE false END"


def select(columns: str, relation: str) -> str:
    """`SELECT columns FROM relation`; every part is compiled from a contract, never taken from data."""
    return f"SELECT {columns} FROM {relation}"  # noqa: S608


def first_true(cases: Iterable[tuple[str, str]]) -> str:
    """A CASE with the result of the first condition that holds; NULL if none does.

    Conditions are evaluated in order and only on rows that no earlier one took: later ones may be costly.
    """
    return "CASE " + " ".join(f"WHEN {condition} THEN {result}" for condition, result in cases) + " END"
