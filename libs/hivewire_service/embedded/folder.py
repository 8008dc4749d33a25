"""The data directory of an embedded stack: what lies where, who owns it, and that only one process uses it."""

import errno
import fcntl
import json
import os
import pwd
import random
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hivewire.errors import HivewireError
from hivewire.private_file import write_private
from hivewire_service.process import User

PORTS = range(20_000, 32_000)
"""Below Linux's ephemeral range: a client that keeps dialling a port of that range, while the server is down, can end
up connected to itself and take the port."""
_HERE = Path("/proc/self/cwd")
_LOG_LINES_READ = 30
_FAILURE = re.compile(r"FATAL|PANIC|ERROR|\[FTL\]|\[ERR\]|error:|could not|Error\b")
_LOG_BYTES_MAX = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Paths below the data directory, and the user that the servers run as (None: ourselves).

    Servers get descriptors and working directories, never a path from the root: the directory may lie where their
    user cannot look anything up.
    """

    root: Path

    @property
    def keys(self) -> Path:
        """Signing keys and passwords."""
        return self.root / "keys"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials"

    @property
    def run(self) -> Path:
        """Records of the running processes."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def server_user(self) -> User | None:
        """Postgres refuses to run as root, and nats-server need not: root starts both as the directory's owner, or as
        nobody where that is root itself or (as on mounts into a container) no known user."""
        if os.geteuid() != 0:
            return None
        owner = self.root.stat()
        try:
            user = pwd.getpwuid(owner.st_uid) if owner.st_uid != 0 else pwd.getpwnam("nobody")
        except KeyError:
            user = pwd.getpwnam("nobody")
        return User(user.pw_uid, user.pw_gid)

    def prepare(self) -> None:
        """Create what is missing, readable by its owner alone.

        Raises:
            HivewireError: the directory cannot be written.
        """
        with explained(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.keys, self.credentials, self.run, self.logs, self.nats, self.postgres):
                folder.mkdir(mode=0o700, exist_ok=True)
            for folder in (self.nats, self.postgres):
                self.give_to_servers(folder)

    def give_to_servers(self, path: Path) -> None:
        """Make the servers' user the owner of `path`."""
        if user := self.server_user:
            os.chown(path, user.uid, user.gid)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the directory alone.

        Raises:
            HivewireError: a living process holds it.
        """
        with explained(self.root), (self.run / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise HivewireError(
                    f"{self.root} is in use by process {holder}: if a hive runs there already, use it or stop it with "
                    f"`kill {holder}`; another needs --data DIR and --http-port PORT"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def secret(self, name: str) -> str:
        """The random password `name`, made when it is first asked for."""
        file = self.keys / name
        if not file.exists():
            write_private(file, secrets.token_urlsafe(32))
        return file.read_text()

    def port(self, name: str) -> int:
        """A free loopback port; the same as last time if it is still free, so that clients find their way back.

        Raises:
            HivewireError: no port is free.
        """
        file = self.run / "ports"
        ports = _read_ports(file)
        taken = set(ports.values())
        candidates = [ports[name]] if name in ports else []
        candidates += random.sample([port for port in PORTS if port not in taken], 100)
        for port in candidates:
            if port_is_free(port):
                file.write_text(json.dumps(ports | {name: port}))
                return port
        raise HivewireError(f"no port is free on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def open_log(self, name: str) -> int:
        """A descriptor that appends to the log `name`, for a child's output."""
        self.bound_log(name)
        return os.open(self.log(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def bound_log(self, name: str) -> None:
        """Keep the log `name` and one older part of it within 10 MiB each; its writer appends and notices nothing."""
        file = self.log(name)
        if file.exists() and file.stat().st_size > _LOG_BYTES_MAX:
            older = file.with_suffix(".log.1")
            older.write_bytes(file.read_bytes()[-_LOG_BYTES_MAX:])
            older.chmod(0o600)
            os.truncate(file, 0)

    def last_failure(self, name: str) -> str:
        """What the log `name` ends with: the last line that speaks of an error, else the last line."""
        try:
            lines = self.log(name).read_text(errors="replace").splitlines()[-_LOG_LINES_READ:]
        except OSError:
            return ""
        told = [line.strip() for line in lines if line.strip()]
        return next(filter(_FAILURE.search, reversed(told)), told[-1] if told else "")


def working_directory(path: Path) -> Path:
    """How a server whose working directory is `path` names it.

    Both servers turn relative paths into absolute ones, which an unprivileged user cannot look up below, say, /root.
    On Linux there is a link to the working directory that needs no permission on the folders above it.
    """
    return _HERE if _HERE.exists() else path


def _read_ports(file: Path) -> dict[str, int]:
    try:
        ports: dict[str, int] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return ports


def port_is_free(port: int) -> bool:
    """Whether a server could listen on `port` of 127.0.0.1."""
    try:
        try_port(port)
    except OSError:
        return False
    return True


def try_port(port: int) -> None:
    """Take `port` of 127.0.0.1 for a moment, as a server would. Raises OSError when that cannot be done."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one line that names the folder and what to do."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                reason = "the disk is full: free some space"
            case errno.EACCES | errno.EPERM | errno.EROFS:
                reason = "it is not writable: choose another directory with --data"
            case errno.ENOTDIR | errno.EEXIST:
                reason = "it is no directory: choose another with --data"
            case _:
                reason = error.strerror or str(error)
        raise HivewireError(f"cannot use {folder}: {reason}") from error
