"""The real servers, started once for all tests, and a hive of its own for each test that asks for one."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client

from hivewire.context import VARIABLES
from hivewire.subjects import reply_prefix
from hivewire_service.embedded import Embedded
from hivewire_service.identity import Issuer
from hivewire_service.roles import RESERVED_NAMES, Role

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Hive:
    """A hive of one test: an account on the shared nats-server, and a name for a schema on the shared Postgres."""

    name: str
    nats_url: str
    postgres_dsn: str
    keys_file: Path
    issuer: Issuer
    folder: Path

    @property
    def authority_file(self) -> Path:
        """The keys that nats-server trusts."""
        return self.keys_file.with_name("authority.json")

    def credentials(self, role: Role | str, name: str | None = None) -> Path:
        """A new credentials file; the reserved roles need no name."""
        name = name or RESERVED_NAMES[Role(role)]
        file = self.folder / f"{name}.creds"
        file.write_text(self.issuer.issue(role, name))
        return file

    async def connect(self, role: Role | str, name: str | None = None, **options: object) -> Client:
        """A plain NATS connection in that role; the test closes it."""
        name = name or RESERVED_NAMES[Role(role)]
        return await nats.connect(
            self.nats_url,
            user_credentials=str(self.credentials(role, name)),
            inbox_prefix=reply_prefix(name),
            allow_reconnect=False,
            **options,
        )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Embedded]:
    """nats-server and Postgres for the whole session."""
    async with Embedded(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def hive(stack: Embedded, tmp_path: Path) -> Hive:
    """A hive that no other test sees."""
    return new_hive(stack, tmp_path / "hive")


@pytest.fixture
def other_hive(stack: Embedded, tmp_path: Path) -> Hive:
    """A second one."""
    return new_hive(stack, tmp_path / "other")


@pytest.fixture(scope="module")
def shared_hive(stack: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Hive:
    """A hive that the tests of one module share."""
    return new_hive(stack, tmp_path_factory.mktemp("shared") / "hive")


def new_hive(stack: Embedded, folder: Path) -> Hive:
    """A hive on the servers of `stack`."""
    name = f"hive{next(_numbers)}"
    issuer = stack.nats.add_hive(name)
    folder.mkdir()
    return Hive(name, stack.nats.url, stack.postgres.dsn, stack.nats.keys_file(name), issuer, folder)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No hive is known from outside: not by the environment, not by a file, not by the user's own `up`."""
    for name in (*VARIABLES.values(), "HIVEWIRE_CONFIG", "HIVEWIRE_POSTGRES_DSN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path
