"""One trace leads from a caller through the services and an agent to what that agent asks."""

import asyncio
import time

import pytest

from hivewire import tracing

from .otlp import Collector
from .test_asking import agent, client
from .test_conversation import running

CHAIN = {
    "send broker.submit": "the boss wants something",
    "process broker.submit": "send broker.submit",
    "process assign": "send broker.submit",
    "process task": "process assign",
    "send conversation.ask": "process task",
    "process conversation.ask": "send conversation.ask",
}
"""Each span with the one that caused it."""


@pytest.fixture
def collector(monkeypatch) -> Collector:
    collector = Collector()
    with collector.listening():
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield collector


async def test_one_trace_from_submit_to_the_question_of_an_agent(hive, collector):
    tracing.set_up("test")
    from opentelemetry import trace

    ann, bob = agent(hive, "ann"), agent(hive, "bob")

    @bob.question
    async def on_question(question, ctx):
        return "two"

    @ann.task(needs="ask")
    async def ask(task, ctx):
        return (await ctx.ask("agent:bob", "Which version?", timeout_s=30)).text

    async with running(hive, "broker", "agent-gateway", "conversation"), bob, ann, client(hive) as boss:
        with trace.get_tracer("test").start_as_current_span("the boss wants something"):
            task = await boss.submit("ask", needs=["ask"])
        assert await task.result(60) == "two"
        deadline = time.monotonic() + 60
        while missing := CHAIN.keys() - {span.name for span in collector.spans}:
            assert time.monotonic() < deadline, missing
            await asyncio.sleep(0.05)
    (root,) = [span for span in collector.spans if span.name == "the boss wants something"]
    mine = [span for span in collector.spans if span.trace_id == root.trace_id]
    names = {span.span_id: span.name for span in mine}
    assert {span.name: names[span.parent_id] for span in mine if span.name in CHAIN} == CHAIN
    (run,) = [span for span in mine if span.name == "process task"]
    assert run.attributes == {
        "messaging.system": "nats",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "hivewire.task": task.id,
        "hivewire.attempt": "1",
    }
    trace.get_tracer_provider().shutdown()
