"""Contracts from files: ODCS 3.x documents, strictly loaded, as the platform's model; each system by itself.

Belongs here: finding and loading documents, refusing what the standard's model would silently ignore, keeping the mistakes of one
system away from the others. Does not belong here: YAML itself (`document.py`), what each property means (`mapping.py`), whether
the promise makes sense (`checks.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from open_data_contract_standard.model import OpenDataContractStandard
from pydantic import ValidationError

from platform_assets.contracts.checks import mistakes_of
from platform_assets.contracts.document import Document, model_mistakes, parse_document, read_text, understood
from platform_assets.contracts.errors import ContractError, at
from platform_assets.contracts.mapping import map_contract
from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError, Mistake, Mistakes

FILE_NAME = "contract.yaml"
API_VERSIONS = ("v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0", "v3.2.0")
_STANDARD = "see the Open Data Contract Standard 3.x"
_ROUNDS = 20
"""So often the standard's model is asked again without what it refused."""


@dataclass(frozen=True)
class Systems:
    """The systems that there are: the contracts of those that are valid, and all mistakes of those that are not."""

    contracts: Mapping[str, Contract] = field(default_factory=dict)
    broken: Mapping[str, tuple[Mistake, ...]] = field(default_factory=dict)


def packaged_systems() -> Path:
    """The folder of the systems that come with the platform."""
    return Path(str(files("platform_assets.systems")))


def load_systems(root: Path | None = None) -> Systems:
    """Every folder `<root>/<system>` with its contract, by default those that come with the platform.

    A contract that is wrong or missing, or names another system than its folder, is in `broken` and keeps no other from being
    loaded. Names that begin with a dot or an underscore are no systems.
    """
    contracts: dict[str, Contract] = {}
    broken: dict[str, tuple[Mistake, ...]] = {}
    for name in system_names(root):
        try:
            contracts[name] = load_contract(name, root)
        except AssayError as error:
            broken[name] = error.mistakes
    return Systems(contracts, broken)


def load_contracts(root: Path | None = None) -> dict[str, Contract]:
    """All contracts by system, for those that need them all. Raises ContractError with every mistake of every contract."""
    found = load_systems(root)
    if found.broken:
        raise ContractError.of(mistake for mistakes in found.broken.values() for mistake in mistakes)
    return dict(found.contracts)


def system_names(root: Path | None = None) -> list[str]:
    """The names of all systems, valid or not. Raises ContractError when the folder cannot be read."""
    base = root or packaged_systems()
    try:
        entries = sorted(base.iterdir())
    except OSError as error:
        raise ContractError(f"{base}: cannot be read ({error.strerror})", "name a folder of systems") from error
    # A link that leads nowhere is a system that was there once.
    return [e.name for e in entries if e.name[0] not in "._" and (e.is_dir() or (e.is_symlink() and not e.exists()))]


def load_contract(system: str, root: Path | None = None) -> Contract:
    """The contract in the system's folder. Raises ContractError with all of its mistakes."""
    path = (root or packaged_systems()) / system / FILE_NAME
    contract = read_contract(path)
    if contract.system != system:
        error = at("name", f"is '{contract.system}'", f"the folder's name, '{system}'")
        document = parse_document(read_text(path, "a contract"), Mistakes())
        line = document.line("name") if document else None
        raise ContractError.of(replace(mistake, file=str(path), line=line) for mistake in error.mistakes)
    return contract


def read_contract(path: Path) -> Contract:
    """The contract in this file, checked. Raises ContractError naming file, line, place, problem and what is allowed."""
    text = read_text(path, "a contract")
    found = _parsed(text)
    if isinstance(found, Contract):
        return found
    raise ContractError.of(replace(mistake, file=str(path)) for mistake in found)


def parse_contract(text: str) -> Contract:
    """The contract in this YAML text, checked. Raises ContractError with all of its mistakes."""
    found = _parsed(text)
    if isinstance(found, Contract):
        return found
    raise ContractError.of(found)


