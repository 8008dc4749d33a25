"""Links that are cut, stall, open in one direction only, are forgotten or slow: between each service and its servers, and
between the agents and nats-server."""

import itertools
import random
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from e2e.up import Up
from faults import harness
from faults.links import Link, links
from faults.rigged import Rig, RiggedUp
from faults.strikes import Fault
from hivewire.context import Context
from hivewire_service.embedded.folder import port_is_free
from hivewire_service.supervisor import SERVICES
from ports import free_port

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

PASSWORD = "a-password-of-the-tests"
LASTS_S = 7.0
"""Longer than a lease. With an agent's last beat before and its longest pause between two attempts to come back it is
shorter than an agent's allowance, so that none may be lost."""
APART_S = 10.0
"""After a trouble of all agents' link each of them comes back and beats within this time. Before, another one would add to
its silence."""
SLOW_S = 0.15
TROUBLES: dict[str, Callable[[Link], None]] = {
    "cut": Link.cut,
    "stalled": Link.stall,
    "open from the server only": lambda link: link.stall(back=False),
    "open to the server only": lambda link: link.stall(there=False),
    "forgotten": Link.forget,
    "slow": lambda link: link.delay(SLOW_S),
}
ENDS = {
    "services and nats-server": [f"{service} nats" for service in SERVICES],
    "services and postgres": [f"{service} postgres" for service in SERVICES],
    "agents and nats-server": ["agents nats"],
}
STRIKES = 3


class Linked:
    """An `up` in which every service has a link to each server, and the agents have one to nats-server."""

    def __init__(self, up: RiggedUp, made: dict[str, Link]) -> None:
        self.up = up
        self.links = made

    def agents_context(self, up: Up) -> Context:
        """How agents find the hive: by their link."""
        return msgspec.structs.replace(up.context, nats_url=_nats_url(self.links["agents nats"].port))


@pytest.fixture
def linked(tmp_path) -> Iterator[Linked]:
    # Below the ephemeral range: a link that dials a server which is down must not end up connected to itself.
    nats_server, postgres = itertools.islice(filter(port_is_free, random.sample(range(20_000, 32_000), 100)), 2)
    servers = {"nats": nats_server, "postgres": postgres}
    names = [name for ends in ENDS.values() for name in ends]
    with links({name: (free_port(), servers[name.split()[1]]) for name in names}) as made:
        environment = {
            service: {
                "NATS_URL": _nats_url(made[f"{service} nats"].port),
                "HIVEWIRE_POSTGRES_DSN": _dsn(made[f"{service} postgres"].port),
            }
            for service in SERVICES
        }
        up = RiggedUp(tmp_path, rig=Rig(environment))
        up.keep_ports(nats_server=nats_server, postgres=postgres)
        up.keep_password(PASSWORD)
        yield Linked(up, made)


def _nats_url(port: int) -> str:
    return f"nats://127.0.0.1:{port}"


def _dsn(port: int) -> str:
    return f"postgresql://hivewire:{PASSWORD}@127.0.0.1:{port}/hivewire"


@pytest.mark.parametrize("between", ENDS, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda name: name.replace(" ", "-"))
async def test_nothing_is_lost_or_done_twice(linked: Linked, between: str, trouble: str, seed: int, record):
    chance = random.Random(seed)
    name = f"{between}: {trouble}"
    apart_s = APART_S if between.startswith("agents") else 0.0
    faults = [
        _trouble(name, linked.links[chance.choice(ENDS[between])], TROUBLES[trouble], apart_s) for _ in range(STRIKES)
    ]
    fleet = harness.agents_here(linked.agents_context)
    run = harness.Run(linked.up, faults, tasks=750, per_second=25, seed=seed, fleet=fleet)
    record(run.outcome)
    await harness.survives(linked.up, run)


def _trouble(name: str, link: Link, begin: Callable[[Link], None], apart_s: float) -> Fault:
    def strike(_: Up) -> None:
        time.sleep(apart_s)
        begin(link)
        time.sleep(LASTS_S)
        link.restore()

    return Fault(name, strike)


async def test_an_owner_whose_link_to_postgres_leads_nowhere_goes_on_over_a_new_one(linked: Linked, seed: int, record):
    """Nothing is ever heard again on the connections that stood; the probe measures until new ones do the work."""
    chance = random.Random(seed)

    def strike(_: Up) -> None:
        linked.links[f"{chance.choice(SERVICES)} postgres"].forget()

    run = harness.Run(
        linked.up,
        [Fault("services and postgres: forgotten for ever", strike)] * STRIKES,
        tasks=500,
        per_second=25,
        seed=seed,
    )
    record(run.outcome)
    await harness.survives(linked.up, run)
    assert run.outcome.recovery(1) < 30
