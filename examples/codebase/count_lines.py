"""Counts the lines of files: a command that knows nothing of hivewire, made an agent by `hivewire agent exec`.

It reads the task from stdin, writes its result to stdout, and says why it failed on stderr.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path


def count(file: Path) -> Counter[str]:
    """The lines of a file by their kind."""
    return Counter(map(_kind, file.read_bytes().splitlines()))


def _kind(line: bytes) -> str:
    text = line.strip()
    if not text:
        return "blank_lines"
    return "comment_lines" if text.startswith(b"#") else "code_lines"


def main() -> None:
    """Answer one task."""
    payload = json.load(sys.stdin)["payload"]
    attempt = int(os.environ["HIVEWIRE_ATTEMPT"])
    if attempt <= payload["fails_first"]:
        sys.exit(f"attempt {attempt} of this task fails on purpose")
    files = payload["files"]
    counts: Counter[str] = Counter()
    for number, file in enumerate(files, start=1):
        counts += count(Path(file))
        print(f"::progress {number / len(files):.2f} {Path(file).name}", file=sys.stderr)  # noqa: T201 - read by the agent
    json.dump(counts, sys.stdout)


if __name__ == "__main__":
    main()
