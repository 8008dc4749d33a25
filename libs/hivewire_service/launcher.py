"""Becomes another program, which then ends with the process that started it and runs as whom it was told.

Run as a script of its own (`python -I -S launcher.py ...`), because the steps must happen between fork and exec, where
a process with threads may not run Python code. It imports nothing of the project, and is gone after the exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main(parent: int, death_signal: int, user: str, program: str, argv: list[str]) -> None:
    """Exec `program` with `argv`.

    Args:
        parent: the process that must still be there: if it ended before the death signal was armed, nothing starts.
        death_signal: what the program receives when its parent ends (on Linux).
        user: `uid:gid` to become, with all privileges given up, or an empty text to stay who we are.
        program: path of the executable. When privileges are dropped it is opened before, so that it may lie where the
            new user could not look it up.
        argv: the program's arguments, its name first.
    """
    by_descriptor = bool(user) and os.execve in os.supports_fd
    target: int | str = os.open(program, os.O_RDONLY | os.O_CLOEXEC) if by_descriptor else program
    # Python ignores it, and an ignored signal stays so over an exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if user:
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if user:
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # After the change of user, which would clear it.
        libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    os.execve(target, argv, os.environ)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
