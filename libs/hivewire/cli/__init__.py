"""The command `hivewire`."""

import os
import sys

INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""


def main() -> None:
    """Run the command line and exit: 0 done, 1 the work failed, 2 bad usage, 3 not reachable, 4 refused."""
    try:
        from hivewire.cli.app import run  # takes its time, in which Ctrl-C may come as well

        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
