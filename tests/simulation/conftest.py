"""Options of the simulation."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="run this seed of the simulation alone")
    parser.addoption("--seeds", type=int, default=200, help="how many seeds of the simulation to run")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What services log is not shown: the trace says what they did."""
    with capture_logs():
        yield
