"""Credentials that are revoked: whoever is connected by them is cut, and nobody is let in by them any more."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import nats
import pytest
from nats.aio.client import Client
from tests.conftest import Hive, new_hive
from websockets.exceptions import ConnectionClosed

from hivewire.admin import CreateToken, IssueCredentials, RevokeTokens
from hivewire.connection import Connection
from hivewire.credentials import Credentials
from hivewire.errors import RefusedError
from hivewire.subjects import AGENT_GATEWAY, reply_prefix
from hivewire.views import Credentials as Issued
from hivewire.views import NewToken, RevokedTokens
from hivewire_service.embedded import Embedded, binaries
from hivewire_service.identity import Issuer
from hivewire_service.keyring import make_keys
from ports import free_port

from .gateway_process import gateway, process
from .test_agent_gateway import connected, running
from .test_door import create_token, doors, get

ROOT = Path(__file__).parents[2]


async def connect(hive, folder: Path, name: str, creds: str) -> tuple[Client, asyncio.Event]:
    """A connection by these credentials, and what is set when it is over."""
    over = asyncio.Event()

    async def closed() -> None:
        over.set()

    file = folder / f"{name}.creds"
    file.write_text(creds)
    client = await nats.connect(
        hive.nats_url,
        user_credentials=str(file),
        inbox_prefix=reply_prefix(name),
        allow_reconnect=False,
        max_reconnect_attempts=0,
        closed_cb=closed,
    )
    return client, over


async def refused(hive, folder: Path, name: str, creds: str) -> bool:
    try:
        client, _ = await connect(hive, folder, name, creds)
    except nats.errors.Error as error:
        return "uthorization" in str(error) or "revoked" in str(error)
    await client.close()
    return False


async def test_a_revoked_name_is_cut_and_stays_out_also_after_the_server_restarts(tmp_path):
    async with Embedded(tmp_path / "data") as stack:
        hive = new_hive(stack, tmp_path / "hive")
        async with gateway(hive), connected(hive, "operator") as operator:
            made = await operator.admin(AGENT_GATEWAY, "create_token", CreateToken("eve"), NewToken)
            more = await operator.admin(AGENT_GATEWAY, "credentials", IssueCredentials("eve", "publisher"), Issued)
            other = await operator.admin(AGENT_GATEWAY, "create_token", CreateToken("ann"), NewToken)
            _, eve_over = await connect(hive, tmp_path, "eve", made.creds)
            again = await Connection.open(hive.nats_url, Credentials.parse(more.creds), hive=hive.name)
            ann, ann_over = await connect(hive, tmp_path, "ann", other.creds)
            revoked = await operator.admin(AGENT_GATEWAY, "revoke_token", RevokeTokens("eve"), RevokedTokens)
            assert (revoked.revoked, revoked.nats) == (1, True)
            await eve_over.wait()
            assert "revoked" in (await again.closed).lower()
            await again.close()
            await ann.flush()
            assert not ann_over.is_set()
            assert await refused(hive, tmp_path, "eve", made.creds)
            with pytest.raises(RefusedError, match="has no token"):
                await operator.admin(AGENT_GATEWAY, "revoke_token", RevokeTokens("nobody"), RevokedTokens)
            fresh = await operator.admin(AGENT_GATEWAY, "create_token", CreateToken("eve"), NewToken)
            assert not await refused(hive, tmp_path, "eve", fresh.creds)
            await ann.close()
        await stack.nats.child.stop(1)
        stack.nats.add_hive(hive.name)  # as each start of the whole hive does
        await stack.nats.start()
        assert await refused(hive, tmp_path, "eve", made.creds)
        assert not await refused(hive, tmp_path, "eve", fresh.creds)
        assert not await refused(hive, tmp_path, "ann", other.creds)
        await stack.nats.child.stop(1)
        shutil.rmtree(stack.folder.nats / "accounts")
        await stack.nats.start()
        stack.nats.add_hive(hive.name)
        async with gateway(hive):  # tells a server that forgot
            while not await refused(hive, tmp_path, "eve", made.creds):
                await asyncio.sleep(0.05)
            assert not await refused(hive, tmp_path, "eve", fresh.creds)


async def test_without_the_operators_keys_tokens_alone_are_revoked(hive):
    async with running(hive), connected(hive, "operator") as operator:
        await operator.admin(AGENT_GATEWAY, "create_token", CreateToken("eve"), NewToken)
        revoked = await operator.admin(AGENT_GATEWAY, "revoke_token", RevokeTokens("eve"), RevokedTokens)
        assert (revoked.revoked, revoked.nats) == (1, False)


async def test_revoked_tokens_end_what_is_connected_by_them_at_every_door(hive):
    port = free_port()
    async with (
        doors(hive) as one,
        process(
            hive,
            "agent_gateway",
            HIVEWIRE_PART="door",
            HIVEWIRE_HTTP_PORT=str(port),
        ),
    ):
        eve = {"X-Agent-ID": "eve", "Authorization": f"Bearer {one.tokens['eve']}"}
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=eve) as other,
            one.bridge("eve") as ws,
        ):
            await get(ws, "registered")
            while True:
                try:
                    assert (await other.get("/api/v1/agents")).status_code == 200
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
            async with other.stream("GET", "/api/v1/events/stream", timeout=None) as stream, one.http("boss") as boss:
                lines = stream.aiter_lines()
                assert await anext(lines) == ": connected"
                assert (await boss.delete("/api/v1/tokens/eve")).status_code == 200
                async for _ in lines:
                    pass
            with pytest.raises(ConnectionClosed):
                await get(ws, "never")
            assert ws.close_code == 4005
            assert (await other.get("/api/v1/agents")).status_code == 401
        token = await create_token(hive, "eve", "agent")
        async with one.http("eve", token) as back:
            assert (await back.get("/api/v1/agents")).status_code == 200


async def test_a_server_that_is_not_ours_to_start_is_told_and_remembers(stack, tmp_path):
    keys, port = tmp_path / "keys", free_port()
    make_keys(keys, "deployed")
    shutil.copy(ROOT / "deploy" / "nats" / "single.conf", keys)
    places = {"NATS_LISTEN": f"127.0.0.1:{port}", "NATS_MONITOR": f"127.0.0.1:{free_port()}"}
    places |= {"NATS_ACCOUNTS": str(tmp_path / "accounts"), "NATS_STORE": str(tmp_path / "store")}
    signing = keys / "signing" / "hive-deployed.json"
    issuer = Issuer.from_file(signing, "deployed")
    hive = Hive("deployed", f"nats://127.0.0.1:{port}", stack.postgres.dsn, signing, issuer, tmp_path)
    async with server(keys / "single.conf", places, port), gateway(hive), connected(hive, "operator") as operator:
        made = await operator.admin(AGENT_GATEWAY, "create_token", CreateToken("eve"), NewToken)
        _, over = await connect(hive, tmp_path, "eve", made.creds)
        await operator.admin(AGENT_GATEWAY, "revoke_token", RevokeTokens("eve"), RevokedTokens)
        await over.wait()
        other = await operator.admin(AGENT_GATEWAY, "create_token", CreateToken("ann"), NewToken)
    async with server(keys / "single.conf", places, port):
        assert await refused(hive, tmp_path, "eve", made.creds)
        assert not await refused(hive, tmp_path, "ann", other.creds)


@asynccontextmanager
async def server(config: Path, environment: dict[str, str], port: int) -> AsyncIterator[None]:
    """A nats-server as operators run it, once it takes clients."""
    command = [str(binaries.nats_server()), "--config", str(config)]
    running_ = await asyncio.create_subprocess_exec(*command, env=os.environ | environment)
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0.05)
        writer.close()
        yield
    finally:
        running_.terminate()
        await running_.wait()
