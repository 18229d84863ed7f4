"""Where the local services keep their files, and as whom they run.

Belongs here: folders, their owners and modes, the unprivileged user. Does not: what the services write there.

OpenSearch refuses to run as root, and a broker has no need to. A root launcher therefore starts both as an
unprivileged user, who must reach the jars, the Java runtime and the data, although root's own folders are closed to it.
"""

from __future__ import annotations

import hashlib
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from platform_assets.core.errors import AssayError
from platform_assets.core.files import make_folder, others_reach
from platform_assets.core.settings import variable
from platform_assets.local.tls import Certificates

_RUN_AS = "ASSAY_RUN_AS"
_SHARED_CACHE = Path("/var/cache/assay")
_SHARED_STATE = Path("/var/lib/assay")


def cache_folder() -> Path:
    """`$ASSAY_CACHE`, else `~/.cache/assay`: what was downloaded, shared by all homes."""
    configured = variable("ASSAY_CACHE")
    return Path(configured).absolute() if configured else Path.home() / ".cache" / "assay"


def runtime_folder() -> Path:
    """Where runnable trees are assembled: in the cache, or where everybody can read when root's cache is closed.

    Created when absent; a strict umask does not close it.
    """
    cache = cache_folder()
    if os.geteuid() != 0 or others_reach(cache):
        return make_folder(cache / "runtime", 0o755)
    make_folder(_SHARED_CACHE, 0o755)
    return make_folder(_SHARED_CACHE / "runtime", 0o755)


@dataclass(frozen=True)
class RunAs:
    """The user of the Java processes."""

    uid: int
    gid: int
    name: str

    @property
    def owner(self) -> tuple[int, int]:
        """(uid, gid), as `os.chown` takes it."""
        return self.uid, self.gid


def run_as() -> RunAs:
    """Ourselves, or when we are root `$ASSAY_RUN_AS`, else `nobody`.

    Raises AssayError when root finds no unprivileged user.
    """
    if os.geteuid() != 0:
        # A container's user may have no name.
        return RunAs(os.geteuid(), os.getegid(), f"user {os.geteuid()}")
    configured = variable(_RUN_AS)
    for name in (configured,) if configured else ("nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return RunAs(entry.pw_uid, entry.pw_gid, entry.pw_name)
    raise AssayError(
        "OpenSearch does not run as root and no unprivileged user was found",
        f"name one in {_RUN_AS}, or do not be root",
    )


@dataclass(frozen=True)
class Layout:
    """All paths of the services of one home. `store` belongs to `user`, everything else to the launcher."""

    home: Path
    store: Path
    user: RunAs

    @classmethod
    def of(cls, home: Path) -> Layout:
        """The layout for `home`; creates nothing."""
        home, user = home.absolute(), run_as()
        local = home / "local"
        reachable = os.geteuid() != 0 or others_reach(home)
        digest = hashlib.sha256(str(home).encode()).hexdigest()[:16]
        return cls(home, local if reachable else _SHARED_STATE / digest, user)

    @property
    def local(self) -> Path:
        """`<home>/local`, the launcher's part."""
        return self.home / "local"

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.local / "supervisor.lock"

    @property
    def state(self) -> Path:
        """What the supervisor last said of itself (JSON)."""
        return self.local / "state.json"

    @property
    def ports(self) -> Path:
        """Ports that were picked, kept for the next start (JSON)."""
        return self.local / "ports.json"

    @property
    def certificates(self) -> Certificates:
        """The authority and what it signed."""
        return Certificates(self.local / "tls")

    @property
    def logs(self) -> Path:
        """Logs of the services, a folder each, and `supervisor.log`."""
        return self.local / "logs"

    def service(self, name: str) -> Path:
        """The folder of one service: `config`, `data`, `tmp`."""
        return self.store / name

    def create(self) -> None:
        """Make every folder with its owner and mode.

        The home stays closed to other users' eyes (0711: they may pass, not list) and the stores are the service
        user's alone. Raises AssayError when the servers could not take the folder for one.
        """
        if "," in str(self.store):
            raise AssayError(f"a comma in {self.store} would be two folders to the servers", "choose another home")
        root = os.geteuid() == 0
        passable = 0o711 if root else 0o700
        if not self.home.exists():
            make_folder(self.home, passable)
        if self.store.parent == _SHARED_STATE:
            make_folder(_SHARED_STATE, passable)
        for folder in {self.local, self.store}:
            make_folder(folder, passable)
        make_folder(self.certificates.folder, 0o755)
        logs = make_folder(self.store / "logs", passable)
        if self.logs != logs and not self.logs.is_symlink():
            self.logs.symlink_to(logs)
        for service in ("kafka", "opensearch"):
            make_folder(logs / service, 0o700, self.user.owner)
            make_folder(self.service(service), 0o700, self.user.owner)
            for part in ("config", "data", "tmp"):
                make_folder(self.service(service) / part, 0o700, self.user.owner)
