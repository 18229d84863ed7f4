"""The last step before a service's program: become its user, and die with the supervisor.

Belongs here: what must happen in the child between fork and exec. Does not: anything else; it runs isolated
(`python -I -S`), so it imports the standard library only.

Usage: launcher.py UID GID SUPERVISOR_PID PROGRAM [ARGUMENT...]
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Drop rights, ask the kernel to kill us with our parent, and become the program."""
    uid, gid, parent = (int(value) for value in sys.argv[1:4])
    program = sys.argv[4:]
    os.umask(0o077)
    with contextlib.suppress(ValueError, OSError):  # A lower limit is a slower server, not a broken one.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user, which clears it. SIGKILL: a server that hangs must not outlive its supervisor.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"cannot bind to the supervisor: {os.strerror(ctypes.get_errno())}")
        if os.getppid() != parent:  # It died before we asked.
            sys.exit("the supervisor is gone")
    os.execv(program[0], program)  # noqa: S606 (no shell is meant to be there)


if __name__ == "__main__":
    main()
