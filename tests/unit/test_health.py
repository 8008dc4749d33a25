import asyncio
import socket
import time

import pytest
from prometheus_client import CollectorRegistry, Counter

from hivewire.errors import HivewireError
from hivewire_service.health import TROUBLE_S, Health, probe, serving


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def broken() -> bool:
    raise OSError("gone")


async def get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


async def test_an_owner_that_loads_is_not_ready():
    health = Health({"nats": yes})
    assert (await health.readiness())[0] == 200
    health.set(role="owner", loading=True)
    assert await health.readiness() == (503, {"role": "owner", "ready": False, "waiting_for": ["state"]})
    health.set(loading=False)
    assert await health.readiness() == (200, {"role": "owner", "ready": True, "waiting_for": []})


async def test_trouble_is_told_until_it_is_over(monkeypatch):
    health = Health({"nats": yes})
    health.set(trouble="No space left on device")
    status, body = await health.readiness()
    assert (status, body["ready"], body["trouble"]) == (503, False, "No space left on device")
    health.set(trouble="")
    assert (await health.readiness())[0] == 200
    health.set(trouble="no answer")
    later_s = time.monotonic() + TROUBLE_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    assert (await health.readiness())[0] == 200


@pytest.mark.parametrize("check", [no, broken])
async def test_what_does_not_answer_is_named(check):
    health = Health({"nats": yes, "postgres": check})
    assert await health.readiness() == (503, {"role": "standby", "ready": False, "waiting_for": ["postgres"]})


async def test_the_three_paths_are_served_on_loopback():
    registry = CollectorRegistry()
    Counter("tasks", "Tasks.", registry=registry).inc()
    health = Health({"nats": yes}, registry)
    async with serving(health.app, 0) as port:
        assert (await get(port, "/health"))[0] == 200
        assert (await get(port, "/ready"))[0] == 200
        assert "tasks_total 1.0" in (await get(port, "/metrics"))[1]
        assert (await get(port, "/else"))[0] == 404
        assert await probe(port) == {"role": "standby", "ready": True, "waiting_for": []}
    assert await probe(port) is None


async def test_a_port_in_use_is_refused_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(HivewireError, match=f"127.0.0.1:{port}"):
            async with serving(Health({}).app, port):
                pass
