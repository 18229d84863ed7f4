"""YAML documents of a system's folder: strictly read, bounded, and with the line of each place.

Belongs here: reading text, keys given twice, places. Does not belong here: what a document means (`read.py`, `alerts/read.py`,
`reports/declare.py`, `marts/marts.py`).

A place is written as in `schema[events].properties[level].required` or `rules.errors_many.where`: an element of a list is named
by its `name` or `property`, else by its number from 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import ValidationError

from platform_assets.contracts.errors import ContractError
from platform_assets.core.errors import AssayError, Mistake, Mistakes

MAX_BYTES = 2 * 1024 * 1024
MAX_NODES = 200_000
"""Values of a document, an alias counted as often as it is used."""
_STEP = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")
_NAMES = ("name", "property")
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""What an escape in a quoted text may stand for, and neither SQL nor UTF-8 can hold."""
T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """The usual safe loader keeps the last of a key's two values and says nothing: this one notes the second as a mistake."""

    twice: list[yaml.Node]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(getattr(key_node, "value", key_node))
            if key in seen:
                self.twice.append(key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and _NO_TEXT.search(value):
            raise yaml.constructor.ConstructorError(
                None, None, "a character that cannot be stored: NUL, or half of a surrogate pair", node.start_mark
            )
        return value


@dataclass(frozen=True)
class Declared(Generic[T]):
    """What a file declares, by name: what is valid of it, and the mistakes of the rest."""

    valid: Mapping[str, T] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True)
class Document:
    """A YAML document: its values, and where each of them stands."""

    value: Any
    root: yaml.Node | None

    def written(self, place: str) -> str | None:
        """The text of a scalar value as it is written, which a number is read from; None where there is none."""
        node = self.root
        for named, plain in _STEP.findall(place):
            step = _child(node, named or plain)
            node = None if step is None else step[0]
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def line(self, place: str) -> int | None:
        """The line (from 1) of a place, or of the nearest one around it that is there; None for the document itself."""
        node, found = self.root, None
        for named, plain in _STEP.findall(place):
            step = _child(node, named or plain)
            if step is None:
                break
            node, found = step
        return found

    def place(self, node: yaml.Node) -> str:
        """The place of a key or a value; empty when it is not below the document's root."""
        return _path(self.root, node) or ""

    def located(self, mistake: Mistake) -> Mistake:
        """The mistake with its line, where it has none."""
        return mistake if mistake.line else replace(mistake, line=self.line(mistake.place))


def parse_document(text: str, found: Mistakes) -> Document | None:
    """The YAML document in this text, and every key that it gives twice as a mistake; None when it is no YAML."""
    try:
        loader = _Loader(text)  # looks at every character
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        said = f"not YAML: the character U+{ord(text[error.position]):04X} is not allowed"
        found.found.append(Mistake(said, "remove it", line=line))
        return None
    loader.twice = []
    try:
        root = loader.get_single_node()
        if _size(root, {}, set()) > MAX_NODES:
            found.found.append(Mistake(f"has more than {MAX_NODES:,} values", "shorten it, or use fewer aliases"))
            return None
        value = loader.construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        words = " ".join(str(getattr(error, "problem", None) or error).split())
        found.found.append(Mistake(f"not YAML: {words}", line=mark.line + 1 if mark else None))
        return None
    except (RecursionError, ValueError, TypeError, OverflowError) as error:
        words = "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        found.found.append(Mistake(f"not YAML: {words}"))
        return None
    finally:
        loader.dispose()
    document = Document(value, root)
    for node in loader.twice:
        line, place = node.start_mark.line + 1, document.place(node)
        found.found.append(Mistake(f"the key '{node.value}' is given twice", "remove one of them", place, line=line))
    return document


