"""The work as tasks: one a file, two a package, and the report."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.codebase.tree import Package
from hivewire import Backoff

REPORT = "report"
LARGE_SHARE = 0.1
"""Of the files, the largest: only some agents take them."""
FAILURES = 2
"""How often the task that fails does so before it succeeds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks as `Client.submit_many` takes them, and those of them that things happen to."""

    packages: list[Package]
    tasks: list[dict[str, Any]]
    hanging: str
    """Key of the task whose first attempt never ends, so that its agent can be killed in the middle of it."""
    failing: str
    """Key of the task whose first attempts fail."""

    @property
    def files(self) -> list[Path]:
        return [file for package in self.packages for file in package.files]


def plan(packages: list[Package]) -> Plan:
    """The tasks that analyse `packages`, of which there must be one at least."""
    files = [file for package in packages for file in package.files]
    by_size = sorted(files, key=lambda file: file.stat().st_size, reverse=True)
    large = set(by_size[: max(1, int(len(files) * LARGE_SHARE))])
    keys = {file: f"file-{number}" for number, file in enumerate(files)}
    hanging, failing = keys[by_size[0]], "lines-0"
    tasks: list[dict[str, Any]] = []
    for number, package in enumerate(packages):
        tasks += (
            _file_task(keys[file], package, file, large=file in large, hangs=keys[file] == hanging)
            for file in package.files
        )
        tasks += _package_tasks(number, package, [keys[file] for file in package.files], failing)
    tasks.append(
        {
            "key": REPORT,
            "title": "Report on everything",
            "needs": ["summary"],
            "after": [f"package-{number}" for number in range(len(packages))],
            "on_dependency_failure": "cancel",
        }
    )
    return Plan(packages, tasks, hanging, failing)


def _file_task(key: str, package: Package, file: Path, *, large: bool, hangs: bool) -> dict[str, Any]:
    return {
        "key": key,
        "title": f"Measure {package.name}/{file.name}",
        "needs": ["python", "large-files"] if large else ["python"],
        "priority": "high" if large else "medium",
        "payload": {"file": str(file), "hangs_at_first": hangs},
    }


def _package_tasks(number: int, package: Package, file_keys: list[str], failing: str) -> Iterator[dict[str, Any]]:
    lines = f"lines-{number}"
    yield {
        "key": lines,
        "title": f"Count the lines of {package.name}",
        "needs": ["lines"],
        "payload": {"files": [str(file) for file in package.files], "fails_first": FAILURES if lines == failing else 0},
        "backoff": Backoff(base_s=0.5),
    }
    yield {
        "key": f"package-{number}",
        "title": f"Add up {package.name}",
        "needs": ["summary"],
        "after": [*file_keys, lines],
        "on_dependency_failure": "cancel",
    }
