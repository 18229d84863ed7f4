"""The page's files and how they are served; what is in them is tried in a real browser (`tests/integration/page/`)."""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from platform_assets.alerts.runbooks import all_runbooks, runbooks
from platform_assets.contracts.read import load_contracts
from platform_assets.core.settings import Settings
from platform_assets.serve import page as serve_page
from platform_assets.serve.app import create_app
from platform_assets.serve.keys import KeyStore, Role
from platform_assets.serve.page import FOLDER

KEY = base64.b64encode(b"k" * 64).decode()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    values = {"ASSAY_OPENSEARCH_URL": "https://127.0.0.1:9", "ASSAY_OPENSEARCH_JWT_KEY": KEY}
    with TestClient(create_app(Settings(tmp_path, tmp_path / "lake", values), load_contracts())) as made:
        yield made


def test_the_page_needs_no_key_and_runs_nothing_but_its_own_files(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert {policy[kind] for kind in policy if kind.endswith("-src") and kind != "default-src"} == {"'self'"}
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-cache"


def test_every_file_that_the_page_names_is_there_for_ever_under_its_digest(client: TestClient) -> None:
    pages = [client.get(path).text for path in ("/", "/docs", "/runbooks/gap.md")]
    seen, waiting = set(), [path for page in pages for path in re.findall(r'(?:href|src)="(/[^"]+)"', page)]
    assert all("/static/" in page and "<script>" not in page for page in pages)
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        if path.endswith(".js"):
            assert answer.headers["content-type"].startswith("text/javascript")
            waiting += [str(answer.url.join(name).path) for name in re.findall(r'from"?\s*"(\.[^"]+)"', answer.text)]
        if path.endswith("theme.css"):
            waiting += [str(answer.url.join(name).path) for name in re.findall(r'url\("([^"]+)"\)', answer.text)]
    [folder] = {path.split("/")[2] for path in seen}
    ours = {
        path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*") if path.suffix in (".js", ".css", ".woff2")
    }
    assert ours <= {path.split("/", 3)[3] for path in seen}, "a file that nothing loads"
    stale = client.get(f"/static/{'0' * len(folder)}/js/main.js")
    assert (stale.status_code, stale.headers["content-type"]) == (404, "application/problem+json")
    for path in ("../page.py", "..%2fpage.py", "vendor/vendored.toml", "js/nothing.js"):
        assert client.get(f"/static/{folder}/{path}").status_code in (401, 404), path


def test_runbooks_are_text_that_needs_no_key(client: TestClient) -> None:
    for name in runbooks():
        found = client.get(f"/runbooks/{name}")
        assert found.status_code == 200, name
        assert found.headers["content-type"] == "text/html; charset=utf-8"
        assert f"Rule <code>{name.removesuffix('.md')}</code>" in found.text
        policy = found.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';") and "script" not in policy
        assert found.headers["x-frame-options"] == "DENY"
    for name in ("nothing.md", "gap", "", "..%2falerts.md", "..%2f..%2fpyproject.toml", "%2fetc%2fpasswd", "gap.md%00"):
        refused = client.get(f"/runbooks/{name}")
        assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json"), name


def test_a_systems_own_runbook_is_a_page_too(tmp_path: Path) -> None:
    folder = tmp_path / "systems" / "logs" / "runbooks"
    folder.mkdir(parents=True)
    (folder / "many.md").write_text("# Too many\n\nCall Ada.\n")
    (folder / "Not a page.md").write_text("# No\n")
    (folder / "secret.md").symlink_to(tmp_path)
    app = FastAPI()
    app.include_router(serve_page.router(all_runbooks(["logs", "others"], tmp_path / "systems")))
    with TestClient(app) as client:
        assert "Call Ada." in client.get("/runbooks/logs/many.md").text
        assert client.get("/runbooks/gap.md").status_code == 200
        for name in (
            "many.md",
            "logs/Not%20a%20page.md",
            "logs/secret.md",
            "logs/../many.md",
            "logs/gap.md",
            "others/many.md",
        ):
            assert client.get(f"/runbooks/{name}").status_code == 404, name


def test_a_runbook_s_tags_and_scripts_stay_text() -> None:
    evil = "# A <b>title</b>\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) a<img src=x onerror=alert(1)>\n"
    app = FastAPI()
    app.include_router(serve_page.router({"evil.md": evil}))
    text = TestClient(app).get("/runbooks/evil.md").text
    assert "&lt;script&gt;" in text and "<title>A &lt;b&gt;title" in text
    for forbidden in ("<script", "<img", "<b>", 'href="javascript'):
        assert forbidden not in text


def test_a_small_answer_for_those_who_take_one(client: TestClient) -> None:
    path = re.findall(r'src="([^"]+main\.js)"', client.get("/").text)[0]
    packed = client.get(path, headers={"accept-encoding": "gzip"})
    plain = client.get(path, headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2


def test_files_of_others_are_what_their_packages_hold() -> None:
    folder = FOLDER / "vendor"
    packages = tomllib.loads((folder / "vendored.toml").read_text())["package"]
    known = {name: digest for package in packages for name, digest in package["sha256"].items()}
    there = {
        p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file() and p.name != "vendored.toml"
    }
    assert known == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()}
    for package in packages:
        assert any("LICENSE" in name for name in package["sha256"]), package["name"]


@pytest.mark.parametrize("path", sorted((FOLDER / "js").glob("*.js")), ids=lambda path: path.name)
def test_no_module_makes_markup_of_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("/**"), "a module says what belongs there"
    assert len(text.splitlines()) <= 400
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "unsafe",
        "document.write",
        "eval(",
        "https://",
        "cookie",
    ):
        assert forbidden not in text, forbidden
    assert not re.search(r"\sstyle=|\son[a-z]+=[\"$]", text), "inline style or handler"


def test_what_there_is_to_ask_depends_on_the_key(client: TestClient, tmp_path: Path) -> None:
    assert client.get("/v1/systems").status_code == 401
    keys = KeyStore(tmp_path)

    def told(role: Role, **rights: object) -> dict[str, object]:
        answer = client.get("/v1/systems", headers={"X-API-Key": keys.add("test", role, **rights)[1]})  # type: ignore[arg-type]
        assert answer.status_code == 200
        assert "hash" not in answer.json()["key"]
        found: dict[str, object] = answer.json()
        return found

    assert told(Role.READER, system="other")["systems"] == []
    assert told(Role.WRITER, unlimited=True)["key"]["role"] == "writer"  # type: ignore[index]
    logs = load_contracts()["logs"]
    [system] = told(Role.READER, only=("users",))["systems"]  # type: ignore[misc]
    assert [table["table"] for table in system["tables"]] == [table.name for table in logs.tables]
    for found, table in zip(system["tables"], logs.tables, strict=True):
        assert [field["name"] for field in found["fields"]] == [field.name for field in table.fields]
        assert found["display"] == list(table.display)
        assert found["coordinates"] == {
            "name": "topic",
            "source": "topic_id",
            "shard": "partition",
            "position": "offset",
        }
    assert {"errors_hour", "failures_hour"} <= {mart["mart"] for mart in system["marts"]}
    assert [report["name"] for report in system["reports"]] == ["errors"]
    assert told(Role.READER)["runbooks"] == list(runbooks())
    assert "error_users_hour" not in {mart["mart"] for mart in system["marts"]}, "a mart that has no index"
