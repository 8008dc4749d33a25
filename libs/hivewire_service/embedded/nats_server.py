"""nats-server as a child process, with the hive's accounts and JetStream in the data directory."""

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path

from hivewire.private_file import write_private
from hivewire_service.authority import Authority
from hivewire_service.embedded import binaries
from hivewire_service.embedded.folder import DataFolder, explained, working_directory
from hivewire_service.embedded.readiness import until_ready
from hivewire_service.identity import HiveKeys, Issuer, revoked_users
from hivewire_service.process import Child, Command

_CONFIG = """\
server_name: "hivewire"
listen: "127.0.0.1:{port}"
max_payload: 1MB
operator: "{operator}"
system_account: "{system}"
resolver: {{ type: full, dir: "{here}/accounts", allow_delete: false, interval: "2m" }}
jetstream: {{ store_dir: "{here}", max_file_store: {file_store_bytes} }}
"""
FILE_STORE_BYTES = 1024**4
"""More than all streams may ever hold. The server would otherwise set three quarters of the free disk aside for their
bounds, and refuse the streams of a small disk, or of many hives, although they hold next to nothing."""

ROOM_BYTES_MIN = 16 * 1024 * 1024
"""Two of the blocks that it writes messages into."""
_NO_ROOM = b"no space left on device"
_LOG_BYTES_MAX = 1024 * 1024


class NatsServer:
    """One nats-server with authentication by JWT and an account a hive."""

    name = "nats-server"

    def __init__(self, folder: DataFolder) -> None:
        self.child = Child(self.name, folder.run)
        self._folder = folder
        self._port = 0
        self._log_read = 0

    @property
    def url(self) -> str:
        """Where clients connect, once it was started."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def jetstream_dir(self) -> Path:
        """Where JetStream keeps its streams; it may be removed while the server is down."""
        return self._folder.nats / "jetstream"

    async def start(self) -> None:
        """Start the server and wait until it takes clients. Started again, it listens on the same port.

        Raises:
            HivewireError: it is not installed or ends at once; the text quotes its log.
        """
        folder = self._folder
        self._port = self._port or folder.port(self.name)
        with explained(folder.root):
            self._configure()
            log = folder.open_log(self.name)
            self._log_read = folder.log(self.name).stat().st_size
        program = binaries.nats_server()
        command = Command(
            program=str(program),
            argv=("nats-server", "--config", "nats.conf"),
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
            cwd=folder.nats,
            user=folder.server_user,
            stdout=log,
        )
        await self.child.start(command)
        await until_ready(self.child, self._takes_clients, folder)

    def ran_out_of_room(self) -> bool:
        """Whether it said since the last look that there was no room to store a message. It stores none any more then,
        however much room there is, until it is started again; and it tells nobody but its log."""
        file = self._folder.log(self.name)
        with file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(self._log_read if self._log_read <= size else 0)  # it may have been shortened
            said = log.read(_LOG_BYTES_MAX)
            self._log_read = size
        return _NO_ROOM in said

    def has_room(self) -> bool:
        """Whether there is some on its disk."""
        return shutil.disk_usage(self._folder.nats).free >= ROOM_BYTES_MIN

    async def _takes_clients(self) -> bool:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                return (await reader.readline()).startswith(b"INFO ")
            finally:
                writer.close()
        return False

    def add_hive(self, hive: str) -> Issuer:
        """The issuer of `hive`'s credentials; its keys and its account are made when it is new.

        The account is written anew each time, so that it has the permissions of this version of the roles; who was
        revoked stays revoked. A hive may be added while the server runs.

        Raises:
            BadUsage: `hive` is no valid name of a hive, or its keys cannot be read.
        """
        file = self.keys_file(hive)
        if not file.exists():
            HiveKeys.new(hive).save(file)
        keys = HiveKeys.load(file)
        account = self._account_file(keys.account)
        revoked = revoked_users(account.read_text()) if account.exists() else []
        self._write(account, self._authority().account_token(keys, revoked))
        return Issuer(keys)

    def keys_file(self, hive: str) -> Path:
        """The signing keys of `hive`'s roles."""
        return self._folder.keys / f"hive-{hive}.json"

    @property
    def authority_file(self) -> Path:
        """The keys that the server trusts; made at the first start."""
        return self._folder.keys / "authority.json"

    def _configure(self) -> None:
        authority = self._authority()
        system = authority.system.public
        accounts = self._folder.nats / "accounts"
        accounts.mkdir(mode=0o700, exist_ok=True)
        self._folder.give_to_servers(accounts)
        self._write(self._account_file(system), authority.system_token())
        config = _CONFIG.format(
            port=self._port,
            operator=authority.operator_token(),
            system=system,
            here=working_directory(self._folder.nats),
            file_store_bytes=FILE_STORE_BYTES,
        )
        self._write(self._folder.nats / "nats.conf", config)

    def _authority(self) -> Authority:
        if not self.authority_file.exists():
            Authority.new().save(self.authority_file)
        return Authority.load(self.authority_file)

    def _account_file(self, account: str) -> Path:
        return self._folder.nats / "accounts" / f"{account}.jwt"

    def _write(self, file: Path, text: str) -> None:
        write_private(file, text)
        self._folder.give_to_servers(file)
