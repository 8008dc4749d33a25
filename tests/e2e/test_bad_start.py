"""Starts that cannot succeed: each ends with one line that says why, and leaves nothing running."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from e2e.up import HIVEWIRE, Up
from hivewire_service.supervisor import SERVICES
from ports import free_port


@contextmanager
def listening(greeting: bytes = b"") -> Iterator[int]:
    """The port of a server that says `greeting` to everybody and then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                clients.append(client)
                client.sendall(greeting)

        clients: list[socket.socket] = []
        greeter = threading.Thread(target=greet)
        greeter.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            greeter.join()
            for client in clients:
                client.close()


def serve(up: Up, service: str, **settings: str) -> str:
    """The one line with which a service does not start; its logs, as JSON, are left out."""
    environment = up.environment | {"HIVEWIRE_METRICS_PORT": "0", "HIVEWIRE_HTTP_PORT": "0"} | settings
    command = [*HIVEWIRE, "serve", service]
    done = subprocess.run(
        command, check=False, env=environment, cwd=up.home, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    return line


def where(up: Up) -> dict[str, str]:
    """The settings with which a service of this hive would start."""
    context = up.context
    return {
        "NATS_URL": context.nats_url,
        "NATS_CREDS": str(up.data / "credentials" / "service.creds"),
        "HIVEWIRE_POSTGRES_DSN": context.postgres_dsn,
        "HIVEWIRE_KEYS_FILE": str(up.data / "keys" / "hive-hive.json"),
    }


def test_a_port_in_use(own_up: Up):
    before = psutil.Process().children()
    with listening() as port:
        own_up.http_port = port
        line = own_up.error("up", "--data", str(own_up.data), "--http-port", str(port), exits=1)
    assert line == f"hivewire: port {port} is in use: choose another with --http-port, or 0 for a free one"
    assert psutil.Process().children() == before


def test_a_service_whose_metrics_port_is_in_use(up: Up):
    with listening() as port:
        line = serve(up, "broker", **where(up) | {"HIVEWIRE_METRICS_PORT": str(port)})
    assert str(port) in line


def test_a_data_directory_that_is_a_file(own_up: Up):
    own_up.data.write_text("a file")
    line = own_up.error("up", "--data", str(own_up.data), "--http-port", str(own_up.http_port), exits=1)
    assert line == f"hivewire: cannot use {own_up.data}: it is no directory: choose another with --data"


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder in which nobody may write, root included where that can be had."""
    folder = Path(tempfile.mkdtemp(prefix="hivewire-", dir="/tmp"))
    folder.chmod(0o555)
    if os.geteuid() == 0 and subprocess.run(["chattr", "+i", folder], check=False).returncode != 0:
        shutil.rmtree(folder)
        pytest.skip("root may write everywhere, and the file system knows no immutable folders")
    yield folder
    if os.geteuid() == 0:
        subprocess.run(["chattr", "-i", folder], check=True)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_data_directory_that_is_not_writable(own_up: Up, locked_folder):
    data = locked_folder / "data"
    line = own_up.error("up", "--data", str(data), "--http-port", str(own_up.http_port), exits=1)
    assert line == f"hivewire: cannot use {data}: it is not writable: choose another directory with --data"


@pytest.mark.parametrize("service", SERVICES)
def test_nats_is_not_reachable(up: Up, service: str):
    nowhere = f"nats://127.0.0.1:{free_port()}"
    line = serve(up, service, **where(up) | {"NATS_URL": nowhere})
    assert f"NATS is not reachable at {nowhere}" in line


@pytest.mark.parametrize("service", SERVICES)
def test_postgres_is_not_reachable(up: Up, service: str):
    line = serve(
        up, service, **where(up) | {"HIVEWIRE_POSTGRES_DSN": f"postgresql://x:secret@127.0.0.1:{free_port()}/x"}
    )
    assert "HIVEWIRE_POSTGRES_DSN" in line
    assert "secret" not in line


def test_a_wrong_password(up: Up):
    dsn = up.context.postgres_dsn
    password = (up.data / "keys" / "postgres-password").read_text()
    line = serve(up, "broker", **where(up) | {"HIVEWIRE_POSTGRES_DSN": dsn.replace(password, "wrong")})
    assert "password authentication failed" in line


def test_credentials_that_the_server_does_not_know(up: Up, tmp_path):
    settings = where(up)
    del settings["NATS_CREDS"]
    assert "NATS is not reachable" in serve(up, "broker", **settings)


@pytest.mark.parametrize("service", SERVICES)
def test_a_nats_server_that_is_too_old(up: Up, service: str):
    about = {"server_id": "OLD", "version": "2.10.29", "max_payload": 1024 * 1024, "proto": 1, "headers": True}
    greeting = b"INFO " + json.dumps(about).encode() + b"\r\nPONG\r\n"
    with listening(greeting) as port:
        line = serve(up, service, **where(up) | {"NATS_URL": f"nats://127.0.0.1:{port}"})
    assert "nats-server 2.10.29 is too old: hivewire needs 2.14 or newer" in line


def test_a_hive_whose_name_cannot_be(own_up: Up):
    line = own_up.error("up", "--data", str(own_up.data), "--hive", "Not A Hive", exits=2)
    assert "hive name" in line


def test_wrong_settings_are_all_named(own_up: Up):
    line = serve(own_up, "broker", HIVEWIRE_LEASE_SECONDS="soon", HIVEWIRE_LOG_LEVEL="loud")
    assert "lease_seconds" in line
    assert "log_level" in line
