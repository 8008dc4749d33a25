"""TLS on every link, with a CA of the tests' own: what works, and what is said where it does not."""

import asyncio
import ipaddress
import json
import os
import re
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.conftest import Hive
from websockets.asyncio.client import connect

from hivewire import Agent, Client
from hivewire.admin import CreateToken, RevokeTokens
from hivewire.connection import Connection
from hivewire.context import Context
from hivewire.errors import BadUsage, NotReachable
from hivewire.subjects import AGENT_GATEWAY
from hivewire.tls import Tls
from hivewire.views import NewToken, RevokedTokens
from hivewire_agent_gateway.outbound import Outbound, Policy, Unreachable
from hivewire_service import backup, checkup, postgres
from hivewire_service.bus import Bus
from hivewire_service.health import serving
from hivewire_service.identity import HiveKeys, Issuer
from hivewire_service.migrations import migrate
from hivewire_service.store import Store
from ports import free_port

from . import tls_servers
from .gateway_process import process
from .test_door import get, until
from .tls_servers import LOOPBACK, Authority, Shown, nats_server, shows


@pytest.fixture(scope="module")
def ca(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def other_ca(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other-ca"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(ca) -> AsyncIterator[str]:
    """The DSN, without options, of a Postgres that takes nobody in the clear."""
    async with tls_servers.postgres(ca.certificate()) as port:
        yield f"postgresql://hivewire@{LOOPBACK}:{port}/postgres"


@asynccontextmanager
async def command(folder: Path, *arguments: object, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`hivewire` in an environment that says no more than this; it is ended with the context."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hivewire", *map(str, arguments)),
        env={"PATH": os.environ["PATH"], "HOME": str(folder)} | environment,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
            await running.wait()


async def said(folder: Path, *arguments: object, **environment: str) -> tuple[int, str, str]:
    """The exit status, output and errors of a command."""
    async with command(folder, *arguments, **environment) as running:
        output, errors = await running.communicate()
        assert running.returncode is not None
        return running.returncode, output.decode(), errors.decode()


# --- all links --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Secured:
    """A hive with TLS on every link, its operator's context, and the URL of its door."""

    hive: Hive
    operator: Context
    door: str
    ca: Authority

    @property
    def environment(self) -> dict[str, str]:
        """How the operator's commands find it."""
        found = self.operator
        named = {"NATS_URL": found.nats_url, "NATS_CREDS": found.nats_creds}
        return named | {"NATS_CA": found.nats_ca, "NATS_CERT": found.nats_cert, "NATS_KEY": found.nats_key}


@pytest.fixture
async def secured(ca, database, tmp_path) -> AsyncIterator[Secured]:
    folder, port = tmp_path / "secured", free_port()
    shown, client = ca.certificate(), ca.certificate("client")
    async with tls_servers.hive_server(folder, "hive", shown, clients_of=ca.file) as nats_port:
        keys = folder / "signing" / "hive-hive.json"
        dsn = f"{database}?sslmode=verify-full&sslrootcert={ca.file}"
        url = f"tls://{LOOPBACK}:{nats_port}"
        hive = Hive("hive", url, dsn, keys, Issuer(HiveKeys.load(keys)), tmp_path)
        operator = Context(
            nats_url=url,
            nats_creds=str(folder / "access" / "operator.creds"),
            nats_ca=str(ca.file),
            nats_cert=str(client.cert),
            nats_key=str(client.key),
        )
        settings = {
            "NATS_CA": str(ca.file),
            "NATS_CERT": str(client.cert),
            "NATS_KEY": str(client.key),
            "HIVEWIRE_HTTP_PORT": str(port),
            "HIVEWIRE_HTTP_CERT": str(shown.cert),
            "HIVEWIRE_HTTP_KEY": str(shown.key),
            "HIVEWIRE_OUTBOUND_CA": str(ca.file),
            "HIVEWIRE_OUTBOUND_NETWORKS": '["127.0.0.0/8"]',
        }
        async with process(hive, "all", **settings):
            yield Secured(hive, operator, f"https://{LOOPBACK}:{port}", ca)


@asynccontextmanager
async def website(shown: Shown) -> AsyncIterator[tuple[str, "asyncio.Queue[bytes]"]]:
    """An https URL, and what is posted to it."""
    posts: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(request: Request) -> Response:
        posts.put_nowait(await request.body())
        return Response()

    tls = Tls(cert=shown.cert, key=shown.key)
    async with serving(Starlette(routes=[Route("/", take, methods=["POST"])]), 0, tls=tls) as port:
        yield f"https://{LOOPBACK}:{port}/", posts


async def test_work_goes_its_whole_way_with_tls_on_every_link(secured, tmp_path):
    operator = secured.operator
    counter = Agent("counter", can=["count"], context=operator)

    @counter.task
    async def count(task, _context):
        return len(task.payload.split())

    async with Client.connect(context=operator) as boss, counter:
        # the SDK and the command line
        task = await boss.submit("Count", needs=["count"], payload="a b")
        assert await task.result(timeout_s=30) == 2
        counted = ("submit", "Count", "--needs", "count", "--payload", '"a b c"', "--wait")
        assert await said(tmp_path, *counted, **secured.environment) == (0, "3\n", "")

        # a command as an agent, told by flags
        flags = ("--nats-url", operator.nats_url, "--creds", operator.nats_creds, "--nats-ca", operator.nats_ca)
        flags += ("--nats-cert", operator.nats_cert, "--nats-key", operator.nats_key)
        async with command(tmp_path, *("agent", "exec", "--id", "word", "--can", "word", *flags), "--", "echo", "1"):
            task = await boss.submit("Say it", needs=["word"])
            assert await task.result(timeout_s=30) == 1
        await over_https(boss, secured.door, secured.ca)

        # nats-server is told of a revocation
        revoked = await boss.connection.admin(AGENT_GATEWAY, "revoke_token", RevokeTokens("word"), RevokedTokens)
        assert revoked.nats
    await is_looked_after(secured.hive, tmp_path)


async def over_https(boss: Client, door: str, ca: Authority) -> None:
    """A caller, a remote agent over WSS and a webhook: a session that is asked, answered and told of."""
    tokens = {
        name: (await boss.connection.admin(AGENT_GATEWAY, "create_token", CreateToken(name, role), NewToken)).token
        for name, role in (("pub", "publisher"), ("ann", "agent"))
    }
    trusting = ssl.create_default_context(cafile=ca.file)
    headers = {"X-Agent-ID": "pub", "Authorization": f"Bearer {tokens['pub']}"}
    wss = door.replace("https", "wss") + "/ws/agent-bridge"
    async with (
        httpx.AsyncClient(base_url=door, verify=trusting, headers=headers, timeout=30) as pub,
        connect(wss, ssl=trusting) as ann,
        website(ca.certificate()) as (webhook, posts),
    ):
        await ann.send(json.dumps({"type": "register", "agent_id": "ann", "auth_token": tokens["ann"]}))
        await get(ann, "registered")
        action = {"type": "webhook", "url": webhook}
        made = await pub.post("/api/v1/sessions", json={"agent_id": "ann", "content": 1, "completion_action": action})
        assert made.status_code == 201, made.text
        given = await get(ann, "dispatch")
        await ann.send(
            json.dumps({"type": "response", "agent_id": "ann", "content": 2} | {"message_id": given["message_id"]})
        )
        session = f"/api/v1/sessions/{given['session_id']}"
        await until(pub, session, lambda found: found["state"] == "completed")
        assert json.loads(await posts.get())["response"] == 2
    async with httpx.AsyncClient() as stranger:
        with pytest.raises(httpx.ConnectError):
            await stranger.get(f"{door}/health")
        with pytest.raises(httpx.RemoteProtocolError):
            await stranger.get(f"{door}/health".replace("https", "http"))


async def is_looked_after(hive: Hive, folder: Path) -> None:
    """`doctor`, backup and restore; nobody at Postgres speaks in the clear."""
    found = await checkup.examine(hive.postgres_dsn, hive.name, {})
    assert found["postgres"].well
    assert found["owner of broker"].well
    manifest = await backup.back_up(hive.postgres_dsn, hive.name, folder / "backup")
    connection = await postgres.connect(hive.postgres_dsn)
    clients = "pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL"
    assert await connection.fetchval(f"SELECT bool_and(ssl) FROM {clients}")
    await connection.execute("CREATE DATABASE elsewhere")
    await connection.close()
    elsewhere = hive.postgres_dsn.replace("/postgres?", "/elsewhere?")
    assert await backup.restore(elsewhere, folder / "backup") == manifest


# --- NATS -------------------------------------------------------------------------------------------
async def test_a_server_may_want_a_certificate_of_its_clients(ca, other_ca, tmp_path):
    ours, theirs = ca.certificate("bob"), other_ca.certificate("bob")
    async with nats_server(tmp_path, shows(ca.certificate(), clients_of=ca.file)) as port:
        url = f"tls://{LOOPBACK}:{port}"
        async with await Connection.open(url, tls=Tls(ca.file, ours.cert, ours.key)) as connection:
            assert (await connection.round_trip()).version
        with pytest.raises(NotReachable, match="wants a client's certificate: name one with NATS_CERT and NATS_KEY"):
            await Connection.open(url, tls=Tls(ca.file))
        with pytest.raises(NotReachable, match="not take the client's certificate (.unknown ca.|that sslcert names)"):
            await Connection.open(url, tls=Tls(ca.file, theirs.cert, theirs.key))


async def test_a_context_of_the_nats_command_brings_its_files(ca, tmp_path, monkeypatch):
    ours = ca.certificate("bob")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with nats_server(tmp_path, shows(ca.certificate(), clients_of=ca.file)) as port:
        files = {"ca": str(ca.file), "cert": str(ours.cert), "key": str(ours.key)}
        (tmp_path / "nats" / "context").mkdir(parents=True)
        context = tmp_path / "nats" / "context" / "work.json"
        context.write_text(json.dumps({"url": f"nats://{LOOPBACK}:{port}", "creds": ""} | files))
        async with Client.connect(context="work") as hive:
            assert (await hive.connection.round_trip()).version


DOUBTFUL = {
    "another CA": "its certificate is of no CA that is trusted here .*: name its CA with NATS_CA",
    "expired": "its certificate has expired: renew it there",
    "another name": "its certificate is not for '127.0.0.1': call it by a name that is in the certificate",
    "no TLS": "it does not offer TLS, which a URL with tls:// or NATS_CA asks for",
}


@pytest.fixture(params=DOUBTFUL)
async def doubtful(request, ca, other_ca, tmp_path) -> AsyncIterator[tuple[str, str]]:
    """The URL of a nats-server that must not be talked to, and why."""
    shown = {
        "another CA": lambda: shows(other_ca.certificate()),
        "expired": lambda: shows(ca.certificate(expired=True)),
        "another name": lambda: shows(ca.certificate("elsewhere.example")),
        "no TLS": lambda: "",
    }
    async with nats_server(tmp_path, shown[request.param]()) as port:
        yield f"tls://{LOOPBACK}:{port}", DOUBTFUL[request.param]


async def test_a_doubtful_server_is_named_at_once_and_gets_nothing(doubtful, ca, monkeypatch):
    url, why = doubtful
    with pytest.raises(NotReachable, match=why):
        await Connection.open(url, tls=Tls(ca.file), patience_s=None)
    # an agent waits for NATS as long as it takes, but not for this
    with pytest.raises(NotReachable, match=why):
        await Agent("bob", context=Context(nats_url=url, nats_ca=str(ca.file))).start()
    monkeypatch.setattr("hivewire_service.bus.CONNECT_PATIENCE_S", 0.3)
    with pytest.raises(NotReachable, match=why):
        await Bus(url, None, "service", "test", Tls(ca.file)).connect()


async def test_a_command_says_it_in_one_line(ca, other_ca, tmp_path):
    async with nats_server(tmp_path, shows(ca.certificate())) as port:
        url = f"tls://{LOOPBACK}:{port}"
        status, output, errors = await said(tmp_path, "tasks", NATS_URL=url, NATS_CA=str(other_ca.file))
    assert (status, output) == (3, "")
    (line,) = errors.splitlines()
    assert line.startswith(f"hivewire: cannot talk to NATS at {url}: its certificate is of no CA that is trusted here")


async def test_a_server_with_tls_is_told_apart_without_a_word_of_ours(ca, tmp_path):
    """A client that names nothing trusts the system's CAs, as a browser does."""
    async with nats_server(tmp_path, shows(ca.certificate())) as port:
        with pytest.raises(NotReachable, match="no CA that is trusted here .*: name its CA with NATS_CA"):
            await Connection.open(f"nats://{LOOPBACK}:{port}")


async def test_of_several_servers_one_that_is_well_is_enough(ca, other_ca, tmp_path):
    async with (
        nats_server(tmp_path, shows(other_ca.certificate())) as doubtful,
        nats_server(tmp_path, shows(ca.certificate())) as well,
    ):
        url = f"tls://{LOOPBACK}:{doubtful},tls://{LOOPBACK}:{well}"
        async with await Connection.open(url, tls=Tls(ca.file)) as connection:
            assert (await connection.round_trip()).version


async def test_a_certificate_that_goes_bad_is_logged_and_a_renewed_one_taken_up(ca, other_ca, tmp_path, caplog):
    port, back = free_port(), asyncio.Event()
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(ca.file.read_bytes())
    async with nats_server(tmp_path, shows(ca.certificate()), port):
        connection = await Connection.open(f"tls://{LOOPBACK}:{port}", tls=Tls(trusted))
        connection.on_reconnect.append(back.set)
    try:
        async with nats_server(tmp_path, shows(other_ca.certificate()), port):
            while "no CA that is trusted here" not in caplog.text:
                await asyncio.sleep(0.01)
            trusted.write_bytes(ca.file.read_bytes() + other_ca.file.read_bytes())
            await asyncio.wait_for(back.wait(), 20)
            assert (await connection.round_trip()).version
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"ca": "missing"}, "cannot use .*missing as the CA to trust: No such file or directory"),
        ({"ca": "key"}, "cannot use .*key.pem as the CA to trust"),
        ({"cert": "cert"}, "cannot use the certificate .*cert.pem, with the key in the same file"),
        ({"cert": "cert", "key": "other"}, "cannot use the certificate .*: KEY VALUES MISMATCH"),
        ({"key": "key"}, "the key .* needs its certificate"),
    ],
)
async def test_files_that_cannot_be_used_are_bad_usage(ca, tmp_path, files, why):
    shown = ca.certificate()
    paths = {"missing": tmp_path / "missing", "cert": shown.cert, "key": shown.key, "other": ca.certificate().key}
    with pytest.raises(BadUsage, match=why) as refused:
        await Connection.open(f"tls://{LOOPBACK}:1", tls=Tls(**{name: paths[file] for name, file in files.items()}))
    assert "\n" not in str(refused.value)


