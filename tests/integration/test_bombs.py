"""A few payload bombs into every entrance of real services; `make faults` throws all of them."""

from collections.abc import Iterator

import pytest

from .bombs import VALUES, throw
from .test_hostile_agents import Running, running

FEW = ("deep", "exponent", "surrogate")


@pytest.fixture(scope="module")
def world(stack, tmp_path_factory) -> Iterator[Running]:
    with running(stack, tmp_path_factory.mktemp("bombs") / "hive") as world:
        yield world


async def test_bombs_are_refused_and_kept_whatever_the_entrance(world: Running):
    thrown = await throw(world, {name: VALUES[name] for name in FEW}, one_in=7)
    assert min(thrown.values()) > 0
