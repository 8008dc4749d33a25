"""Ways to break a running hive. The supervisor brings back what ended."""

import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from e2e.up import Up, eventually
from hivewire_service.supervisor import SERVICES

PROCESSES = (*SERVICES, "nats-server", "postgres")


@dataclass(frozen=True)
class Fault:
    """Something that can happen to a hive; `strike` returns when it is over, or has begun to be mended."""

    name: str
    strike: Callable[[Up], None]


def sent(process: str, number: signal.Signals) -> Fault:
    """A signal to one of the hive's processes, as soon as it runs."""

    def strike(up: Up) -> None:
        eventually(lambda: _send(up, process, number))

    return Fault(f"{process} {'killed' if number == signal.SIGKILL else number.name}", strike)


def _send(up: Up, process: str, number: signal.Signals) -> bool:
    try:
        victim = up.service(process)
        if victim.status() == psutil.STATUS_ZOMBIE:
            return False  # it has ended, and nobody has looked yet
        victim.send_signal(number)
    except (psutil.NoSuchProcess, OSError, ValueError):
        return False  # it is being started again
    return True


def killed(process: str) -> Fault:
    """SIGKILL to one of the hive's processes."""
    return sent(process, signal.SIGKILL)


def any_killed(count: int, seed: int) -> list[Fault]:
    """SIGKILL to whichever of the hive's processes is the first in a random order that runs at the moment. A strike that
    waited for one would always come when that is just starting, and hold up those after it."""
    chance = random.Random(seed)

    def fault(order: Sequence[str]) -> Fault:
        return Fault(
            "any process killed",
            lambda up: eventually(lambda: any(_send(up, process, signal.SIGKILL) for process in order)),
        )

    return [fault(chance.sample(PROCESSES, len(PROCESSES))) for _ in range(count)]


def terminated(process: str) -> Fault:
    """SIGTERM, after which it ends in its own way. The strike is over when it has."""
    asked = sent(process, signal.SIGTERM)

    def strike(up: Up) -> None:
        before = up.pid(process)
        asked.strike(up)
        eventually(lambda: not psutil.pid_exists(before))

    return Fault(asked.name, strike)


def paused(process: str, seconds: float) -> Fault:
    """One of the hive's processes stands still for a while, as in a virtual machine that is moved."""

    def pause(up: Up) -> None:
        victim = up.service(process)
        victim.suspend()
        time.sleep(seconds)
        victim.resume()

    return Fault(f"{process} paused {seconds:g} s", pause)


def any_of(name: str, faults: list[Fault], count: int, seed: int) -> list[Fault]:
    """Faults drawn at random, under one name."""
    chance = random.Random(seed)
    return [Fault(name, chance.choice(faults).strike) for _ in range(count)]


def _lose_streams(up: Up) -> None:
    """Delete JetStream's files while nats-server is down: paused first, so that it cannot write them again."""
    server = up.service("nats-server")
    server.suspend()
    shutil.rmtree(up.data / "nats" / "jetstream")
    server.kill()


STREAMS_DELETED = Fault("streams deleted", _lose_streams)
BREAKS = (*map(killed, PROCESSES), STREAMS_DELETED)
