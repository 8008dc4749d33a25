"""Runs one registered callable in a process of its own: JSON on stdin, JSON on stdout.

What the callable itself prints goes to stderr, so that it cannot spoil the answer.
"""

import importlib
import json
import os
import sys
from typing import Any


def main(target: str) -> None:
    """Call `module:function` with the decoded stdin, and write what it returns."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    module_name, _, name = target.partition(":")
    function: Any = importlib.import_module(module_name)
    for part in name.split("."):
        function = getattr(function, part)
    json.dump(function(json.load(sys.stdin)), answers)
    answers.close()


if __name__ == "__main__":
    main(sys.argv[1])
