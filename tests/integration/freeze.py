"""Fills a hive with one of everything and freezes it as a backup in `released/<revision>`, for the upgrades to come.

Once for each revision that a release brings, with the code of that release:

    PYTHONPATH=tests .venv/bin/python -m integration.freeze
"""

import asyncio
import json
import re
import shutil
import socket
import tempfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
from tests.conftest import new_hive
from websockets.asyncio.client import ClientConnection, connect

from hivewire import Agent, Client, Permanent
from hivewire.admin import CreateToken
from hivewire.commands.broker import CreateInitiative, CreatePhase
from hivewire.context import Context
from hivewire.subjects import AGENT_GATEWAY
from hivewire.views import NewToken
from hivewire_service.backup import MANIFEST, back_up
from hivewire_service.embedded import Embedded
from ports import free_port

from .gateway_process import process
from .test_door import get, until

RELEASED = Path(__file__).parent / "released"
FROZEN_ON = date(2026, 1, 5)
"""Whenever it is frozen, it happened on this day, which is past for everybody."""
TOPOLOGY = {
    "agents": [{"id": "lead", "behaviour": {"kind": "delegation", "targets": ["dev"]}}, {"id": "dev"}],
    "graph": {"edges": [{"from": "lead", "to": "dev", "bidirectional": True}]},
}


def member(hive, name: str) -> Context:
    """A publisher's or agent's context; `operator` is the operator's."""
    creds = hive.credentials("operator") if name == "operator" else hive.credentials("agent", name)
    return Context(nats_url=hive.nats_url, hive=hive.name, nats_creds=str(creds))


@asynccontextmanager
async def services(hive, **settings: str) -> AsyncIterator[str]:
    """All services with a door; its URL."""
    port = free_port()
    async with process(hive, "all", HIVEWIRE_HTTP_PORT=str(port), **settings):
        yield f"http://127.0.0.1:{port}/"


@asynccontextmanager
async def callers(boss: Client, url: str) -> AsyncIterator[tuple[httpx.AsyncClient, ClientConnection]]:
    """A publisher over HTTP, and the remote agent `far`."""
    tokens = {
        name: (await boss.connection.admin(AGENT_GATEWAY, "create_token", CreateToken(name, role), NewToken)).token
        for name, role in (("pub", "publisher"), ("far", "agent"))
    }
    headers = {"X-Agent-ID": "pub", "Authorization": f"Bearer {tokens['pub']}"}
    bridge = url.replace("http", "ws") + "ws/agent-bridge"
    async with httpx.AsyncClient(base_url=url, headers=headers) as pub, connect(bridge) as far:
        await far.send(json.dumps({"type": "register", "agent_id": "far", "auth_token": tokens["far"]}))
        await get(far, "registered")
        yield pub, far


async def respond(far: ClientConnection, dispatch: dict) -> None:
    """The remote agent's answer."""
    answer = {"type": "response", "agent_id": "far", "message_id": dispatch["message_id"], "content": "done"}
    await far.send(json.dumps(answer))


@asynccontextmanager
async def peers(hive, *, finish: bool) -> AsyncIterator[None]:
    """The agents `ann`, who builds, and `bob`, who is asked. Unless they are to finish, both get stuck with one thing."""
    ann = Agent("ann", can=["build"], slots=4, context=member(hive, "ann"), grace_s=0.0)
    bob = Agent("bob", can=["talk"], context=member(hive, "bob"), grace_s=0.0)

    @ann.task
    async def build(task, ctx):
        if not finish and task.id == "running":
            await ctx.progress(0.5, "half of it")
            await asyncio.Event().wait()
        if not finish and task.id == "dead":
            raise Permanent("there is nothing to build")
        return {"built": task.payload}

    @bob.question
    async def tell(question, _ctx):
        if not finish and question.text == "Which one?":
            await asyncio.Event().wait()
        return "this one"

    async with ann, bob:
        yield


