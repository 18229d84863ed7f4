"""How a text becomes the words by which it is found.

Belongs here: the analyzers of text fields. Does not belong here: which fields are texts (`mappings.py`), the query of a word
(`words.py`).

A word is a run of letters and digits: `java.io.IOException`, `user_id`, `10.0.0.1` and `key=value` are several words in a row,
and are found by each of them and, as a phrase, as a whole. Parts of a camelCase word and the number of `150ms` are found besides
the word, at its own place, so that phrases stay right. Case, accents and ANSI escape sequences make no difference.
`bench/analyzers.py` measures what that costs.

Everything here is of the module `analysis-common`, which OpenSearch's own distribution includes.
"""

from __future__ import annotations

from typing import Any
from unicodedata import normalize

from platform_assets.core.ansi import SEQUENCE

STORED = "assay_text"
"""The analyzer of what is stored."""
ASKED = "assay_words"
"""The analyzer of what is looked for: a camelCase word is one word there, or it would find each of its parts."""

_ACCENTS = r"[\u0300-\u036f]"
# Punctuation that the tokenizer leaves within words (Unicode's MidLetter, MidNum, MidNumLet, ExtendNumLet), and blanks without
# width.
_JOINERS = (
    ".,:;'_\u00b7\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe55\uff1a\ufe52\uff07\uff0e\u037e\u0589\u060c\u060d\u066c\u07f8"
    "\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b\u200b\ufeff\u202f\u203f\u2040\u2054\ufe33\ufe34\ufe4d\ufe4e\ufe4f\uff3f"
)
# What the tokenizer leaves within words though it shows nothing there: hyphens for line breaks, joiners, marks of direction.
_UNSEEN = r"[\u00ad\u061c\u180e\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f]"
# Letters whose accents the folding of Latin ones leaves alone; and the sign for micro, which is also a Greek letter.
_FOLDED = {letter: normalize("NFD", letter)[0] for letter in "йЙёЁїЇўЎ"} | {"\u00b5": "\u03bc"}
_BORDER = r"(?=\p{Lu})(?:(?<=[\p{Ll}\p{Nd}])|(?<=\p{Lu})(?=\p{Lu}\p{Ll}))"
"""Between two parts of a camelCase word. What fails soonest comes first, in the patterns too: it is tried at each letter."""
_PARTS = (
    rf"{_BORDER}(?=(.{{1,64}}$))",
    rf"{_BORDER}(?<=(^.{{1,64}}))",
    rf"{_BORDER}(?=(.{{1,64}}?){_BORDER})",
    r"^(\p{Nd}+)(\p{L}+)$",
    r"^(\p{L}+)(\p{Nd}+)$",
)


def analysis() -> dict[str, Any]:
    """The settings `analysis` of an index with texts."""
    filters = ["cjk_pairs", "assay_case", "asciifolding"]
    common = {"type": "custom", "char_filter": ["assay_ansi", "assay_joiners"], "tokenizer": "standard"}
    joiners = [f"\\u{ord(one):04x} => \\u0020" for one in _JOINERS]
    return {
        "char_filter": {
            "assay_ansi": {"type": "pattern_replace", "pattern": f"{SEQUENCE}|{_ACCENTS}|{_UNSEEN}", "replacement": ""},
            "assay_joiners": {"type": "mapping", "mappings": joiners + [f"{a} => {b}" for a, b in _FOLDED.items()]},
        },
        "filter": {
            # Han and Hiragana are single characters already; Hangul words are cut into pairs.
            "cjk_pairs": {"type": "cjk_bigram", "ignored_scripts": ["han", "hiragana", "katakana"]},
            "assay_parts": {"type": "pattern_capture", "preserve_original": True, "patterns": list(_PARTS)},
            # The Greek one does what the plain one does, and folds accents and the final sigma.
            "assay_case": {"type": "lowercase", "language": "greek"},
        },
        "analyzer": {
            STORED: {**common, "filter": ["assay_parts", *filters]},
            ASKED: {**common, "filter": filters},
        },
    }
