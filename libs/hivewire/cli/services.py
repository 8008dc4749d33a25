"""Running the hive itself: everything on this machine, one service, or a hive to be measured."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hivewire.cli.installed import installed
from hivewire.cli.output import say
from hivewire.cli.reach import HIVE, AsJson
from hivewire.errors import BadUsage


class ServiceName(StrEnum):
    """What can be served."""

    BROKER = "broker"
    AGENT_GATEWAY = "agent-gateway"
    TICK_ENGINE = "tick-engine"
    CONVERSATION = "conversation"


class Benchmark(StrEnum):
    """What can be measured."""

    LATENCY = "latency"
    LOAD = "load"
    THROUGHPUT = "throughput"
    EVENTS = "events"
    QUESTIONS = "questions"
    IDLE = "idle"
    DECIDING = "deciding"
    TICKS = "ticks"
    HEARTBEATS = "heartbeats"
    RECOVERY = "recovery"
    SCALE = "scale"
    SOAK = "soak"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up", rich_help_panel=HIVE)(up)
    app.command("serve", rich_help_panel=HIVE)(serve)
    app.command("bench", rich_help_panel=HIVE)(bench)
    app.command("keys", rich_help_panel=HIVE)(keys)


def up(
    *,
    data: Annotated[
        Path | None, typer.Option(help="Where all of it is kept. Else HIVEWIRE_DATA, else your data folder.")
    ] = None,
    http_port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the HTTP door; 0: a free one.")] = 8600,
    hive_name: Annotated[str, typer.Option("--hive", help="Name of the hive.", envvar="HIVEWIRE_HIVE")] = "hive",
    demo: Annotated[bool, typer.Option("--demo", help="Also a small fleet that always has something to do.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="The HTTP door trusts X-Agent-ID alone for agents.")] = False,
) -> None:
    """Run everything on this machine: nats-server, Postgres and the services, until Ctrl-C."""
    from platformdirs import user_data_path

    named = data or os.environ.get("HIVEWIRE_DATA")
    folder = Path(named) if named else user_data_path("hivewire")
    supervisor = installed("hivewire_service.supervisor")
    logs = installed("hivewire_service.logging")
    logs.configure()
    environment = (("HIVEWIRE_OPEN", "true"),) if open_ else ()
    supervisor.up(supervisor.UpOptions(folder.absolute(), http_port, hive_name, environment, demo))


def serve(
    service: Annotated[ServiceName, typer.Argument(help="Which one.", show_default=False)],
    *,
    config: Annotated[Path | None, typer.Option(help="Configuration file. Else hivewire.yaml.")] = None,
    nats_url: Annotated[str | None, typer.Option(help="URLs of NATS. Else NATS_URL.")] = None,
    nats_creds: Annotated[Path | None, typer.Option("--creds", help="Credentials. Else NATS_CREDS.")] = None,
    nats_ca: Annotated[Path | None, typer.Option(help="CA of NATS' certificates. Else NATS_CA.")] = None,
    nats_cert: Annotated[Path | None, typer.Option(help="Certificate to show to NATS. Else NATS_CERT.")] = None,
    nats_key: Annotated[Path | None, typer.Option(help="Its key. Else NATS_KEY.")] = None,
    hive: Annotated[str | None, typer.Option(help="Name of the hive. Else HIVEWIRE_HIVE.")] = None,
    http_port: Annotated[int | None, typer.Option(help="Port of the HTTP door. Else HIVEWIRE_HTTP_PORT.")] = None,
    http_cert: Annotated[Path | None, typer.Option(help="Certificate of the door. Else HIVEWIRE_HTTP_CERT.")] = None,
    http_key: Annotated[Path | None, typer.Option(help="Its key. Else HIVEWIRE_HTTP_KEY.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port of /health, /ready and /metrics. Else HIVEWIRE_METRICS_PORT.")
    ] = None,
    core: Annotated[bool, typer.Option("--core", help="Of the agent gateway: all but its door.")] = False,
    door: Annotated[bool, typer.Option("--door", help="Of the agent gateway: a door alone.")] = False,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run one service against NATS_URL and HIVEWIRE_POSTGRES_DSN."""
    if (core or door) and (core is door or service is not ServiceName.AGENT_GATEWAY):
        raise BadUsage("--core or --door is for the agent gateway, one of them")
    settings = installed("hivewire_service.settings").Settings.load(
        config,
        nats_url=nats_url,
        nats_creds=nats_creds,
        nats_ca=nats_ca,
        nats_cert=nats_cert,
        nats_key=nats_key,
        hive=hive,
        http_port=http_port,
        http_cert=http_cert,
        http_key=http_key,
        metrics_port=metrics_port,
        log_level=log_level,
        part="core" if core else "door" if door else None,
    )
    installed(f"hivewire_{service.replace('-', '_')}.main").main(settings)


def keys(
    folder: Annotated[Path, typer.Argument(help="Where to. What is there already is kept.", show_default=False)],
    *,
    hive_name: Annotated[str, typer.Option("--hive", help="Name of the hive.", envvar="HIVEWIRE_HIVE")] = "hive",
) -> None:
    """Make the keys and credentials of a hive with its own nats-server: what `up` does by itself."""
    installed("hivewire_service.keyring").make_keys(folder, hive_name)
    say(f"{folder / 'signing'} is for the agent gateway alone, {folder / 'access'} for nats-server and the services")


def bench(
    names: Annotated[
        list[Benchmark] | None,
        typer.Argument(help="What to measure. Else all of it but scale and soak.", show_default=False),
    ] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Shorter runs, whose figures are rough.")] = False,
    tasks: Annotated[int | None, typer.Option("--tasks", min=1_000, help="How many tasks.")] = None,
    agents: Annotated[int | None, typer.Option("--agents", min=1, help="How many agents.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="How long a soak lasts.")] = None,
    as_json: AsJson = False,
) -> int:
    """Measure what a hive does and costs on this machine.

    Latency at 100 tasks a second and under load, throughput, events from outside, simulations, heartbeats, recovery, what
    choosing an agent takes, and what it costs when idle. By name only: `scale`, with a million waiting tasks, and `soak`,
    a quarter of an hour of load."""
    command = installed("hivewire_service.bench.command")
    status: int = command.run_bench(
        names=names or (), quick=quick, tasks=tasks, agents=agents, minutes=minutes, as_json=as_json
    )
    return status
