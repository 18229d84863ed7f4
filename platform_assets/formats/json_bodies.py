"""The body of a request as JSON records.

Belongs here: reading one object or an array of them, strictly. Does not belong here: whether an object keeps a contract.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from typing import Any

from platform_assets.contracts.formats import BodyError


def body_records(body: bytes, most: int) -> list[bytes]:
    """The object, or the array's objects, each written anew: what was evaluated is what is published."""
    try:
        # A float would lose digits of a decimal: the number's own text takes its place, and is written again.
        mark = secrets.token_hex(8)
        found = json.loads(
            body, object_pairs_hook=_unique, parse_constant=_finite, parse_float=lambda text: f"{mark}{_float(text)}"
        )
    except RecursionError:
        raise BodyError("the body is nested too deeply") from None
    except UnicodeDecodeError:
        raise BodyError("the body is not UTF-8") from None
    except ValueError as error:
        text = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise BodyError(f"the body is not JSON: {text}") from None
    events = found if isinstance(found, list) else [found]
    if len(events) > most:  # refused by whoever counts them: not worth writing
        return [b""] * len(events)
    try:
        written = [json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in events]
        return [re.sub(f'"{mark}([^"]*)"', r"\1", text).encode() for text in written]
    except UnicodeEncodeError:
        raise BodyError("a text holds half a surrogate pair") from None
    except RecursionError:
        raise BodyError("the body is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a member is there twice")
    return made


def _finite(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _float(text: str) -> str:
    if not math.isfinite(float(text)):
        raise ValueError("a number is too large")
    return text
