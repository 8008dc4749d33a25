"""The benchmarks run, and nothing is lost or done twice. What they measure is not judged here."""

import json
import subprocess
import sys

import pytest

PARTS = {
    "latency": "completed",
    "throughput": "share_of_floor",
    "events": "events_per_s",
    "questions": "delivered",
    "idle": "cpu_percent",
    "deciding": "us_with_100_agents",
    "ticks": "persisted_growth",
    "load": "recorded",
    "heartbeats": "cpu_percent",
    "recovery": "standby_s",
    "scale": "assignment_growth",
    "soak": "p99_growth",
}


@pytest.mark.parametrize("name", PARTS)
def test_a_quick_run_says_what_it_measured(name):
    done = subprocess.run(
        [sys.executable, "-m", "hivewire", "bench", name, "--quick", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed[name]["problems"] == []
    assert PARTS[name] in printed[name]
    assert printed["machine"]["cores"] >= 1


def test_an_unknown_benchmark_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "hivewire", "bench", "speed"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert all(f"'{name}'" in done.stderr for name in PARTS)
