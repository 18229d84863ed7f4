"""The registry of accepted contracts: a contract may follow the one accepted last, or it is refused.

Belongs here: the accepted contracts in the lake's `contracts/`, one file a system. Does not: what breaks readers
(`contracts/compat.py`). The file is written under a lock, and before any row of that contract is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from platform_assets.contracts.compat import breaking_changes, check_compatible, from_json, to_json
from platform_assets.contracts.errors import ContractError
from platform_assets.contracts.model import Contract
from platform_assets.core.errors import AssayError
from platform_assets.core.files import locked, write_private
from platform_assets.core.lake import begin_lake, require_layout
from platform_assets.core.settings import Settings


@dataclass(frozen=True)
class Verdict:
    """How a contract stands to the accepted one. `state`: `first`, `unchanged`, `newer` or `refused` (then see `problem`)."""

    system: str
    version: str
    accepted: str | None  # version of the accepted contract, None when there is none
    state: str
    breaking: tuple[str, ...] = field(default_factory=tuple)  # what breaks readers, allowed or not
    problem: str = ""
    hint: str = ""

    @property
    def passes(self) -> bool:
        """Whether a worker may run with it."""
        return self.state != "refused"


def accepted_file(settings: Settings, system: str) -> Path:
    """Where the accepted contract of a system is kept."""
    return settings.lake_path / "contracts" / f"{system}.json"


def compare_contract(settings: Settings, contract: Contract) -> Verdict:
    """Compare with the accepted contract and change nothing. Raises AssayError when that one cannot be read."""
    return _evaluate(accepted_file(settings, contract.system), contract)


def accept_contract(settings: Settings, contract: Contract) -> Verdict:
    """Accept the contract as the system's present one; a worker calls this before it reads a record.

    Raises AssayError when it breaks readers without a higher major version, was changed without a higher version, or is
    older than what was accepted (a worker of a former release must not write beside its successor).
    """
    require_layout(settings.lake_path)
    path = accepted_file(settings, contract.system)
    verdict = _evaluate(path, contract)
    if verdict.state == "unchanged":
        return verdict
    begin_lake(settings.lake_path)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    with locked(path.with_suffix(".lock")):
        verdict = _evaluate(path, contract)  # another worker may have been faster
        if not verdict.passes:
            raise AssayError(verdict.problem, verdict.hint)
        if verdict.state != "unchanged":
            write_private(path, to_json(contract).encode())
    return verdict


def _evaluate(path: Path, contract: Contract) -> Verdict:
    old = _read(path)
    if old is None:
        return Verdict(contract.system, contract.version, None, "first")
    if to_json(old) == to_json(contract):
        return Verdict(contract.system, contract.version, old.version, "unchanged")
    breaking = tuple(breaking_changes(old, contract))
    try:
        check_compatible(old, contract)
    except ContractError as error:
        return Verdict(contract.system, contract.version, old.version, "refused", breaking, error.message, error.hint)
    return Verdict(contract.system, contract.version, old.version, "newer", breaking)


def _read(path: Path) -> Contract | None:
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ContractError as error:
        raise AssayError(
            f"{path}: {error.message}", "restore it, or delete it to accept the present contract"
        ) from error
    except OSError as error:
        raise AssayError(f"cannot read {path}: {error.strerror}", "run as the user who owns the lake") from error
