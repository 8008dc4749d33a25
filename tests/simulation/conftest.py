"""Options of the simulation."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="run this seed of the simulation alone")
    parser.addoption("--seeds", type=int, default=200, help="how many seeds of the simulation to run")
