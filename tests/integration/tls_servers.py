"""A CA of the tests' own, and servers with certificates of it."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from hivewire_service.embedded import binaries
from hivewire_service.keyring import make_keys
from ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy" / "nats"
LOOPBACK = "127.0.0.1"
STARTS_S = 20


@dataclass(frozen=True)
class Shown:
    """A certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A CA in a folder."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.file = folder / "ca.pem"
        folder.mkdir(exist_ok=True)
        self._ca.cert_pem.write_to_path(self.file)

    def certificate(self, name: str = LOOPBACK, *, expired: bool = False) -> Shown:
        """A certificate for one name or address."""
        until = datetime.now(UTC) - timedelta(days=1) if expired else None
        issued = self._ca.issue_cert(name, not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=until)
        files = Path(tempfile.mkdtemp(dir=self._folder))
        shown = Shown(files / "cert.pem", files / "key.pem")
        issued.private_key_pem.write_to_path(shown.key)
        for part in issued.cert_chain_pems:
            part.write_to_path(shown.cert, append=True)
        return shown


@asynccontextmanager
async def listening(port: int, *command: object, **options: object) -> AsyncIterator[None]:
    """A server that takes connections on its port, until the context ends."""
    server = subprocess.Popen(list(map(str, command)), **options)
    try:
        async with asyncio.timeout(STARTS_S):
            while True:
                assert server.poll() is None, f"{command[0]} ended with {server.returncode}"
                try:
                    _, writer = await asyncio.open_connection(LOOPBACK, port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield
    finally:
        server.send_signal(signal.SIGINT)  # Postgres would wait for its clients at SIGTERM
        server.wait(STARTS_S)


@asynccontextmanager
async def nats_server(folder: Path, tls: str = "", port: int | None = None) -> AsyncIterator[int]:
    """A nats-server for anybody, with the body of its `tls` block; the port."""
    port = port or free_port()
    config = folder / f"nats-{port}.conf"
    config.write_text(f'listen: "{LOOPBACK}:{port}"\n' + (f"tls {{ {tls} }}\n" if tls else ""))
    with (folder / f"nats-{port}.log").open("wb") as log:
        async with listening(port, binaries.nats_server(), "--config", config, stderr=log):
            yield port


def shows(shown: Shown, clients_of: Path | None = None) -> str:
    """The `tls` block of a server that shows this, and that wants certificates of `clients_of` to be shown."""
    wants = f', ca_file: "{clients_of}", verify: true' if clients_of else ""
    return f'cert_file: "{shown.cert}", key_file: "{shown.key}"{wants}'


@asynccontextmanager
async def hive_server(folder: Path, hive: str, shown: Shown, clients_of: Path) -> AsyncIterator[int]:
    """nats-server as deploy/nats configures it, with the keys of a hive and TLS, also of its clients; the port."""
    make_keys(folder, hive)
    shutil.copy(DEPLOY / "single.conf", folder)
    config = folder / "single-tls.conf"
    both_ways = f'$NATS_TLS_KEY, ca_file: "{clients_of}", verify: true'
    config.write_text((DEPLOY / config.name).read_text().replace("$NATS_TLS_KEY", both_ways))
    port = free_port()
    environment = {
        "NATS_LISTEN": f"{LOOPBACK}:{port}",
        "NATS_MONITOR": f"{LOOPBACK}:{free_port()}",
        "NATS_ACCOUNTS": str(folder / "accounts"),
        "NATS_STORE": str(folder / "store"),
        "NATS_TLS_CERT": str(shown.cert),
        "NATS_TLS_KEY": str(shown.key),
    }
    with (folder / "nats.log").open("wb") as log:
        async with listening(
            port, binaries.nats_server(), "--config", config, env=os.environ | environment, stderr=log
        ):
            yield port


@asynccontextmanager
async def postgres(shown: Shown | None, clients_of: Path | None = None) -> AsyncIterator[int]:
    """A Postgres on a free port that lets everybody in, but nobody in the clear if it shows a certificate, and nobody
    without one of `clients_of`, if that is given.

    The one from the wheel has no TLS, so this one is the system's, with a data directory of its own.
    """
    programs = _system_postgres()
    with _owned_folder() as (folder, user):
        data, port = folder / "data", free_port()
        initdb = [programs / "initdb", "--auth=trust", "--username=hivewire", "--no-sync", "-D", data]
        await asyncio.to_thread(subprocess.run, initdb, check=True, capture_output=True, cwd=folder, **user)
        settings = {"port": port, "listen_addresses": LOOPBACK, "unix_socket_directories": folder, "fsync": "off"}
        if shown is not None:
            files = {"server.crt": shown.cert, "server.key": shown.key}
            wants = ""
            if clients_of is not None:
                files["clients.crt"], wants = clients_of, " clientcert=verify-ca"
                settings |= {"ssl_ca_file": "clients.crt"}
            for name, file in files.items():
                shutil.copy(file, data / name)
                (data / name).chmod(0o600)
                if user:
                    os.chown(data / name, user["user"], user["group"])
            settings |= {"ssl": "on"}
            (data / "pg_hba.conf").write_text(f"hostssl all all 127.0.0.1/32 trust{wants}\n")
        given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        asked = [programs / "pg_isready", "--quiet", f"--host={LOOPBACK}", f"--port={port}"]
        with (folder / "log").open("wb") as log:
            async with listening(
                port, programs / "postgres", "-D", data, *given, stdout=log, stderr=log, cwd=folder, **user
            ):
                async with asyncio.timeout(STARTS_S):
                    while (await asyncio.to_thread(subprocess.run, asked, check=False)).returncode != 0:
                        await asyncio.sleep(0.02)
                yield port


def _system_postgres() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if found and int(found[-1].parent.name) >= 15:
        return found[-1]
    elsewhere = shutil.which("initdb")
    if elsewhere is None:
        pytest.skip("needs a Postgres with TLS, 15 or newer: Debian's package postgresql")
    return Path(elsewhere).parent


@contextmanager
def _owned_folder() -> Iterator[tuple[Path, dict[str, int]]]:
    """A folder of a user under whom Postgres runs, which it refuses to as root, and how to run as that user."""
    folder = Path(tempfile.mkdtemp(prefix="hivewire-", dir="/tmp"))
    user = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
    try:
        yield folder, user
    finally:
        shutil.rmtree(folder)
