"""Words with and without wildcards, as queries of texts and keywords.

Belongs here: which query finds a word, a phrase or a pattern in a field. It follows the analyzer of texts (`analysis.py`): words
are runs of letters and digits, and what people write as one (`java.io.IOException`) is a phrase of them. Does not belong here:
which fields are asked (`clauses.py`).

A pattern costs what it reads: a prefix the terms that begin so, any other all terms of the field. So patterns have few wildcards
and some characters of their own, and those among the words of a phrase may stand for `MAX_EXPANSIONS` words at most.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby
from typing import Any

from platform_assets.index.errors import QueryError
from platform_assets.index.syntax import Value

MAX_WILDCARDS = 8
"""Of one value: each may multiply the states of the automaton that looks for it."""
MAX_EXPANSIONS = 1024

_PARTS = re.compile(r"\\.|.", re.DOTALL)
_SINGLES = re.compile(r"[\u1100-\u11ff\u3040-\u309f\u3400-\u9fff\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Characters that are words by themselves (Han, Hiragana) or pairs of such (Hangul): among them a star adds nothing."""
_SYLLABLE = re.compile(r"[\uac00-\ud7a3]")
"""A Hangul syllable: the index has pairs of them, which begin with it."""
_LIGATURES = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "\u0131": "i", "þ": "th", "\u03c2": "\u03c3"}
)
_SILENT = frozenset("PZC")
_SILENT_SYMBOLS = frozenset({"Sm", "Sc", "Sk", "No"})
_ACCENT = re.compile(r"[\u0300-\u036f]")


def sayable(value: Value) -> bool:
    """Whether there is anything in it that a text is searched for: letters, digits, pictures."""
    text = "".join(part for part in _PARTS.findall(value.text) if part not in "*?") if value.wild else value.text
    categories = (unicodedata.category(character) for character in text)
    return any(one[0] not in _SILENT and one not in _SILENT_SYMBOLS for one in categories)


def in_text(field: str, value: Value) -> dict[str, Any]:
    """The query for a word, a phrase or a pattern in a text. Raises QueryError for what no text is searched for."""
    if not sayable(value):
        raise QueryError(
            f"there is no letter or digit in {value.text!r}", f"{field} is searched by words", position=value.at
        )
    if not value.wild:
        kind = "match_bool_prefix" if _SYLLABLE.fullmatch(value.text) else "match_phrase"
        return {kind: {field: value.text}}
    _check(value)
    found = _pattern(field, value)
    if "*" in _wildcards(value.text):
        return found
    # A question mark may also be one: /search?q=1 holds no wildcard.
    return {"bool": {"should": [found, {"match_phrase": {field: _plain(value.text)}}], "minimum_should_match": 1}}


def in_keyword(path: str, value: Value, *, flat: bool = False) -> dict[str, Any]:
    """The query for a pattern in a keyword, or (`flat`) in a member of a flat object. Raises QueryError for a costly one."""
    _check(value)
    parts = _PARTS.findall(value.text)
    if parts[-1] == "*" and not any(part in "*?" for part in parts[:-1]):
        return {"prefix": {path: _plain("".join(parts[:-1]))}}
    # The path of a member is part of the pattern.
    return {"wildcard": {re.sub(r"([\\*?])", r"\\\1", path) if flat else path: value.text}}


def _check(value: Value) -> None:
    parts = _PARTS.findall(value.text)
    wild = [part for part in parts if part in ("*", "?")]
    if len(wild) > MAX_WILDCARDS:
        raise QueryError(f"{value.text} has {len(wild)} wildcards, {MAX_WILDCARDS} are allowed", position=value.at)
    if len(parts) == len(wild):
        raise QueryError(f"{value.text} says nothing: wildcards stand beside other characters", position=value.at)


def _wildcards(pattern: str) -> set[str]:
    return {part for part in _PARTS.findall(pattern) if part in ("*", "?")}


def _plain(pattern: str) -> str:
    """The pattern's own characters; its wildcards are characters as others."""
    return "".join(part[-1] for part in _PARTS.findall(pattern))


def _pattern(field: str, value: Value) -> dict[str, Any]:
    """A word that begins, ends or goes on in any way, or several in a row."""
    words = _words(value)
    if not any(wild for _, wild in words):
        return {"match_phrase": {field: " ".join(text for text, _ in words)}}
    if len(words) == 1:
        [(text, _)] = words
        begins = _begins(text)
        # The node folds what it analyzes; a wildcard it takes as it is.
        return {"match_bool_prefix": {field: begins}} if begins else {"wildcard": {field: _folded(text)}}
    rules: list[dict[str, Any]] = []
    for wild, some in groupby(words, key=lambda word: word[1]):
        if wild:
            rules += [{"wildcard": {"pattern": text, "max_expansions": MAX_EXPANSIONS}} for text, _ in some]
        else:
            query = " ".join(text for text, _ in some)
            rules.append({"match": {"query": query, "ordered": True, "max_gaps": 0}})
    return {"intervals": {field: {"all_of": {"intervals": rules, "ordered": True, "max_gaps": 0}}}}


def _begins(text: str) -> str:
    """What a word of letters begins with, where a star at its end is its only wildcard."""
    return text[:-1] if text.endswith("*") and not set(text[:-1]) & set("*?") else ""


def _folded(text: str) -> str:
    """Without case and accents, as the index has it."""
    bare = _ACCENT.sub("", unicodedata.normalize("NFD", text.lower().translate(_LIGATURES)))
    return unicodedata.normalize("NFC", bare)


def _words(value: Value) -> list[tuple[str, bool]]:
    """The words of a pattern, and whether each has wildcards. Stars that stand alone at an end add nothing and are left out."""
    kinds = [(part, _kind(part)) for part in _PARTS.findall(value.text)]
    words: list[tuple[str, bool]] = []
    for kind, some in groupby(kinds, key=lambda one: one[1]):
        text = "".join(part[-1] for part, _ in some)
        if text == "*" and words and _SYLLABLE.fullmatch(words[-1][0]):
            words[-1] = (f"{words[-1][0]}*", True)
            continue
        if kind != " ":
            words.append((text, kind == "w" and bool(set(text) & set("*?"))))
    alone = [wild and not set(text) - set("*?") for text, wild in words]
    while words and alone[-1]:
        del words[-1], alone[-1]
    while words and alone[0]:
        del words[0], alone[0]
    if any(alone):
        raise QueryError(
            f"in {value.text} a wildcard stands alone between words", "look for the words one by one", position=value.at
        )
    return words


def _kind(part: str) -> str:
    """`w` within a word, `s` a word by itself, a blank between words. An escaped wildcard is no letter."""
    if part in ("*", "?"):
        return "w"
    character = part[-1]
    if _SINGLES.match(character):
        return "s"
    return "w" if character.isalnum() or _ACCENT.match(character) else " "
