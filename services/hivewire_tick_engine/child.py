"""Runs one registered callable in a process of its own: JSON on stdin, JSON on stdout.

What the callable itself prints goes to stderr, so that it cannot spoil the answer.
"""

import importlib
import json
import os
import signal
import sys
from typing import Any, Final

GRACE_S: Final = 1.0
"""The engine ends us in time. Should it be killed itself, we end after this much more."""


def main(target: str, timeout_s: float) -> None:
    """Call `module:function` with the decoded stdin, and write what it returns."""
    signal.setitimer(signal.ITIMER_REAL, timeout_s + GRACE_S)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    module_name, _, name = target.partition(":")
    function: Any = importlib.import_module(module_name)
    for part in name.split("."):
        function = getattr(function, part)
    json.dump(function(json.load(sys.stdin)), answers)
    answers.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
