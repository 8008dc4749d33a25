"""`hivewire up` from its start to its end, however that comes."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from e2e.up import Up, alive, eventually
from hivewire_service.supervisor import SERVICES


def test_it_stops_within_seconds_and_leaves_no_process(own_up: Up):
    own_up.start()
    processes = own_up.processes()
    assert len(processes) >= 5
    assert own_up.stop(signal.SIGINT) == 0
    assert alive(processes) == []
    assert "hivewire up" in own_up.error("tasks", exits=3)


def test_a_demo_has_a_fleet_with_work(own_up: Up):
    own_up.start("--demo")
    eventually(lambda: [task for task in own_up.json("tasks") if task["status"] == "completed"])
    assert {agent["agent_id"] for agent in own_up.json("agents")} == {"archive", "ada", "basil", "cleo", "dora"}
    processes = own_up.processes()
    assert own_up.stop() == 0
    assert alive(processes) == []


def test_a_second_up_goes_on_with_what_was_pending(own_up: Up, exec_agent):
    own_up.start()
    done = own_up.submit("done", "--needs", "shell")
    agent = exec_agent(own_up, "shell-1", "shell", "echo ok")
    eventually(lambda: own_up.task(done)["status"] == "completed")
    agent.terminate()
    assert agent.wait(20) == 0
    pending = own_up.submit("pending", "--needs", "shell")
    assert own_up.stop(signal.SIGTERM) == 0
    own_up.start()
    assert own_up.task(done)["result"] == "ok\n"
    assert own_up.task(pending)["status"] == "pending"
    exec_agent(own_up, "shell-1", "shell", "echo ok")
    eventually(lambda: own_up.task(pending)["status"] == "completed")


def test_an_agent_outlives_the_up_that_it_worked_for(own_up: Up, exec_agent):
    own_up.start()
    agent = exec_agent(own_up, "shell-1", "shell", "echo ok")
    assert own_up.stop() == 0
    own_up.start()
    own_up.run("submit", "t", "--needs", "shell", "--wait")
    assert agent.poll() is None
    assert [agent["state"] for agent in own_up.json("agents")] == ["present"]


def test_after_a_killed_up_the_next_one_ends_its_orphans_and_goes_on(own_up: Up):
    own_up.start()
    pending = own_up.submit("pending", "--needs", "shell")
    orphans = own_up.processes()[1:]
    stuck = own_up.service("broker")
    stuck.suspend()  # so that it cannot heed the signal that its parent's death sends
    own_up.kill()
    eventually(lambda: len(alive(orphans)) == 1)
    assert "hivewire up" in own_up.error("tasks", exits=3)
    own_up.start()
    assert alive(orphans) == []
    assert "broker" in own_up.log()
    assert own_up.task(pending)["status"] == "pending"


def test_a_data_directory_in_use_is_refused_and_the_first_up_not_disturbed(up: Up, own_up: Up):
    running = up.processes()
    line = own_up.error("up", "--data", str(up.data), "--http-port", str(own_up.http_port), exits=1)
    assert "in use" in line
    assert str(up.process.pid) in line
    assert up.processes() == running
    assert up.json("doctor")


def test_what_ends_is_started_again(own_up: Up, exec_agent):
    own_up.start()
    exec_agent(own_up, "shell-1", "shell", "echo ok")
    for name in (*SERVICES, "nats-server", "postgres"):
        victim = own_up.service(name)
        victim.kill()
        psutil.wait_procs([victim], 10)
        eventually(lambda killed=victim.pid, name=name: own_up.pid(name) != killed)
        own_up.run("submit", name, "--needs", "shell", "--wait")
    assert own_up.json("events", "--type", "agent.crashed") == []


def test_a_postgres_that_waits_for_its_clients_to_go_does_not_wait_for_ever(own_up: Up):
    own_up.start()
    victim = own_up.service("postgres")
    victim.terminate()
    gone, _ = psutil.wait_procs([victim], 30)
    assert gone
    eventually(lambda: own_up.pid("postgres") != victim.pid)
    own_up.run("submit", "anything", "--needs", "nobody")


def test_secrets_are_told_to_nobody(up: Up):
    secrets = {(up.data / "keys" / "postgres-password").read_text()}
    shown = " ".join(up.addresses) + up.log()
    shown += "".join(log.read_text(errors="replace") for log in (up.data / "logs").iterdir())
    shown += " ".join(argument for process in up.processes() for argument in process.cmdline())
    assert not [secret for secret in secrets if secret in shown]
    for folder in ("keys", "credentials"):
        for file in (up.data / folder).iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.fixture
def nobodys_up():
    """A hive whose user may do nothing special, in a home that the user can enter."""
    if os.geteuid() != 0:
        pytest.skip("the whole session runs as an ordinary user")
    account = pwd.getpwnam("nobody")
    try:
        subprocess.run(
            [sys.executable, "-c", ""], user=account.pw_uid, group=account.pw_gid, extra_groups=[], check=True
        )
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip(f"nobody may not run {sys.executable}")
    home = Path(tempfile.mkdtemp(prefix="hivewire-", dir="/tmp"))
    shutil.chown(home, "nobody")
    own = Up(home, user="nobody")
    yield own
    if own.process is not None and own.process.poll() is None:
        own.stop()
    shutil.rmtree(home)


def test_an_ordinary_user_runs_it_too(nobodys_up: Up, exec_agent):
    nobodys_up.start()
    assert {process.username() for process in nobodys_up.processes()} == {"nobody"}
    exec_agent(nobodys_up, "shell-1", "shell", "echo ok")
    assert nobodys_up.run("submit", "t", "--needs", "shell", "--wait").stdout.strip() == "ok"
    processes = nobodys_up.processes()
    assert nobodys_up.stop() == 0
    assert alive(processes) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its privileges")
def test_root_runs_the_servers_as_an_unprivileged_user(up: Up):
    for name in ("nats-server", "postgres"):
        assert up.service(name).uids().effective != 0
