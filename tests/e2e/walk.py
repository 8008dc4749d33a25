"""Does what a page of the documentation says."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from e2e.up import Up

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\w+\.py)\n")
FAILS = "    # fails"
"""What a page puts behind a command that is to fail."""


class Walk(NamedTuple):
    """What a page's commands told, and which of them failed."""

    told: str
    errors: str
    failed: list[str]


def walk(up: Up, text: str, folder: Path) -> Walk:
    """Do what a text says, in order, in an empty folder; agents that it starts are ended afterwards."""
    script = "trap 'echo \"$BASH_COMMAND\" >> failed' ERR\n" + "".join(
        _as_script(*block) for block in BLOCK.findall(text)
    )
    ending = 'agents=$(jobs -p); test -z "$agents" || kill $agents; wait'
    walking = up.spawn(
        ["bash", "-c", f"cd {folder}; {script}\n{ending}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    told, errors = walking.communicate(timeout=110)
    failures = folder / "failed"
    return Walk(told, errors, failures.read_text().splitlines() if failures.exists() else [])


def to_fail(text: str) -> list[str]:
    """The commands of a text that are to fail."""
    return [line.partition(FAILS)[0] for line in text.splitlines() if FAILS in line]


def _as_script(language: str, body: str) -> str:
    """A block as shell lines: Python is put into the file that its first line names."""
    if language == "python":
        name = FILE_NAME.match(body)
        assert name, body
        return f"cat > {name[1]} <<'END'\n{body}END\n"
    return body
