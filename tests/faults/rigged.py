"""`hivewire up` with a rig: services that go through links, that kill themselves at a point of the loop, or servers with
other settings. The product knows nothing of it; all that is put in place of something of its own is here and in `points.py`.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from e2e.up import Up

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Rig:
    """What is different."""

    environment: dict[str, dict[str, str]] = field(default_factory=dict)
    """More environment variables of a service, by its name."""
    jetstream: str = ""
    """More settings of nats-server's JetStream."""
    program: str = "hivewire"
    """The module that is started instead of `hivewire`, with the same arguments."""


@dataclass
class RiggedUp(Up):
    """An `up` with a rig."""

    rig: Rig = field(default_factory=Rig)

    @property
    def environment(self) -> dict[str, str]:
        """As any user's, with the tests' modules."""
        return super().environment | {"PYTHONPATH": str(TESTS)}

    def up_command(self) -> list[str]:
        return [sys.executable, "-m", "faults.rigged", json.dumps(asdict(self.rig))]

    def keep_ports(self, **ports: int) -> None:
        """Let servers listen on these ports, by which links find them."""
        folder = self.data / "run"
        folder.mkdir(parents=True)
        (folder / "ports").write_text(json.dumps({name.replace("_", "-"): port for name, port in ports.items()}))

    def keep_password(self, password: str) -> None:
        """Let Postgres have this password, which a link's DSN names."""
        folder = self.data / "keys"
        folder.mkdir(parents=True)
        (folder / "postgres-password").write_text(password)


def _install(rig: Rig) -> None:
    from hivewire_service import supervisor
    from hivewire_service.embedded import nats_server

    start, environment = supervisor.Part._run, supervisor.Service._environment

    async def run(part: supervisor.Part, module: str, *arguments: str, environment: Mapping[str, str]) -> None:
        await start(part, rig.program if module == "hivewire" else module, *arguments, environment=environment)

    def of_service(service: supervisor.Service, stack: object) -> dict[str, str]:
        return environment(service, stack) | rig.environment.get(service.name, {})

    supervisor.Part._run = run
    supervisor.Service._environment = of_service
    nats_server._CONFIG = nats_server._CONFIG.replace("jetstream: {{ ", f"jetstream: {{{{ {rig.jetstream} ")


if __name__ == "__main__":
    from hivewire.cli import main

    _install(Rig(**json.loads(sys.argv.pop(1))))
    sys.argv.insert(1, "up")
    main()
