"""The image's build without an engine: its Dockerfile, whose first stage is carried out here, and the environment it makes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)  # the first time all packages are downloaded, some hundred megabytes
PROJECT = Path(__file__).parents[3]
DOCKERFILE = PROJECT / "deploy" / "compose" / "Dockerfile"
BUILD = DOCKERFILE.with_name("build.sh")
LOAD = """
import json, sys
from importlib.metadata import distributions
import dagster_postgres, sqlalchemy, yaml
from platform_assets import definitions, gold_definitions
from platform_assets.contracts.read import load_contracts
from platform_assets.alerts.runbooks import runbooks
assert "gap.md" in runbooks()
with open(sys.argv[1]) as settings:
    sqlalchemy.create_engine(yaml.safe_load(settings)["storage"]["postgres"]["postgres_url"])  # loads its driver
print(json.dumps({
    "jobs": [job.name for m in (definitions, gold_definitions) for job in m.defs.get_repository_def().get_all_jobs()],
    "systems": list(load_contracts()),
    "files": sorted({m.__file__ for m in sys.modules.values() if getattr(m, "__file__", None)}),
    "packages": sorted({d.metadata["Name"].lower().replace("_", "-").replace(".", "-") for d in distributions()}),
}))
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
    installs = re.findall(r"pip\"? install .*", BUILD.read_text(encoding="utf-8"))
    assert len(installs) == 3
    for install in installs:
        assert "--no-deps" in install, install
        assert "--require-hashes" in install or "--no-index" in install, install
    for name, rest in steps:
        if name == "RUN":
            assert not re.search(r"curl|wget|apt-get|--privileged|latest|pip", rest), rest
        if name in ("ENV", "ARG"):
            assert not re.search(r"PASSWORD|SECRET|TOKEN", rest), rest


def test_what_it_copies_is_there_and_nothing_else_reaches_the_builder() -> None:
    sources = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert [source for source in sources if not (PROJECT / source).exists()] == []
    ignore = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == sources
    locks = [PROJECT / source for source in sources if source.endswith(".lock")]
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert len(re.findall(r"^\S+==", text, re.M)) <= text.count("--hash=sha256:"), lock


MADE_BY_DBT = ("target/", "logs/")


def unneeded(folder: str, names: list[str]) -> set[str]:
    """What the build does not get, as `Dockerfile.dockerignore` says."""
    made = {f"{PROJECT}/dbt_project/{name}".rstrip("/") for name in MADE_BY_DBT}
    return {name for name in names if name == "__pycache__" or f"{folder}/{name}" in made}


def copied(rest: str, source: Path) -> None:
    """The instruction COPY, from the project into the stage's folder."""
    *names, target = rest.split()
    for name in names:
        place = source / target / Path(name).name if target.endswith("/") else source / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, place, ignore=unneeded)
        else:
            shutil.copy(PROJECT / name, place)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the image gets from its first stage, whose COPY and RUN are carried out in a folder of their own."""
    root = tmp_path_factory.mktemp("image")
    source, opt = root / "src", root / "opt"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    steps = instructions()
    # An environment's scripts name their interpreter: it is copied to where it was.
    end = steps.index(("COPY", "--from=build /opt/assay /opt/assay"))
    ran = []
    for name, rest in steps[:end]:
        if name == "COPY":
            copied(rest, source)
        elif name == "RUN":
            command = shlex.split(rest.replace("/opt", str(opt)))
            done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            ran.append(rest)
    assert ran == [f"{BUILD.relative_to(PROJECT)} {step} /opt" for step in ("packages", "assay")]
    yield opt / "assay"
    shutil.rmtree(root)  # a gigabyte, which pytest would keep


def files(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def site(image: Path) -> Path:
    [found] = image.glob("lib/python3.*/site-packages")
    return found


def test_the_wheel_holds_the_whole_package(image: Path) -> None:
    models = {f"dbt_project/{name}" for name in files(PROJECT / "dbt_project") if not name.startswith(MADE_BY_DBT)}
    pages = {f"runbooks/{name}" for name in files(PROJECT / "docs/runbooks")}
    assert files(site(image) / "platform_assets") == files(PROJECT / "platform_assets") | models | pages


def test_what_is_installed_works_alone_and_writes_nothing_into_itself(
    image: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = files(image)
    for folder in (image, *(path for path in image.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tmp_path_factory.mktemp("dbt"))}
    settings = DOCKERFILE.with_name("dagster.yaml")
    try:
        loaded = answer([image / "bin/python", "-P", "-c", LOAD, settings], tmp_path, environment)
        helped = answer([image / "bin/assay", "--help"], tmp_path, environment)
    finally:
        for folder in (image, *(path for path in image.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
    found = json.loads(loaded)
    assert {"logs_ingest", "logs_gold", "purge"} <= set(found["jobs"])
    assert "logs" in found["systems"]
    ours = (PROJECT, Path(sys.prefix))  # the checkout, and the environment that tests run in
    assert [path for path in found["files"] if any(Path(path).is_relative_to(folder) for folder in ours)] == []
    lock = DOCKERFILE.with_name("requirements.lock").read_text(encoding="utf-8")
    assert set(found["packages"]) <= {"assay", *re.findall(r"^([a-z0-9-]+)==", lock, re.M)}
    assert "backup" in helped
    assert files(image) == before
    assert not list(tmp_path.iterdir())


def answer(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> str:
    """What a command of the image prints, run in an empty folder."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
