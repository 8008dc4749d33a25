"""A cluster loses one part after the other at a hundred tasks a second: another takes over in time, and nothing is lost."""

import asyncio
import importlib
import os
import time
from collections import Counter

import pytest

from cluster.harness import PATIENCE_S, Cluster, Load, Program, Takeover, until
from hivewire import Client
from hivewire.ids import event_id
from hivewire.subjects import SERVICES

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

PER_SECOND = 100
AGENTS = 4
INSTANCE_S_MAX = 3.0
NODE_S_MAX = 5.0
"""nats-server takes longer to elect another leader of a stream; nobody waits for it."""
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
    return Takeover(owner.name, seconds, INSTANCE_S_MAX)


async def kill_node(cluster: Cluster, node: Program, why: str, work) -> Takeover:
    """Kill a node, and work must go on whatever it led."""
    led = tuple(stream for stream, leader in (await cluster.leaders()).items() if leader == node.name)
    begun = time.monotonic()
    await asyncio.to_thread(node.kill)
    electing = asyncio.create_task(cluster.election_s(node, led))
    await work()
    seconds = time.monotonic() - begun
    takeover = Takeover(f"{node.name}, {why}", seconds, NODE_S_MAX, await electing, led)
    node.start()
    return takeover


async def test_each_part_is_killed_in_turn_and_nothing_is_lost(stack, tmp_path):
    cluster = Cluster(tmp_path, stack.postgres.dsn, "cluster")
    load = Load(cluster, PER_SECOND)
    takeovers = []
    async with cluster.running(), Client.connect(context=cluster.context("publisher", "boss")) as client:
        async with load.running(client, AGENTS):

            async def work() -> None:
                """A new task is accepted and completed."""
                await client.ended(await load.submit(client), PATIENCE_S)

            async def settled(after: str) -> None:
                await until(cluster.is_whole, f"the cluster is whole after {after}")
                await asyncio.sleep(QUIET_S)

            for service in SERVICES * 2:
                takeovers.append(await kill_owner(cluster, service, work))
                await settled(service)
            commands, events = cluster.subjects.command_stream("broker"), cluster.subjects.event_stream
            for why, find in (
                ("leads the broker's commands", lambda: cluster.node_of(commands)),
                ("leads the events", lambda: cluster.node_of(events)),
                ("leads the nodes", cluster.first_node),
            ):
                takeovers.append(await kill_node(cluster, await find(), why, work))
                await settled(why)
            takeovers.append(await kill_node(cluster, cluster.node_behind(client), "has the client", work))
            await settled("the client's node")
        await until(cluster.is_published, "every event is on the bus")
        stored = await cluster.stored_events()
    async with cluster.database() as database:
        rows = await database.fetch("SELECT entity_id, count(*) FROM event WHERE type = 'task.completed' GROUP BY 1")
        completions = {row["entity_id"]: row["count"] for row in rows}
        lost = [task_id for task_id in load.accepted if task_id not in completions]
        doubled = [task_id for task_id, count in completions.items() if count > 1]
        crashed = await database.fetchval("SELECT count(*) FROM event WHERE type = 'agent.crashed'")
        committed = {event_id("cluster", *row) for row in await database.fetch("SELECT writer, seq FROM event")}
        differences = [line for fold in FOLDS for line in await fold.differences(database)]
    counts = {"tasks": len(load.accepted), "lost": len(lost), "doubled": len(doubled), "agents lost": crashed}
    repeats = sum(stored.values()) - len(stored)
    report(takeovers, counts | {"events": len(committed), "of them again in the stream": repeats})
    assert (lost, doubled, crashed, differences) == ([], [], 0, [])
    assert committed - set(stored) == set()
    assert [takeover for takeover in takeovers if takeover.seconds > takeover.seconds_max] == []


def report(takeovers: list[Takeover], counts: dict[str, int]) -> None:
    """The table for people."""
    width = max(len(takeover.killed) for takeover in takeovers)
    print(f"\n{'killed'.ljust(width)}  work went on after  NATS elected after  it led")
    for takeover in takeovers:
        times = f"{takeover.seconds:16.2f} s  {takeover.election_s:16.2f} s"
        print(f"{takeover.killed.ljust(width)}  {times}  {', '.join(takeover.led)}")
    led = Counter((stream, takeover.killed[:6]) for takeover in takeovers for stream in takeover.led)
    print(
        "killed while leading:", ", ".join(f"{stream} {node} {times}" for (stream, node), times in sorted(led.items()))
    )
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    print("load average: {:.1f} {:.1f} {:.1f}".format(*os.getloadavg()))
