"""Contracts from files: an ODCS 3.x document, strictly loaded, as the platform's model.

Belongs here: finding and loading documents, refusing what the standard's model would silently ignore.
Does not belong here: what each property means (`mapping.py`), whether the promise makes sense (`checks.py`).
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from open_data_contract_standard.model import OpenDataContractStandard
from pydantic import ValidationError

from platform_assets.contracts.checks import validate
from platform_assets.contracts.errors import ContractError, at
from platform_assets.contracts.mapping import map_contract
from platform_assets.contracts.model import Contract

FILE_NAME = "contract.yaml"
API_VERSIONS = ("v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0", "v3.2.0")


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice (the usual loader keeps the last one and says nothing)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(getattr(key_node, "value", key_node))
            if key in seen:
                mark = key_node.start_mark
                raise ContractError(f"line {mark.line + 1}: the key '{key}' is given twice", "remove one of them")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_contract(path: Path | Traversable) -> Contract:
    """The contract in this file, checked. Raises ContractError naming file, place, problem and what is allowed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{path}: cannot be read ({error})", "a contract is a UTF-8 YAML file") from error
    try:
        return parse_contract(text)
    except ContractError as error:
        raise ContractError(f"{path}: {error.message}", error.hint) from error


def parse_contract(text: str) -> Contract:
    """The contract in this YAML text, checked. Raises ContractError."""
    raw = strict_yaml(text)
    if not isinstance(raw, dict):
        raise ContractError("not a contract: the document is no mapping", "see the Open Data Contract Standard 3.x")
    if raw.get("kind") != "DataContract":
        raise at("kind", f"is {raw.get('kind')!r}", "DataContract")
    if raw.get("apiVersion") not in API_VERSIONS:
        raise at("apiVersion", f"is {raw.get('apiVersion')!r}", ", ".join(API_VERSIONS))
    try:
        document = OpenDataContractStandard.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise at(place, first["msg"], "see the Open Data Contract Standard 3.x") from error
    _refuse_unknown(raw, document.model_dump(by_alias=True, exclude_unset=True), "")
    contract = map_contract(document)
    validate(contract)
    return contract


def strict_yaml(text: str) -> Any:
    """The YAML document in this text. Raises ContractError when it is none, or gives a key twice."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - derives from SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ContractError(f"{line}not YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError as error:
        raise ContractError("not YAML: nested too deep") from error


def load_contracts(root: Path | None = None) -> dict[str, Contract]:
    """All contracts by system: `<root>/<system>/contract.yaml`, by default those packaged with the platform.

    Raises ContractError when a contract is wrong or names another system than its folder.
    """
    base: Path | Traversable = root if root is not None else files("platform_assets.systems")
    contracts = {}
    for folder in sorted(base.iterdir(), key=lambda entry: entry.name):
        path = folder / FILE_NAME
        if not folder.is_dir() or not path.is_file():
            continue
        contract = read_contract(path)
        if contract.system != folder.name:
            raise ContractError(f"{path}: name: is '{contract.system}'", f"the folder's name, '{folder.name}'")
        contracts[contract.system] = contract
    return contracts


def _refuse_unknown(raw: Any, known: Any, place: str) -> None:
    """Raise for a key that the standard's model dropped: a misspelt check would be no check."""
    if isinstance(raw, dict) and isinstance(known, dict):
        for key, value in raw.items():
            here = f"{place}.{key}" if place else str(key)
            if key not in known:
                raise at(
                    here, "is no property of the standard", "check the spelling; extensions go into customProperties"
                )
            _refuse_unknown(value, known[key], here)
    elif isinstance(raw, list) and isinstance(known, list):
        for index, (value, kept) in enumerate(zip(raw, known, strict=True)):
            name = value.get("name", index) if isinstance(value, dict) else index
            _refuse_unknown(value, kept, f"{place}[{name}]")
