"""Files written whole or not at all, with the mode and owner they keep.

Belongs here: atomic writes, modes, owners, locks, and whether another user can reach a path.
Does not: what is in the files.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

PRIVATE = 0o600
PUBLIC = 0o644
_UNFINISHED = ".tmp"


@contextmanager
def replacing(
    path: Path, mode: int = PRIVATE, owner: tuple[int, int] | None = None, *, durable: bool = True
) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` at the end of the block, whole or, after an error, not at all.

    Its mode and `(uid, gid)` hold from the first byte on. `durable`: on the disk before it takes the place; caches need not be.
    A killed process leaves its file beside (`unfinished`).
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            if owner is not None and os.geteuid() == 0:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            yield handle
            handle.flush()
            if durable:
                os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def unfinished(folder: Path) -> Iterator[Path]:
    """The files in `folder` that `replacing` has begun and not ended, here or in a process that was killed."""
    return folder.glob(f".*{_UNFINISHED}")


def write_bytes(path: Path, data: bytes, mode: int = PUBLIC, owner: tuple[int, int] | None = None) -> None:
    """Replace `path` by `data` in one step, as `replacing` does."""
    with replacing(path, mode, owner) as handle:
        handle.write(data)


def write_text(path: Path, text: str, mode: int = PUBLIC, owner: tuple[int, int] | None = None) -> None:
    """`write_bytes` for text in UTF-8."""
    write_bytes(path, text.encode(), mode, owner)


def write_private(path: Path, data: bytes, owner: tuple[int, int] | None = None) -> None:
    """`write_bytes` that only the owner may read (0600)."""
    write_bytes(path, data, PRIVATE, owner)


def make_folder(path: Path, mode: int, owner: tuple[int, int] | None = None) -> Path:
    """Create `path` and missing parents with `mode`, whatever the umask says; give `path` `mode` and, when we are root, `owner`.

    A folder that has both already is not written to: it may be on a read-only disk.
    """
    if not path.parent.exists():
        make_folder(path.parent, mode)
    path.mkdir(mode, exist_ok=True)
    found = path.stat()
    if os.geteuid() == 0 and owner is not None and owner != (found.st_uid, found.st_gid):
        os.chown(path, *owner)
    if stat.S_IMODE(found.st_mode) != mode:
        path.chmod(mode)
    return path


def open_to_all(root: Path) -> None:
    """Let everybody read the tree under `root`, and run what its owner may run; links are left alone."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() or mode & stat.S_IXUSR else 0o644)


def others_reach(path: Path) -> bool:
    """Whether any user may walk to `path` (its nearest existing ancestor when it is not there yet)."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    path = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents) if folder.is_dir())


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock on `path`; yields False when `wait` is off and somebody else holds it.

    The kernel releases the lock when its holder dies, however it dies. Raises OSError on a file system without such locks.
    """
    # Imported here: it costs a run 20 ms, and few runs take a lock.
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    # Without `flock` filelock would fall back to a file whose existence is the lock, which outlives its holder.
    lock = FileLock(path, mode=PRIVATE, blocking=wait, thread_local=False, fallback_to_soft=False)
    with ExitStack() as held:
        try:
            held.enter_context(lock)
        except Timeout:
            yield False
            return
        yield True


def tail(path: Path, lines: int = 5) -> str:
    """The last non-empty `lines` of a log, or an empty text when there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - 16_384))
        text = handle.read().decode(errors="replace")
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
