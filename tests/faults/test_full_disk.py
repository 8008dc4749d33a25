"""Disks that are full for a while: Postgres', nats-server's, and one for everything."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.up import HIVEWIRE, Up, eventually
from faults import harness
from faults.strikes import Fault

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

FULL_S = 15.0
CHUNK = b"x" * 65_536


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A disk of its own for a folder; where that cannot be had, the test is skipped."""
    folder.mkdir(parents=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mount.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def full(name: str, folder: Path, says: list[str]) -> Fault:
    """The folder's disk has no room for a while. What `doctor` says of it meanwhile is added to `says`."""

    def strike(up: Up) -> None:
        ballast = folder / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(CHUNK)
        until = time.monotonic() + FULL_S
        try:
            says.append(eventually(lambda: _trouble(up)))
            time.sleep(max(0.0, until - time.monotonic()))
        finally:
            ballast.unlink()

    return Fault(f"no room for {name}", strike)


def _trouble(up: Up) -> str:
    process = subprocess.run(
        [*HIVEWIRE, "doctor", "--json"],
        env=up.environment,
        cwd=up.home,
        check=False,
        capture_output=True,
        text=True,
    )
    found = json.loads(process.stdout)
    checks = found["services"] | found["checks"]
    return "\n".join(f"{name}: {check['says']}" for name, check in checks.items() if not check["well"])


@pytest.mark.parametrize(
    ("disk", "megabytes"), [("nats", 64), ("postgres", 400), ("", 600)], ids=["nats-server", "postgres", "everything"]
)
async def test_nothing_is_lost_and_work_goes_on_once_there_is_room(
    disk: str, megabytes: int, seed: int, record, tmp_path
):
    up = Up(tmp_path)
    folder = up.data / disk
    says: list[str] = []
    with small_disk(folder, megabytes):
        fault = full(disk or "everything", folder, says)
        run = harness.Run(up, [fault] * 2, tasks=1_000, per_second=20, seed=seed)
        record(run.outcome)
        await harness.survives(up, run)
    assert all("0.00 of" in said for said in says)
    if disk == "postgres":
        assert any("No space left on device" in said for said in says)
