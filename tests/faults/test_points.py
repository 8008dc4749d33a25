"""Services that are killed at each point of the loop, on the real servers."""

from pathlib import Path

import pytest

from e2e.up import eventually
from faults import harness, points
from faults.rigged import Rig, RiggedUp
from faults.strikes import Fault
from hivewire_service.supervisor import SERVICES

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

DEATHS = 5


@pytest.mark.parametrize("point", points.POINTS, ids=lambda point: point.replace(", ", "-").replace(" ", "-"))
async def test_a_service_may_be_killed_anywhere(point: str, seed: int, record, tmp_path):
    deaths = tmp_path / "deaths"
    deaths.touch()
    told = {points.POINT: point, points.DEATHS: str(deaths), points.SEED: str(seed)}
    up = RiggedUp(tmp_path, rig=Rig(dict.fromkeys(SERVICES, told), program="faults.points"))
    faults = [Fault(f"killed {point}", lambda _: _one_dies(deaths))] * DEATHS
    run = harness.Run(up, faults, tasks=1_000, per_second=50, seed=seed)
    record(run.outcome)
    await harness.survives(up, run)


def _one_dies(deaths: Path) -> None:
    """Allow one death, and wait for it: the load sees to it that the point is passed."""
    deaths.write_bytes(b"+")
    eventually(lambda: deaths.stat().st_size == 0)
