"""Three nats-servers and two instances of every service as plain processes, killed in turn under load."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import nats

from hivewire import Agent, Client
from hivewire.context import Context
from hivewire.subjects import SERVICES, Subjects, reply_prefix
from hivewire_service.embedded import binaries
from hivewire_service.identity import HiveKeys, Issuer
from hivewire_service.keyring import make_keys
from ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
NODES = ("nats-1", "nats-2", "nats-3")
REPLICAS = len(NODES)
PATIENCE_S = 120.0
POLL_S = 0.02


async def until(look: Callable[[], Awaitable[bool]], what: str) -> float:
    """Wait for something; the seconds that it took."""
    begun = time.monotonic()
    while not await look():
        assert time.monotonic() - begun < PATIENCE_S, f"still waiting: {what}"
        await asyncio.sleep(POLL_S)
    return time.monotonic() - begun


class Program:
    """A process that can be killed and started again, with a log of its own."""

    def __init__(self, name: str, argv: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self._argv = argv
        self._environment = environment
        self._folder = folder
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, env=os.environ | self._environment, cwd=self._folder, stdout=log, stderr=log
            )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


class Instance(Program):
    """One instance of a service."""

    def __init__(self, service: str, number: int, environment: dict[str, str], folder: Path) -> None:
        self.service = service
        self._port = free_port()
        ports = {"HIVEWIRE_METRICS_PORT": str(self._port), "HIVEWIRE_HTTP_PORT": str(free_port())}
        argv = [sys.executable, "-m", "hivewire", "serve", service]
        super().__init__(f"{service}-{number}", argv, environment | ports, folder)

    async def role(self) -> str | None:
        """What it is, once it can work: `owner` or `standby`."""
        try:
            async with httpx.AsyncClient() as http:
                answer = await http.get(f"http://127.0.0.1:{self._port}/ready", timeout=5)
        except httpx.HTTPError:
            return None
        return answer.json()["role"] if answer.status_code == 200 else None


class Cluster:
    """A hive of three nodes and two instances of each service."""

    def __init__(self, folder: Path, postgres_dsn: str, hive: str) -> None:
        self._folder = folder
        self._hive = hive
        self._dsn = postgres_dsn
        make_keys(folder / "keys", hive)
        self._issuer = Issuer(HiveKeys.load(folder / "keys" / "signing" / f"hive-{hive}.json"))
        clients, routes = {name: free_port() for name in NODES}, {name: free_port() for name in NODES}
        self._url = ",".join(f"nats://127.0.0.1:{port}" for port in clients.values())
        self._monitor = {name: free_port() for name in NODES}
        self.nodes = [self._node(name, clients[name], routes) for name in NODES]
        self._by_port = {clients[node.name]: node for node in self.nodes}
        self.instances = [
            Instance(service, number, self._environment(), folder) for service in SERVICES for number in (1, 2)
        ]

    def _node(self, name: str, port: int, routes: dict[str, int]) -> Program:
        home = self._folder / name
        home.mkdir()
        shutil.copy(DEPLOY / "nats" / "cluster.conf", home)
        (home / "access").symlink_to(self._folder / "keys" / "access")
        environment = {
            "NATS_NAME": name,
            "NATS_LISTEN": f"127.0.0.1:{port}",
            "NATS_MONITOR": f"127.0.0.1:{self._monitor[name]}",
            "NATS_ACCOUNTS": str(home / "accounts"),
            "NATS_STORE": str(home / "store"),
            "NATS_CLUSTER_LISTEN": f"127.0.0.1:{routes[name]}",
            "NATS_CLUSTER_PASSWORD": "a-password",
            "NATS_ROUTES": json.dumps([f"nats://route:a-password@127.0.0.1:{route}" for route in routes.values()]),
        }
        return Program(name, [str(binaries.nats_server()), "--config", f"{home}/cluster.conf"], environment, home)

    def _environment(self) -> dict[str, str]:
        keys = self._folder / "keys"
        return {
            "HIVEWIRE_HIVE": self._hive,
            "NATS_URL": self._url,
            "NATS_CREDS": str(keys / "access" / "service.creds"),
            "HIVEWIRE_POSTGRES_DSN": self._dsn,
            "HIVEWIRE_KEYS_FILE": str(keys / "signing" / f"hive-{self._hive}.json"),
            "HIVEWIRE_AUTHORITY_FILE": str(keys / "signing" / "authority.json"),
            "HIVEWIRE_STREAM_REPLICAS": str(REPLICAS),
            "HIVEWIRE_LOG_FORMAT": "json",
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of it, until the context ends."""
        programs = [*self.nodes, *self.instances]
        started: list[Program] = []
        try:
            for program in programs:
                if program is self.instances[0]:
                    await until(self._has_leader, "the cluster elects a leader")
                program.start()
                started.append(program)
            await until(self.is_whole, "every service has an owner and a standby")
            yield
        finally:
            for program in reversed(started):
                program.stop()

    def context(self, role: str, name: str) -> Context:
        """How a member finds the hive."""
        file = self._folder / f"{name}.creds"
        file.write_text(self._issuer.issue(role, name))
        return Context(nats_url=self._url, hive=self._hive, nats_creds=str(file))

    async def owner(self, service: str) -> Instance:
        """The instance that owns a service."""
        (found,) = [one for one in self.instances if one.service == service and await one.role() == "owner"]
        return found

    async def is_whole(self) -> bool:
        """Whether nothing is missing, and every stream has all its copies up to date."""
        roles = Counter([(one.service, await one.role()) for one in self.instances])
        wanted = {(service, role) for service in SERVICES for role in ("owner", "standby")}
        return set(roles) == wanted and all(count == 1 for count in roles.values()) and await self._is_copied()

    async def leaders(self) -> dict[str, str]:
        """The node that leads each stream, for those that have a leader."""
        streams = await self._streams()
        return {name: stream["cluster"]["leader"] for name, stream in streams.items() if "leader" in stream["cluster"]}

    async def node_of(self, stream: str) -> Program:
        """The node that leads a stream."""
        return self._named((await self.leaders())[stream])

    def node_behind(self, client: Client) -> Program:
        """The node that a client is connected to."""
        return self._by_port[client.connection._nats.connected_url.port]

    async def first_node(self) -> Program:
        """The node that leads the nodes themselves: it decides where streams and their readers live."""
        async with httpx.AsyncClient() as http:
            told = await http.get(f"http://127.0.0.1:{self._monitor[NODES[0]]}/jsz", timeout=5)
        return self._named(told.json()["meta_cluster"]["leader"])

    def _named(self, name: str) -> Program:
        return next(node for node in self.nodes if node.name == name)

    async def election_s(self, before: Program, led: Iterable[str]) -> float:
        """How long nats-server takes to find other leaders of all streams that a node led."""

        async def are_led() -> bool:
            try:
                leaders = await self.leaders()
            except (OSError, nats.errors.Error):
                return False
            return all(leaders.get(stream, before.name) != before.name for stream in led)

        return await until(are_led, f"what {before.name} led has other leaders")

    async def stored_events(self) -> Counter[str]:
        """How often each event is in the event stream, by its id."""
        found: Counter[str] = Counter()
        async with self._bus() as bus:
            info = await bus.jetstream().stream_info(self.subjects.event_stream)
            reading = await bus.jetstream().subscribe(
                f"{self._hive}.evt.>", stream=self.subjects.event_stream, ordered_consumer=True
            )
            for _ in range(info.state.messages):
                found[json.loads((await reading.next_msg(timeout=10)).data)["id"]] += 1
        return found

    @property
    def subjects(self) -> Subjects:
        return Subjects(self._hive)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self._dsn, server_settings={"search_path": self._hive})
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def _bus(self) -> AsyncIterator[nats.NATS]:
        credentials = str(self._folder / "keys" / "access" / "service.creds")
        bus = await nats.connect(
            self._url.split(","), user_credentials=credentials, inbox_prefix=reply_prefix("service"), connect_timeout=2
        )
        try:
            yield bus
        finally:
            await bus.close()

    async def is_published(self) -> bool:
        """Whether every committed event is known to be in the event stream."""
        async with self.database() as database:
            return await database.fetchval("SELECT every(published_seq = event_seq) FROM position")

    async def _has_leader(self) -> bool:
        try:
            async with self._bus() as bus:
                await bus.jetstream().account_info()
        except (OSError, nats.errors.Error, nats.js.errors.Error):
            return False
        return True

    async def _is_copied(self) -> bool:
        copies = [stream["cluster"].get("replicas", ()) for stream in (await self._streams()).values()]
        return len(copies) > len(SERVICES) and all(
            len(others) == REPLICAS - 1 and all(other["current"] for other in others) for others in copies
        )

    async def _streams(self) -> dict[str, dict]:
        async with self._bus() as bus:
            answer = json.loads((await bus.request("$JS.API.STREAM.LIST", timeout=5)).data)
        return {stream["config"]["name"]: stream for stream in answer["streams"]}


