"""Postgres as a child process, with its data in the data directory and a password from the first start."""

import asyncio
import shutil
import signal
from pathlib import Path

import asyncpg

from hivewire.errors import HivewireError
from hivewire_service.embedded import binaries
from hivewire_service.embedded.folder import DataFolder, explained, working_directory
from hivewire_service.embedded.readiness import until_ready
from hivewire_service.process import Child, Command, User

_INITDB = (
    "--username=hivewire",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--data-checksums",
)
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    # Short statements over few rows: compiling or parallelising them costs more than it saves.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    # No replication here, so no process that waits for it; and reads wait for the disk themselves.
    "max_logical_replication_workers": "0",
    "io_method": "sync",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Who needs a commit on the disk waits for it. What is left to the WAL writer are renewed leases, which may be lost; woken
    # for them five times a second, it was a sixteenth of what an idle hive costs.
    "wal_writer_delay": "2s",
    # Pages go to the disk as they are written, not all at once half a minute later, when commits would wait behind them: up
    # to a second at 1,400 tasks a second. And they are written by the background writer, not by whoever commits.
    "backend_flush_after": "256kB",
    "bgwriter_lru_maxpages": "1000",
    "bgwriter_lru_multiplier": "4",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}

_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    "TZ": "UTC",
    # Each statement takes some megabytes for its plan and gives them back. By default glibc hands them to the kernel and
    # fetches them again, page by page, which was a quarter of the processor time of short commits.
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
    "MALLOC_MMAP_THRESHOLD_": str(16 * 1024 * 1024),
}

_STATUS_LINE = 7
"""Of postmaster.pid, in which Postgres says what it does."""


class Postgres:
    """One Postgres server with the superuser and the database `hivewire`."""

    name = "postgres"

    def __init__(self, folder: DataFolder) -> None:
        # Fast shutdown, which ends sessions, then immediate shutdown, which leaves recovery to the next start.
        self.child = Child(self.name, folder.run, (signal.SIGINT, signal.SIGQUIT))
        self._folder = folder
        self._port = 0

    @property
    def dsn(self) -> str:
        """Where clients connect, with the password."""
        return self._dsn("hivewire")

    @property
    def address(self) -> str:
        """Where clients connect, fit to be shown."""
        return f"postgresql://hivewire@127.0.0.1:{self._port}/hivewire"

    def _dsn(self, database: str) -> str:
        return f"postgresql://hivewire:{self._folder.secret('postgres-password')}@127.0.0.1:{self._port}/{database}"

    @property
    def _data(self) -> Path:
        return self._folder.postgres / "data"

    def is_waiting_to_stop(self) -> bool:
        """Whether somebody told it to stop once its clients have gone, as SIGTERM does. Ours never go."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return "stopping" in (line.strip() for line in lines[_STATUS_LINE:])

    async def start(self) -> None:
        """Start the server and wait until it takes clients. Started again, it listens on the same port.

        Raises:
            HivewireError: it is not installed, the data is of another version, or it ends at once; the text quotes its
                log.
        """
        folder = self._folder
        user = folder.server_user
        programs = await asyncio.to_thread(binaries.postgres, user)
        self._port = self._port or folder.port(self.name)
        if not self._data.exists():
            await self._initialise(programs, user)
        settings = [f"{name}={value}" for name, value in (_SETTINGS | {"port": str(self._port)}).items()]
        argv = ["-D", str(working_directory(self._data)), *(part for setting in settings for part in ("-c", setting))]
        await self._run(self.child, programs / "postgres", argv, self._data, user)
        await until_ready(self.child, self._takes_clients, folder)

    async def _initialise(self, programs: Path, user: User | None) -> None:
        """Make a new cluster. The last step is a rename: the data directory is whole or absent."""
        folder = self._folder
        fresh = folder.postgres / "data.new"
        password = folder.postgres / "password"
        with explained(folder.root):
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            password.touch(mode=0o600)
            password.write_text(folder.secret("postgres-password"))
            folder.give_to_servers(fresh)
            folder.give_to_servers(password)
        initdb = Child("initdb", folder.run)
        here = working_directory(fresh)
        argv = [*_INITDB, f"--pwfile={here}/../password", "-D", str(here)]
        try:
            await self._run(initdb, programs / "initdb", argv, fresh, user)
            status = await initdb.wait()
        finally:
            await initdb.stop(0)
            password.unlink()
        if status != 0:
            raise HivewireError(f"Postgres cannot create its data in {fresh}: {folder.last_failure('initdb')}")
        fresh.rename(self._data)

    async def _run(self, child: Child, program: Path, argv: list[str], cwd: Path, user: User | None) -> None:
        with explained(self._folder.root):
            log = self._folder.open_log(child.name)
        command = Command(str(program), (str(program), *argv), _ENVIRONMENT, cwd, user, log)
        await child.start(command)

    async def _takes_clients(self) -> bool:
        try:
            connection = await asyncpg.connect(self._dsn("postgres"), timeout=5)
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, TimeoutError):
            return False
        try:
            if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'hivewire'"):
                await connection.execute("CREATE DATABASE hivewire")
        finally:
            await connection.close()
        return True
