"""nats-server and Postgres as child processes: started, stopped, killed, and in places where they may not look."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest

from hivewire.errors import HivewireError
from hivewire_service.embedded import Embedded
from hivewire_service.process import recorded

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to become")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


async def query(stack: Embedded, sql: str):
    connection = await asyncpg.connect(stack.postgres.dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_a_second_start_goes_on_with_the_same_data_and_ports(tmp_path):
    async with Embedded(tmp_path / "data") as stack:
        addresses = stack.nats.url, stack.postgres.dsn
        await query(stack, "CREATE TABLE kept AS SELECT 7 AS seven")
        pids = [stack.nats.child.pid, stack.postgres.child.pid]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    async with Embedded(tmp_path / "data") as stack:
        assert (stack.nats.url, stack.postgres.dsn) == addresses
        assert await query(stack, "SELECT seven FROM kept") == 7
        assert stack.orphans == []


async def test_postgres_is_durable_and_wants_the_password(stack):
    assert await query(stack, "SHOW fsync") == "on"
    assert await query(stack, "SHOW data_checksums") == "on"
    assert await query(stack, "SHOW listen_addresses") == "127.0.0.1"
    assert await query(stack, "SELECT string_agg(DISTINCT auth_method, ' ') FROM pg_hba_file_rules") == "scram-sha-256"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stack.postgres.dsn.replace("hivewire:", "hivewire:x", 1))


async def test_no_password_is_seen_in_a_command_line(stack):
    password = stack.folder.secret("postgres-password")
    for child in (stack.nats.child, stack.postgres.child):
        assert not any(password in part for part in psutil.Process(child.pid).cmdline())
    assert password not in stack.postgres.address


async def test_secrets_are_readable_by_their_owner_alone(stack):
    folder = stack.folder
    assert folder.root.joinpath("keys").stat().st_mode & 0o777 == 0o700
    for file in (*folder.keys.iterdir(), folder.nats / "nats.conf"):
        assert file.stat().st_mode & 0o777 == 0o600, file


@as_root
async def test_root_starts_the_servers_without_any_privilege(stack):
    for child in (stack.nats.child, stack.postgres.child):
        process = psutil.Process(child.pid)
        assert 0 not in process.uids()
        assert 0 not in process.gids()
        status = Path(f"/proc/{child.pid}/status").read_text()
        lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert lines["Groups"].strip() == ""
        assert int(lines["CapPrm"], 16) == int(lines["CapEff"], 16) == 0
        assert lines["NoNewPrivs"] == "1"


@as_root
async def test_servers_run_as_the_owner_of_the_directory(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    daemon = pwd.getpwnam("daemon")
    os.chown(data, daemon.pw_uid, daemon.pw_gid)
    async with Embedded(data) as stack:
        assert psutil.Process(stack.postgres.child.pid).uids().real == daemon.pw_uid
        assert await query(stack, "SELECT 1") == 1


async def test_a_directory_in_use_is_refused_by_the_holders_pid(stack):
    with pytest.raises(HivewireError, match=f"in use by process {os.getpid()}"):
        await Embedded(stack.folder.root).start()


@as_user
async def test_a_directory_that_is_not_writable_is_refused(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(HivewireError, match="is not writable: choose another directory with --data"):
        await Embedded(closed / "data").start()


async def test_a_file_is_no_data_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HivewireError, match="no directory"):
        await Embedded(tmp_path / "file").start()


async def test_a_server_that_ends_at_start_is_explained_by_its_log(tmp_path):
    async with Embedded(tmp_path / "data") as stack:
        data = stack.folder.postgres / "data"
    (data / "PG_VERSION").write_text("9\n")
    broken = Embedded(tmp_path / "data")
    with pytest.raises(HivewireError, match="postgres did not start: .*incompatible"):
        await broken.start()
    assert recorded(broken.folder.run) == {}


@pytest.mark.parametrize("name", ["nats", "postgres"])
async def test_a_killed_server_comes_back_on_its_port(tmp_path, name):
    async with Embedded(tmp_path / "data") as stack:
        server = getattr(stack, name)
        addresses = stack.nats.url, stack.postgres.dsn
        server.child.send(signal.SIGKILL)
        assert await server.child.wait() == -signal.SIGKILL
        await server.start()
        assert (stack.nats.url, stack.postgres.dsn) == addresses
        assert await query(stack, "SELECT 1") == 1


async def test_a_nats_server_without_room_is_known_by_its_log(tmp_path):
    async with Embedded(tmp_path / "data") as stack:
        assert not stack.nats.ran_out_of_room()
        log = stack.folder.log("nats-server")
        with log.open("a") as file:
            file.write("[ERR] JetStream failed to store a msg: write 1.blk: no space left on device\n")
        assert stack.nats.ran_out_of_room()
        assert not stack.nats.ran_out_of_room()
        stack.folder.log("nats-server").write_text("no space left on device\n")  # shortened meanwhile
        assert stack.nats.ran_out_of_room()
        assert stack.nats.has_room()


async def test_the_accounts_survive_the_loss_of_jetstreams_store(tmp_path):
    async with Embedded(tmp_path / "data") as stack:
        file = tmp_path / "service.creds"
        file.write_text(stack.nats.add_hive("hive").issue("service", "service"))

        async def streams() -> int:
            client = await nats.connect(stack.nats.url, user_credentials=str(file), inbox_prefix="_INBOX.service")
            count = (await client.jetstream().account_info()).streams
            if not count:
                await client.jetstream().add_stream(name="S", subjects=["hive.evt.>"])
            await client.close()
            return count

        assert await streams() == 0
        assert await streams() == 1
        stack.nats.child.send(signal.SIGKILL)
        await stack.nats.child.wait()
        shutil.rmtree(stack.nats.jetstream_dir)
        await stack.nats.start()
        assert await streams() == 0


OWNER = """
import asyncio, pathlib, sys
from hivewire_service.embedded import Embedded

async def main():
    async with Embedded(pathlib.Path(sys.argv[1])):
        print("started", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_servers_end_with_a_killed_owner_and_a_second_start_goes_on(tmp_path):
    data = tmp_path / "data"
    with subprocess.Popen([sys.executable, "-c", OWNER, str(data)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout.readline() == b"started\n"
        left = list(recorded(data / "run").values())
        assert {process.name() for process in left} == {"nats-server", "postgres"}
        owner.kill()
    await asyncio.to_thread(psutil.wait_procs, left, 30)
    async with Embedded(data) as stack:
        assert await query(stack, "SELECT 1") == 1