@dataclass(frozen=True)
class Takeover:
    """One kill, and after how many seconds work went on; and how long NATS took to elect other leaders."""

    killed: str
    seconds: float
    seconds_max: float
    election_s: float = 0.0
    led: tuple[str, ...] = ()


class Load:
    """A steady pace of tasks that a fleet completes, whatever happens to the cluster."""

    def __init__(self, cluster: Cluster, per_second: float) -> None:
        self._cluster = cluster
        self._pause_s = 1 / per_second
        self.accepted: list[str] = []
        self._stopping = asyncio.Event()

    @asynccontextmanager
    async def running(self, client: Client, agents: int) -> AsyncIterator[None]:
        """Keep up the load until the context ends; then wait until all that was accepted has ended."""
        fleet = [self._agent(f"worker-{number}") for number in range(agents)]
        for agent in fleet:
            await agent.__aenter__()
        load = asyncio.create_task(self._submit_all(client))
        try:
            yield
            self._stopping.set()
            await load
            for task_id in self.accepted:
                await client.ended(task_id, PATIENCE_S)
        finally:
            load.cancel()
            for agent in fleet:
                await agent.__aexit__(None, None, None)

    def _agent(self, name: str) -> Agent:
        agent = Agent(name, can=["work"], slots=32, context=self._cluster.context("agent", name))

        @agent.task
        async def work(task, context) -> None:
            await asyncio.sleep(0.01)

        return agent

    async def _submit_all(self, client: Client) -> None:
        begun, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while not self._stopping.is_set():
                number += 1
                await asyncio.sleep(begun + number * self._pause_s - time.monotonic())
                group.create_task(self.submit(client))

    async def submit(self, client: Client) -> str:
        task = await client.submit("work", needs=["work"])
        self.accepted.append(task.id)
        return task.id