# --- Postgres ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("sslmode=disable", "no encryption .it may want TLS: say sslmode=verify-full"),
        ("sslmode=verify-full&sslrootcert={other}", "no CA that is trusted here .*: name its CA with sslrootcert"),
        ("host=localhost&sslmode=verify-full&sslrootcert={ours}", "its certificate is not for 'localhost'"),
        ("sslmode=verify-full&sslrootcert=/nowhere", "its sslrootcert /nowhere cannot be read"),
        ("sslmode=full", "`sslmode` parameter must be one of"),
    ],
)
async def test_a_postgres_that_must_not_be_talked_to_is_named(ca, other_ca, database, options, why):
    dsn = f"{database}?{options.format(ours=ca.file, other=other_ca.file)}"
    if "host=" in options:
        dsn = dsn.replace(f"@{LOOPBACK}", "@localhost").replace("host=localhost&", "")
    store = Store(dsn, "hive", "broker")
    to_back_up = partial(backup.back_up, dsn, "hive", ca.file.with_name("backup"))
    for attempt in (partial(migrate, dsn, "hive"), store.open, to_back_up):
        with pytest.raises((NotReachable, BadUsage), match=why) as refused:
            await attempt()
        assert "\n" not in str(refused.value)
    found = await checkup.examine(dsn, "hive", {})
    assert not found["postgres"].well
    assert re.search(why, found["postgres"].says)