@lru_cache(maxsize=256)
def _parsed(text: str) -> Contract | tuple[Mistake, ...]:
    """The contract in a text, or its mistakes. Remembered: servers look again and again at files that have not changed."""
    found = Mistakes()
    document = parse_document(text, found)
    contract = found.get(understood, lambda: _contract(document, found)) if document is not None else None
    if contract is not None and not found.found:
        return contract
    located = [document.located(mistake) if document else mistake for mistake in found.found]
    return tuple(sorted(dict.fromkeys(located), key=lambda mistake: mistake.line or 0))


def _contract(document: Document, found: Mistakes) -> Contract | None:
    """The contract of a document; its mistakes go to `found`, and then it may lack what was wrong."""
    raw = document.value
    if not isinstance(raw, dict):
        raise ContractError("not a contract: the document is no mapping", _STANDARD)
    if raw.get("kind") != "DataContract":
        found.note(at("kind", f"is {raw.get('kind')!r}", "DataContract"))
    if raw.get("apiVersion") not in API_VERSIONS:
        found.note(at("apiVersion", f"is {raw.get('apiVersion')!r}", ", ".join(API_VERSIONS)))
    standard, refused = _standard(raw, found)
    if standard is None:
        return None
    inner = Mistakes()
    contract, partial = map_contract(standard, inner)
    inner.found += mistakes_of(contract, partial)
    # What the standard's model refused was taken out of the document, and is not missed a second time.
    found.found += [m for m in inner.found if not any(m.place.startswith(place) for place in refused)]
    return contract


def _standard(raw: dict[str, Any], found: Mistakes) -> tuple[OpenDataContractStandard | None, list[str]]:
    """The standard's model of a document, without what it refuses; the places of that."""
    kept, refused = copy.deepcopy(raw), []
    for _ in range(_ROUNDS):
        try:
            document = OpenDataContractStandard.model_validate(kept)
        except ValidationError as error:
            wrong = list(model_mistakes(error, kept, _STANDARD))
            found.found += [mistake for mistake, _ in wrong]
            refused += [mistake.place for mistake, _ in wrong]
            if not all(path for _, path in wrong):
                return None, refused
            for path in sorted((path for _, path in wrong), key=_order, reverse=True):
                _remove(kept, path)
        else:
            found.found += _unknown(kept, document.model_dump(by_alias=True, exclude_unset=True), "")
            return document, refused
    return None, refused


def _order(path: tuple[Any, ...]) -> list[tuple[bool, int, str]]:
    """Elements of a list in their order, so that the last is removed first."""
    return [(isinstance(part, int), part if isinstance(part, int) else 0, str(part)) for part in path]


def _remove(value: Any, path: tuple[Any, ...]) -> None:
    for part in path[:-1]:
        if not isinstance(value, dict | list) or (isinstance(value, dict) and part not in value):
            return  # removed with what was around it
        value = value[part]
    if isinstance(value, dict):
        value.pop(path[-1], None)
    elif isinstance(value, list) and path[-1] < len(value):
        del value[path[-1]]


def _unknown(raw: Any, known: Any, place: str) -> Iterator[Mistake]:
    """Every key that the standard's model dropped: a misspelt check would be no check."""
    if isinstance(raw, dict) and isinstance(known, dict):
        for key, value in raw.items():
            here = f"{place}.{key}" if place else str(key)
            if key not in known:
                hint = "check the spelling; extensions go into customProperties"
                yield from at(here, "is no property of the standard", hint).mistakes
            else:
                yield from _unknown(value, known[key], here)
    elif isinstance(raw, list) and isinstance(known, list):
        for index, (value, kept) in enumerate(zip(raw, known, strict=True)):
            name = value.get("name", index) if isinstance(value, dict) else index
            yield from _unknown(value, kept, f"{place}[{name}]")
