"""What a home holds: secrets, ports, certificates, files with their modes."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from platform_assets.core.errors import AssayError
from platform_assets.core.files import locked, make_folder, open_to_all, others_reach, tail, write_private
from platform_assets.core.settings import Settings
from platform_assets.local.endpoints import Endpoints, choose_ports, ensure_secrets
from platform_assets.local.layout import Layout, run_as
from platform_assets.local.tls import ensure_certificates


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell takes part."""
    for name in [name for name in os.environ if name.startswith("ASSAY_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A home whose stores are inside it, whoever may reach it."""
    layout = Layout(tmp_path, tmp_path / "local", run_as())
    layout.create()
    return layout


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_generated_once_and_private(tmp_path: Path) -> None:
    first = ensure_secrets(tmp_path)
    assert mode(tmp_path / "secrets.env") == 0o600
    assert len(base64.b64decode(first["ASSAY_HMAC_KEY"])) == 32
    assert len(set(first.values())) == 9
    assert ensure_secrets(tmp_path) == first
    assert Settings.load(tmp_path).hmac_keys() == {
        first["ASSAY_HMAC_KEY_ID"]: base64.b64decode(first["ASSAY_HMAC_KEY"])
    }


def test_what_a_person_wrote_into_the_secrets_stays(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text("ASSAY_KAFKA_INGEST_PASSWORD=mine\nASSAY_SLACK_HOOK=x\n")
    secrets = ensure_secrets(tmp_path)
    assert secrets["ASSAY_KAFKA_INGEST_PASSWORD"] == "mine"
    assert secrets["ASSAY_SLACK_HOOK"] == "x"
    assert mode(tmp_path / "secrets.env") == 0o600


def test_secrets_that_were_opened_are_closed_again(tmp_path: Path) -> None:
    ensure_secrets(tmp_path)
    (tmp_path / "secrets.env").chmod(0o644)
    ensure_secrets(tmp_path)
    assert mode(tmp_path / "secrets.env") == 0o600


def test_a_private_file_is_never_open_not_even_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = os.fsync

    def look(descriptor: int) -> None:
        seen.extend(mode(path) for path in tmp_path.iterdir())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    old = os.umask(0)
    try:
        write_private(tmp_path / "s", b"secret")
    finally:
        os.umask(old)
    assert seen == [0o600]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "s", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(tmp_path / "s", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("s", b"old")]


def test_ports_are_kept_and_a_taken_one_is_picked_anew(layout: Layout) -> None:
    first = choose_ports(layout)
    assert choose_ports(layout) == first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first.opensearch))
        taken.listen()
        second = choose_ports(layout)
    assert second.opensearch != first.opensearch
    assert second.kafka == first.kafka
    numbers = json.loads(layout.ports.read_text()).values()
    assert len(set(numbers)) == 5


def test_configured_ports_are_not_given_away(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = choose_ports(layout)
    monkeypatch.setenv("ASSAY_OPENSEARCH_PORT", str(kept.kafka_internal))
    ports = choose_ports(layout)
    assert ports.opensearch == kept.kafka_internal != ports.kafka_internal
    monkeypatch.setenv("ASSAY_KAFKA_PORT", str(ports.opensearch))
    with pytest.raises(AssayError, match="are the same port"):
        choose_ports(layout)


@pytest.mark.parametrize("value", ["http", "0", "70000", "-1"])
def test_a_port_that_is_none_is_refused(layout: Layout, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ASSAY_OPENSEARCH_PORT", value)
    with pytest.raises(AssayError, match="ASSAY_OPENSEARCH_PORT is not a whole number"):
        choose_ports(layout)


def test_endpoints_are_what_settings_read(layout: Layout) -> None:
    Endpoints("h:1", "https://h:2", "/ca.pem").write(layout.home)
    settings = Settings.load(layout.home)
    assert (settings.kafka_bootstrap, settings.opensearch_url) == ("h:1", "https://h:2")


def test_the_node_is_trusted_through_the_authority_only(tmp_path: Path) -> None:
    """A handshake in memory, with the checks that a client makes."""
    certificates = ensure_certificates(tmp_path)
    assert mode(certificates.node_key) == mode(certificates.admin_key) == 0o600
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(certificates.node, certificates.node_key)

    def handshake(ca: Path, name: str) -> None:
        client_context = ssl.create_default_context(cafile=str(ca))
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
        server = server_context.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(4):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        assert client.version()

    handshake(certificates.ca, "127.0.0.1")
    handshake(certificates.ca, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificates.ca, "example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(ensure_certificates(tmp_path / "other").ca, "127.0.0.1")


def test_certificates_are_kept_until_they_near_their_end(tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path)
    before = certificates.ca.read_bytes()
    assert ensure_certificates(tmp_path).ca.read_bytes() == before
    end = x509.load_pem_x509_certificate(before).not_valid_after_utc
    assert certificates.fresh(end - dt.timedelta(days=31))
    assert not certificates.fresh(end - dt.timedelta(days=29))
    certificates.node_key.unlink()
    assert ensure_certificates(tmp_path).ca.read_bytes() != before


@pytest.mark.parametrize("foreign", ["ca.pem", "node.key", "security-admin.pem"])
def test_certificates_that_do_not_belong_together_are_made_anew(tmp_path: Path, foreign: str) -> None:
    """As an interrupted renewal leaves them."""
    certificates, other = ensure_certificates(tmp_path / "a"), ensure_certificates(tmp_path / "b")
    shutil.copy(other.folder / foreign, certificates.folder)
    assert not certificates.fresh()
    assert ensure_certificates(certificates.folder).fresh()


def test_certificates_of_the_future_and_damaged_ones_are_not_fresh(tmp_path: Path) -> None:
    certificates = ensure_certificates(tmp_path)
    assert not certificates.fresh(dt.datetime.now(dt.UTC) - dt.timedelta(days=2))
    certificates.node.write_bytes(certificates.node.read_bytes()[:100])
    assert not certificates.fresh()


def test_folders_have_their_mode_whatever_the_umask_says(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        make_folder(tmp_path / "a" / "b", 0o755)
    finally:
        os.umask(old)
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o755, 0o755]


def test_a_folder_that_is_as_it_should_be_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be on a read-only disk."""
    monkeypatch.setattr(Path, "chmod", lambda *_: pytest.fail("touched"))
    make_folder(tmp_path, mode(tmp_path))


def test_a_closed_folder_on_the_way_is_noticed(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    assert not others_reach(inner / "not" / "there" / "yet")


def test_a_tree_is_opened_for_reading_not_for_writing(tmp_path: Path) -> None:
    program, text = tmp_path / "bin" / "p", tmp_path / "t"
    program.parent.mkdir(mode=0o700)
    program.touch(mode=0o700)
    text.touch(mode=0o600)
    open_to_all(tmp_path)
    assert [mode(path) for path in (program.parent, program, text)] == [0o755, 0o755, 0o644]


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, wait=False) as first:
        assert first
        with locked(path, wait=False) as second:
            assert not second
    with locked(path, wait=False) as third:
        assert third
    assert mode(path) == 0o600


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    code = (
        "import sys, time, pathlib; from platform_assets.core.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with locked(path, wait=False) as ours:
            assert not ours
        holder.kill()
    with locked(path) as ours:
        assert ours


def test_reading_a_contract_needs_no_lock_library() -> None:
    """A run imports it only when it takes a lock."""
    code = "import sys, platform_assets.contracts.registry; print('filelock' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_tail_reads_the_end_of_long_and_absent_logs(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n\n" for number in range(20_000)))
    assert tail(path, 2) == "line 19998\nline 19999"
    assert tail(tmp_path / "absent") == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
def test_root_keeps_the_stores_of_a_closed_home_elsewhere(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    layout = Layout.of(tmp_path)
    assert layout.user.uid != 0
    assert tmp_path not in layout.store.parents
    assert Layout.of(tmp_path).store == layout.store