async def fill(hive) -> None:
    """One of everything, some of it under way when it is frozen."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(services(hive))
        boss = await stack.enter_async_context(Client.connect(context=member(hive, "operator")))
        pub, far = await stack.enter_async_context(callers(boss, url))
        await stack.enter_async_context(peers(hive, finish=False))
        await add_tasks(boss)
        await add_sessions(pub, far)
        await add_questions(boss)
        await boss.simulations.create(TOPOLOGY, simulation_id="rehearsal")
        await boss.simulations.start("rehearsal")
        await boss.simulations.send("rehearsal", "lead", "ship it")
        await boss.simulations.tick("rehearsal", 2)
        await boss.connection.say(boss.connection.subjects.command("broker", "submit", "operator"), b"no command")
        while not [one async for one in boss.rejects()]:
            await asyncio.sleep(0.05)
        await back_up(hive.postgres_dsn, hive.name, hive.folder / "backup")


async def add_tasks(boss: Client) -> None:
    await boss.submit("Done", id="done", needs=["build"], payload={"text": "a\tb\n\\N ü"}, labels={"a": "b"})
    await boss.ended("done")
    await boss.submit("Dead", id="dead", needs=["build"], priority="high")
    await boss.ended("dead")
    await boss.submit("Blocked", id="blocked", needs=["build"], depends_on=["dead"])
    await boss.submit("Cancelled", id="cancelled", needs=["nothing"])
    await boss.cancel("cancelled", "not needed")
    await boss.submit("For approval", id="approval", needs=["build"], approval=True)
    await boss.submit("Running", id="running", needs=["build"], payload=[1, 2.5, None])
    await boss.submit("Waiting", id="waiting", needs=["build"], depends_on=["running"])
    await boss.submit("Later", id="later", needs=["build"], not_before=datetime.now(UTC) + timedelta(hours=1))
    await boss.create_initiative(CreateInitiative(title="An initiative", id="initiative"))
    await boss.create_phase(CreatePhase(title="A phase", id="phase", initiative_id="initiative"))
    await boss.submit("In a phase", id="phased", needs=["build"], phase="phase")
    for task_id, status in (("approval", "pending_approval"), ("running", "running"), ("blocked", "blocked")):
        while (await boss.task(task_id)).status != status:
            await asyncio.sleep(0.05)


async def add_sessions(pub: httpx.AsyncClient, far: ClientConnection) -> None:
    for reference in ("answered", "open"):
        asked = {"agent_id": "far", "content": reference, "external_ref": reference}
        assert (await pub.post("api/v1/sessions", json=asked)).status_code == 201
        dispatch = await get(far, "dispatch")
        if reference == "answered":
            await respond(far, dispatch)
            path = f"api/v1/sessions/{dispatch['session_id']}"
            await until(pub, path, lambda session: session["state"] == "completed")


async def add_questions(boss: Client) -> None:
    assert (await boss.ask("agent:bob", "This one?", id="answered")).value == "this one"
    open_ = asyncio.create_task(boss.ask("agent:bob", "Which one?", id="open", timeout_s=86_400))
    while not [one async for one in boss.conversations() if one.conversation_id == "open"]:
        await asyncio.sleep(0.05)
    await boss.message("agent:bob", "hello")
    open_.add_done_callback(lambda done: done.cancelled() or done.exception())


async def freeze() -> Path:
    """Fill a hive and write what it is then."""
    with tempfile.TemporaryDirectory() as folder:
        async with Embedded(Path(folder) / "stack") as stack:
            hive = new_hive(stack, Path(folder) / "hive")
            await fill(hive)
        with zipfile.ZipFile(Path(folder) / "hive" / "backup") as archive:
            manifest = json.loads(archive.read(MANIFEST))
            target = RELEASED / manifest["revision"]
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            days = date.fromisoformat(manifest["taken_at"][:10]) - FROZEN_ON
            for name in archive.namelist():
                text = _moved(archive.read(name).decode(), days).replace(socket.gethostname(), "host")
                if text:
                    (target / name).write_text(text)
    return target


def _moved(text: str, days: timedelta) -> str:
    """The same, so many days earlier: dates, and moments in micro- and nanoseconds."""

    def earlier(moment: re.Match[str]) -> str:
        unit = 10 ** (len(moment[0]) - 10)
        return str(int(moment[0]) - days // timedelta(seconds=1) * unit)

    text = re.sub(r"\b20\d\d-[01]\d-[0-3]\d(?!\d)", lambda day: str(date.fromisoformat(day[0]) - days), text)
    return re.sub(r"\b1[78]\d{14}(\d{3})?\b", earlier, text)


def thawed(revision: Path, hive: str, file: Path) -> None:
    """Make a backup, as `hivewire backup` writes it, of what was frozen, for a hive of this name."""
    manifest = json.loads((revision / MANIFEST).read_text())
    with zipfile.ZipFile(file, "w") as archive:
        for table in manifest["tables"]:
            member_ = revision / f"{table}.copy"
            archive.writestr(member_.name, member_.read_bytes() if member_.exists() else b"")
        archive.writestr(MANIFEST, json.dumps(manifest | {"hive": hive}))


if __name__ == "__main__":
    print(asyncio.run(freeze()))
