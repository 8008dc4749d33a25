"""A cluster loses one part after the other at a hundred tasks a second: another takes over, and nothing is lost."""

import asyncio
import importlib
import time

import pytest

from cluster.harness import PATIENCE_S, Cluster, Load, Takeover, until
from hivewire import Client
from hivewire.subjects import SERVICES

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

PER_SECOND = 100
AGENTS = 4
TAKEOVER_S_MAX = 3.0
"""Beyond the time in which nats-server elects a leader: 4 to 9 s after one was killed, which no setting changes."""
QUIET_S = 3.0
"""Load between two kills."""
FOLDS = [importlib.import_module(f"hivewire_{service.replace('-', '_')}.fold") for service in SERVICES]


async def kill_owner(cluster: Cluster, service: str, work) -> Takeover:
    """Kill the owner of a service, and its standby must own it and work must go on."""
    owner = await cluster.owner(service)
    begun = time.monotonic()
    await asyncio.to_thread(owner.kill)
    standby = next(one for one in cluster.instances if one.service == service and one is not owner)

    async def has_taken_over() -> bool:
        return await standby.role() == "owner"

    await until(has_taken_over, f"{standby.name} owns {service}")
    await work()
    seconds = time.monotonic() - begun
    owner.start()
    return Takeover(owner.name, seconds)


async def kill_node(cluster: Cluster, stream: str, work) -> Takeover:
    """Kill the node that leads a stream: another one must be elected and work must go on."""
    node = await cluster.node_of(stream)
    begun = time.monotonic()
    await asyncio.to_thread(node.kill)
    electing = asyncio.create_task(cluster.election_s(stream, node))
    await work()
    seconds = time.monotonic() - begun
    takeover = Takeover(f"{node.name}, led {stream}", seconds, await electing)
    node.start()
    return takeover


async def test_each_part_is_killed_in_turn_and_nothing_is_lost(stack, tmp_path):
    cluster = Cluster(tmp_path, stack.postgres.dsn, "cluster")
    load = Load(cluster, PER_SECOND)
    takeovers = []
    async with (
        cluster.running(),
        Client.connect(context=cluster.context("publisher", "boss")) as client,
        load.running(client, AGENTS),
    ):

        async def work() -> None:
            """A new task is accepted and completed."""
            await client.ended(await load.submit(client), PATIENCE_S)

        for service in SERVICES:
            await asyncio.sleep(QUIET_S)
            takeovers.append(await kill_owner(cluster, service, work))
            await until(cluster.is_whole, f"the cluster is whole after {service}")
        for stream in (cluster.subjects.command_stream("broker"), cluster.subjects.event_stream):
            await asyncio.sleep(QUIET_S)
            takeovers.append(await kill_node(cluster, stream, work))
            await until(cluster.is_whole, f"the cluster is whole after the node of {stream}")
    async with cluster.database() as database:
        rows = await database.fetch("SELECT entity_id, count(*) FROM event WHERE type = 'task.completed' GROUP BY 1")
        completions = {row["entity_id"]: row["count"] for row in rows}
        lost = [task_id for task_id in load.accepted if task_id not in completions]
        doubled = [task_id for task_id, count in completions.items() if count > 1]
        crashed = await database.fetchval("SELECT count(*) FROM event WHERE type = 'agent.crashed'")
        differences = [line for fold in FOLDS for line in await fold.differences(database)]
    report(takeovers, tasks=len(load.accepted), lost=len(lost), doubled=len(doubled), agents_lost=crashed)
    assert (lost, doubled, crashed, differences) == ([], [], 0, [])
    assert [takeover for takeover in takeovers if takeover.own_s > TAKEOVER_S_MAX] == []


def report(takeovers: list[Takeover], **counts: int) -> None:
    """The table for people."""
    width = max(len(takeover.killed) for takeover in takeovers)
    print(f"\n{'killed'.ljust(width)}  work went on after  of it NATS' election")
    for takeover in takeovers:
        print(f"{takeover.killed.ljust(width)}  {takeover.seconds:16.2f} s  {takeover.election_s:18.2f} s")
    print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))
