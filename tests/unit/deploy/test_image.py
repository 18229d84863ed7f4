"""The image's build without an engine: its Dockerfile, and the wheel it installs, which must hold all that the package reads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
DOCKERFILE = PROJECT / "deploy" / "compose" / "Dockerfile"
LOAD = """
import sys
from pathlib import Path
import platform_assets
from platform_assets.definitions import defs
from platform_assets.contracts.read import load_contracts
from platform_assets.alerts.runbooks import runbooks
assert "gap.md" in runbooks()
print(Path(platform_assets.__file__).parent, len(defs.get_repository_def().get_all_jobs()), *load_contracts())
"""


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, continuation lines joined."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name.upper(), rest) for name, _, rest in (line.partition(" ") for line in lines)]


def test_the_dockerfile_pins_checks_and_drops_its_rights() -> None:
    steps = instructions()
    bases = [rest.split()[0] for name, rest in steps if name == "FROM"]
    assert bases
    assert [base for base in bases if not re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base)] == []
    assert len(set(bases)) == 1  # the environment is copied from one to the other
    assert not [name for name, _ in steps if name == "ADD"]
    last = max(at for at, (name, _) in enumerate(steps) if name == "FROM")
    users = [at for at, (name, rest) in enumerate(steps) if at > last and name == "USER" and rest == "1000:1000"]
    assert users
    assert not [rest for name, rest in steps[users[0] :] if name in ("RUN", "USER") and rest != "1000:1000"]
    for name, rest in steps:
        if name == "RUN":
            assert not re.search(r"curl|wget|apt-get|--privileged|latest", rest), rest
            for install in re.findall(r"pip install[^&]*", rest):
                assert "--no-deps" in install, install
                assert "--require-hashes" in install or "--no-index" in install, install
        if name in ("ENV", "ARG"):
            assert not re.search(r"PASSWORD|SECRET|TOKEN", rest), rest


def test_what_it_copies_is_there_and_nothing_else_reaches_the_builder() -> None:
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert [source for source in copied if not (PROJECT / source).exists()] == []
    ignore = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    locks = [PROJECT / source for source in copied if source.endswith(".lock")]
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert len(re.findall(r"^\S+==", text, re.M)) <= text.count("--hash=sha256:"), lock


MADE_BY_DBT = ("target/", "logs/")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and installed as the Dockerfile does, without its dependencies: those are in this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    run = [sys.executable, "-m"]
    subprocess.run(
        [*run, "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=PROJECT, check=True, capture_output=True
    )
    wheel = next(folder.glob("assay-*.whl"))
    pip = [
        *run,
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-compile",
        "--target",
        str(folder / "site"),
    ]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return folder / "site"


def files(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_whole_package(installed: Path) -> None:
    models = {f"dbt_project/{name}" for name in files(PROJECT / "dbt_project") if not name.startswith(MADE_BY_DBT)}
    pages = {f"runbooks/{name}" for name in files(PROJECT / "docs/runbooks")}
    assert files(installed / "platform_assets") == files(PROJECT / "platform_assets") | models | pages


def test_the_installed_package_works_anywhere_and_writes_nothing_into_itself(installed: Path, tmp_path: Path) -> None:
    before = files(installed)
    for folder in (installed, *(path for path in installed.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    environment = {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    try:
        loaded = subprocess.run([sys.executable, "-P", "-c", LOAD], check=False, **options)
        assert loaded.returncode == 0, loaded.stderr
        place, jobs, *systems = loaded.stdout.split()
        assert Path(place) == installed / "platform_assets"  # not the checkout
        assert int(jobs) > 0
        assert "logs" in systems
        helped = subprocess.run([sys.executable, "-P", "-m", "platform_assets.cli", "--help"], check=False, **options)
        assert helped.returncode == 0, helped.stderr
        assert "backup" in helped.stdout
    finally:
        for folder in (installed, *(path for path in installed.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
    assert {name for name in files(installed) if "__pycache__" not in name} == before
    assert not list(tmp_path.iterdir())
