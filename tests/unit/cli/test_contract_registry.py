"""A contract comes into force by the rules of compatibility, once, whoever asks."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from platform_assets.contracts.model import Contract, Field
from platform_assets.contracts.read import load_contracts
from platform_assets.contracts.registry import accept_contract, accepted_file, compare_contract
from platform_assets.core.errors import AssayError
from platform_assets.core.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, tmp_path / "lake", {})


@pytest.fixture(scope="module")
def contract() -> Contract:
    return replace(load_contracts()["logs"], version="1.0.0")


def changed(contract: Contract, version: str, fields: tuple[Field, ...]) -> Contract:
    first, *others = contract.tables
    return replace(contract, version=version, tables=(replace(first, fields=fields), *others))


def test_looking_changes_nothing(settings: Settings, contract: Contract) -> None:
    assert compare_contract(settings, contract).state == "first"
    assert not settings.lake_path.exists()


def test_the_first_is_accepted_and_kept_closed(settings: Settings, contract: Contract) -> None:
    assert accept_contract(settings, contract).state == "first"
    assert accept_contract(settings, contract).state == "unchanged"
    path = accepted_file(settings, "logs")
    assert path.stat().st_mode & 0o777 == 0o600
    assert settings.lake_path.stat().st_mode & 0o777 == 0o700


def test_a_removed_field_needs_a_major_version(settings: Settings, contract: Contract) -> None:
    accept_contract(settings, contract)
    fewer = tuple(field for field in contract.tables[0].fields if field.name != "host")
    with pytest.raises(AssayError, match=r"breaks readers: events\.host was removed"):
        accept_contract(settings, changed(contract, "1.1.0", fewer))
    assert compare_contract(settings, contract).state == "unchanged", "a refused contract must not come into force"
    major = accept_contract(settings, changed(contract, "2.0.0", fewer))
    assert (major.state, major.breaking) == ("newer", ("events.host was removed",))


def test_a_change_needs_a_version_and_no_way_leads_back(settings: Settings, contract: Contract) -> None:
    from platform_assets.contracts.model import FieldType

    accept_contract(settings, contract)
    more = (*contract.tables[0].fields, Field("region", FieldType.STRING, source="region"))
    assert not compare_contract(settings, changed(contract, contract.version, more)).passes
    assert accept_contract(settings, changed(contract, "1.1.0", more)).state == "newer"
    with pytest.raises(AssayError, match="lower than"):  # a worker of the former release
        accept_contract(settings, contract)


def test_a_damaged_file_stops_the_worker(settings: Settings, contract: Contract) -> None:
    accept_contract(settings, contract)
    accepted_file(settings, "logs").write_text('{"system": ')
    with pytest.raises(AssayError, match="cannot be read"):
        accept_contract(settings, contract)


def test_of_two_rivals_one_is_refused(settings: Settings, contract: Contract) -> None:
    """Two workers with different contracts of one version start together."""
    accept_contract(settings, contract)
    rivals = [replace(contract, version="1.1.0", description=text) for text in ("one", "other")]
    refused: list[AssayError] = []

    def enter(rival: Contract) -> None:
        try:
            accept_contract(settings, rival)
        except AssayError as error:
            refused.append(error)

    threads = [threading.Thread(target=enter, args=(rival,)) for rival in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
