"""What a broker tells Prometheus, over the real servers."""

import asyncio

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hivewire import Client
from hivewire.context import Context
from ports import free_port

from .gateway_process import process


class Scraped:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._samples.get((name, frozenset(labels.items())))

    @property
    def series(self) -> list[tuple[str, frozenset]]:
        return list(self._samples)

    def __contains__(self, name: str) -> bool:
        return any(name == known for known, _ in self._samples)


async def scrape(port: int, wanted) -> Scraped:
    """What a service says once it says what is `wanted`."""
    async with asyncio.timeout(30), httpx.AsyncClient() as http:
        while True:
            try:
                scraped = Scraped((await http.get(f"http://127.0.0.1:{port}/metrics")).text)
                if wanted(scraped):
                    return scraped
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)


@pytest.mark.asyncio
async def test_the_owner_tells_how_things_stand_and_a_standby_does_not(hive, tmp_path):
    boss = Context(nats_url=hive.nats_url, hive=hive.name, nats_creds=str(hive.credentials("publisher", "boss")))
    owner_port, standby_port = free_port(), free_port()
    async with process(hive, "broker", HIVEWIRE_METRICS_PORT=str(owner_port), HIVEWIRE_DATA=str(tmp_path)):
        async with Client.connect(context=boss) as client:
            first = await client.submit("first", priority=8)
            await client.submit("second", priority=8, depends_on=[first.id])
        owner = await scrape(owner_port, lambda seen: seen("hivewire_queue_tasks", priority="8", state="waiting"))
        assert owner("hivewire_queue_tasks", priority="8", state="ready") == 1
        assert 0 <= owner("hivewire_queue_oldest_age_seconds", priority="8", state="ready") < 60
        assert owner("hivewire_lease_owner", service="broker") == 1
        assert owner("hivewire_commands_waiting", service="broker") == 0
        assert owner("hivewire_dead_letters", status="dead_lettered") == 0
        assert owner("hivewire_stream_bytes", service="broker", stream="broker") > 0
        assert owner("hivewire_jetstream_store_bytes", service="broker") > 0
        free, size = (owner(f"hivewire_data_{name}_bytes", service="broker") for name in ("free", "size"))
        assert 0 < free < size
        async with process(hive, "broker", HIVEWIRE_METRICS_PORT=str(standby_port)):
            standby = await scrape(standby_port, lambda seen: seen("hivewire_lease_owner", service="broker") == 0)
            assert "hivewire_queue_tasks" not in standby
            assert "hivewire_publish_backlog_events" not in standby
