"""Keys: made once, kept as hashes, found only when whole, valid and not revoked."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from platform_assets.core.errors import AssayError
from platform_assets.serve.keys import KeyStore, Role


def test_a_key_is_found_by_its_whole_text_only(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    key, text = store.add("dash", Role.READER, system="logs", only=("payments",), lifetime=timedelta(days=1))
    assert store.find(text) == key
    assert key.only == ("payments",)
    assert key.system == "logs"
    last = "A" if text[-1] != "A" else "B"
    for wrong in (
        "",
        text[:-1],
        text[:-1] + last,
        text + "A",
        f"assay_{'0' * 12}_{text.rpartition('_')[2]}",
        key.hash,
        "ä",
    ):
        assert store.find(wrong) is None, wrong
    assert store.find(text, datetime.now(UTC) + timedelta(days=1)) is None


def test_the_file_is_private_and_holds_no_secret(tmp_path: Path) -> None:
    _, text = KeyStore(tmp_path).add("dash", Role.ADMIN)
    path = tmp_path / "api" / "keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert text.split("_", 2)[2] not in path.read_text()
    assert "hash" not in KeyStore(tmp_path).all()[0].public()


def test_another_process_s_change_is_seen_at_once(tmp_path: Path) -> None:
    server, shell = KeyStore(tmp_path), KeyStore(tmp_path)
    assert server.find("assay_x_y") is None
    first, text = shell.add("one", Role.READER)
    assert server.find(text) == first
    second, other = shell.add("two", Role.WRITER, unlimited=True)
    assert shell.revoke(first.id) == first
    assert server.find(text) is None
    assert server.find(other) == second
    assert [key.id for key in server.all()] == [second.id]


def test_a_damaged_file_lets_nobody_in_and_is_not_overwritten(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    _, text = store.add("one", Role.READER)
    path = tmp_path / "api" / "keys.json"
    for damaged in ('{"keys": [', json.dumps({"keys": [{"id": "x"}]}), "[]"):
        path.write_text(damaged)
        with pytest.raises(AssayError, match="cannot read the keys"):
            store.find(text)
        with pytest.raises(AssayError, match="cannot read the keys"):
            store.add("two", Role.READER)
        assert path.read_text() == damaged


@pytest.mark.parametrize(
    ("role", "rights", "why"),
    [
        (Role.ADMIN, {"only": ("a",)}, "not limited"),
        (Role.READER, {"only": ()}, "needs a value"),
        (Role.READER, {"only": ("a\nb",)}, "not a value"),
        (Role.WRITER, {"only": ("a",), "personal_data": True}, "reads nothing"),
        (Role.WRITER, {}, "limited to values"),
        (Role.WRITER, {"only": ("a",), "unlimited": True}, "some values or to none"),
    ],
)
def test_rights_that_make_no_sense_are_refused(tmp_path: Path, role: Role, rights: dict[str, object], why: str) -> None:
    with pytest.raises(AssayError, match=why):
        KeyStore(tmp_path).add("name", role, **rights)  # type: ignore[arg-type]
    assert KeyStore(tmp_path).all() == []