def read_text(path: Path, what: str) -> str:
    """The text of a file of declarations. Raises ContractError when it cannot be read; `what` names its kind, e.g. a contract."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) <= MAX_BYTES:
                return content.decode("utf-8-sig")
            words = f"it is larger than {MAX_BYTES:,} bytes"
        else:
            words = "it is no regular file" if path.exists() else "it is missing"
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    hint = f"{what} is a UTF-8 YAML file"
    raise ContractError.of([Mistake(f"cannot be read ({words})", hint, file=str(path))])


def understood(read: Callable[[], T]) -> T:
    """What `read` returns. An error that nobody foresaw is a mistake of the document it was reading. Raises AssayError."""
    try:
        return read()
    except AssayError:
        raise
    except Exception as error:  # whatever one document does to the program, the others are read
        words = " ".join(str(error).split())[:200]
        raise ContractError(
            f"cannot be understood ({type(error).__name__}: {words})", "see the documentation"
        ) from error


def model_mistakes(error: ValidationError, raw: Any, hint: str) -> Iterator[tuple[Mistake, tuple[Any, ...]]]:
    """Each mistake that a pydantic model found in `raw`, once a place, and its path as far as `raw` has it."""
    seen: set[str] = set()
    entries = error.errors(include_url=False, include_input=False)
    for entry in entries:
        loc = entry["loc"]
        if entry["type"] == "too_short" and any(other["loc"][: len(loc)] == loc != other["loc"] for other in entries):
            continue  # only because what is in it is wrong
        place, path = _place_of(raw, loc, entry["type"] in ("missing", "extra_forbidden"))
        if place not in seen:
            seen.add(place)
            message = " ".join(str(entry["msg"]).split())
            yield Mistake(f"{place or 'the document'}: {message}", hint, place), path


def _place_of(raw: Any, path: Sequence[Any], last_is_a_key: bool) -> tuple[str, tuple[Any, ...]]:
    """The written place of a model's path, which also names union members; the steps of it that `raw` has."""
    place, steps = "", []
    for number, part in enumerate(path):
        here = isinstance(raw, dict) and part in raw
        there = isinstance(raw, list) and isinstance(part, int) and part < len(raw)
        if not (here or there):
            if last_is_a_key and number == len(path) - 1:
                place += f".{part}" if place else str(part)
            continue
        raw = raw[part]
        steps.append(part)
        if there:
            place += f"[{_name(raw, part)}]"
        else:
            place += f".{part}" if place else str(part)
    return place, tuple(steps)


def _name(value: Any, number: int) -> Any:
    named = [value[key] for key in _NAMES if key in value] if isinstance(value, dict) else []
    return named[0] if named and isinstance(named[0], str) else number


def _child(node: yaml.Node | None, name: str) -> tuple[yaml.Node, int] | None:
    """The node below, and its line."""
    if isinstance(node, yaml.MappingNode):
        return next(((v, k.start_mark.line + 1) for k, v in node.value if getattr(k, "value", None) == name), None)
    if isinstance(node, yaml.SequenceNode):
        for number, entry in enumerate(node.value):
            named = [child for child in (_child(entry, key) for key in _NAMES) if child is not None]
            called = getattr(named[0][0], "value", None) if named else None
            if name == called or (called is None and name == str(number)):
                return entry, entry.start_mark.line + 1
        if name.isdigit() and int(name) < len(node.value):
            entry = node.value[int(name)]
            return entry, entry.start_mark.line + 1
    return None


def _path(node: yaml.Node | None, wanted: yaml.Node) -> str | None:
    """The place of `wanted` below `node`; None when it is not there."""
    steps: list[tuple[str, Sequence[yaml.Node]]] = []
    if isinstance(node, yaml.MappingNode):
        steps = [(f".{getattr(key, 'value', '')}", (key, value)) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        for number, entry in enumerate(node.value):
            named = [child for child in (_child(entry, key) for key in _NAMES) if child is not None]
            steps.append((f"[{getattr(named[0][0], 'value', number) if named else number}]", (entry,)))
    for step, nodes in steps:
        for below in nodes:
            if below is wanted:
                return step.removeprefix(".")
            if (rest := _path(below, wanted)) is not None:
                return f"{step}{rest}" if rest.startswith("[") else f"{step}.{rest}".removeprefix(".")
    return None


def _size(node: yaml.Node | None, known: dict[int, int], above: set[int]) -> int:
    """How many values a node stands for; raises RecursionError for one that contains itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in above:
        raise RecursionError
    if id(node) not in known:
        above.add(id(node))
        children = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_size(child, known, above) for child in children)
        above.discard(id(node))
    return known[id(node)]
