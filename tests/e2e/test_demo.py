"""The demo, on a small tree."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType

import msgspec
import psutil
import pytest

from hivewire.views import EventView

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two packages, one of them with a file that is no Python."""
    root = tmp_path / "tree"
    (root / "inner").mkdir(parents=True)
    (root / "branches.py").write_text("def choose(a, b):\n    # one of them\n    return a if a or b else b\n")
    (root / "inner" / "broken.py").write_text("def broken(:\n")
    (root / "inner" / "loops.py").write_text("import os\n\nfor name in os.environ:\n    print(name)\n")
    return root


@pytest.fixture
def demo(tree: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The running demo, whose temporary files are in `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.codebase"],
        cwd=ROOT,
        env={**os.environ, "DEMO_DIR": str(tree), "TMPDIR": str(tmp_path), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.terminate()


def leftovers(tmp_path: Path) -> list[str]:
    """Folders and processes of a demo that should be over."""
    folders = [str(folder) for folder in tmp_path.glob("hivewire-demo-*")]
    processes = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return folders + [line for line in processes if f"{tmp_path}/hivewire-demo" in line]


def test_proves_its_own_report_and_leaves_nothing_behind(demo, tmp_path):
    output, _ = demo.communicate()

    assert demo.returncode == 0, output
    assert "was killed in mid-task" in output
    assert "attempt 2 failed (exit status 1" in output
    assert "needs latin" in output
    assert "cancelled by operator" in output
    assert "3 files, 8 tasks, each completed once, and the report is right" in output
    assert leftovers(tmp_path) == []


def test_interrupted_leaves_nothing_behind(demo, tmp_path):
    for line in demo.stdout:
        if "joins" in line:
            demo.send_signal(signal.SIGINT)
            break
    output = demo.stdout.read()

    assert demo.wait() == 130, output
    assert leftovers(tmp_path) == []


def test_a_tree_without_python_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "examples.codebase"],
        cwd=ROOT,
        env={**os.environ, "DEMO_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "no Python files" in done.stdout


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    return import_module("examples.codebase.audit")


def completed(task_id: str) -> EventView:
    return EventView(
        id="e",
        seq=1,
        writer="broker",
        type="task.completed",
        entity_id=task_id,
        time=datetime.now(UTC),
        data=msgspec.Raw(),
    )


def test_notices_what_is_missing_and_what_was_done_twice(audit):
    events = [completed("a"), completed("b"), completed("b")]

    assert audit.not_once({"a": "A", "b": "B", "c": "C"}, events) == ["B: completed 2 times", "C: completed 0 times"]


def test_notices_a_wrong_report(audit, tree):
    right = audit.direct(sorted(tree.rglob("*.py")))

    assert audit.differences(right, right) == []
    assert audit.differences(replace(right, classes=7), right) == ["the report says classes = 7, and it is 0"]