async def test_a_postgres_may_want_a_certificate_of_its_clients(ca, other_ca):
    ours, theirs = ca.certificate("hivewire"), other_ca.certificate("hivewire")
    async with tls_servers.postgres(ca.certificate(), clients_of=ca.file) as port:
        dsn = f"postgresql://hivewire@{LOOPBACK}:{port}/postgres?sslmode=verify-full&sslrootcert={ca.file}"
        shown = f"{dsn}&sslcert={ours.cert}&sslkey={ours.key}"
        await migrate(shown, "hive")
        store = Store(shown, "hive", "broker")
        await store.open()
        assert await store.pool.fetchval("SELECT count(*) FROM task") == 0
        await store.close()
        with pytest.raises(NotReachable, match="wants a client's certificate: name one with sslcert and sslkey in"):
            await migrate(dsn, "hive")
        with pytest.raises(NotReachable, match="not take the client's certificate (.unknown ca.|that sslcert names)"):
            await migrate(f"{dsn}&sslcert={theirs.cert}&sslkey={theirs.key}", "hive")


async def test_a_postgres_without_tls_is_told_what_to_do(hive, ca):
    with pytest.raises(NotReachable, match="it does not offer TLS, which sslmode in HIVEWIRE_POSTGRES_DSN asks for"):
        await migrate(f"{hive.postgres_dsn}?sslmode=verify-full&sslrootcert={ca.file}", hive.name)


# --- HTTP -------------------------------------------------------------------------------------------
async def test_what_is_posted_to_is_verified(ca, other_ca):
    ours = Policy([ipaddress.ip_network("127.0.0.0/8")])
    async with website(ca.certificate()) as (url, posts):
        for trusted, why in (
            (ca, None),
            (other_ca, "no CA that is trusted here .*: name its CA with HIVEWIRE_OUTBOUND_CA"),
        ):
            outbound = Outbound(ours, trusted.file)
            try:
                if why is None:
                    assert (await outbound.post(url, b"{}", "secret", "1", 10))[0] == 200
                    assert posts.get_nowait() == b"{}"
                else:
                    with pytest.raises(Unreachable, match=why):
                        await outbound.post(url, b"{}", "secret", "1", 10)
            finally:
                await outbound.close()


async def test_a_door_whose_certificate_cannot_be_used_does_not_open(ca, other_ca):
    tls = Tls(cert=ca.certificate().cert, key=other_ca.certificate().key)
    with pytest.raises(BadUsage, match="cannot use the certificate .*: KEY VALUES MISMATCH"):
        async with serving(Starlette(), 0, tls=tls):
            pass
