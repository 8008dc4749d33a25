"""The OpenAPI document keeps its word, whatever is sent: schemathesis makes requests of it, valid and not."""

import asyncio
import os
import sys
from pathlib import Path

import httpx

from hivewire_agent_gateway.door.table import API

from .http_hive import whole_hive

EXAMPLES = int(os.environ.get("HIVEWIRE_FUZZ_EXAMPLES", "0"))
"""Requests for each operation and phase; 0: a short run."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
    "missing_required_header",
    "negative_data_rejection",
)

SETTINGS = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 413, 422]
"""


async def test_no_request_is_answered_otherwise_than_described(hive, tmp_path: Path):
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    async with whole_hive(hive) as running:
        arguments = (
            f"--checks={','.join(CHECKS)}",
            "--header=X-Agent-ID: boss",
            f"--header=Authorization: Bearer {running.tokens['boss']}",
            f"--exclude-path={API}/events/stream",
            f"--phases={'examples,coverage,fuzzing,stateful' if EXAMPLES else 'fuzzing'}",
            f"--max-examples={EXAMPLES or 5}",
            "--suppress-health-check=all",
            "--request-timeout=30",
            "--continue-on-failure",
            "--warnings=off",
            "--no-color",
        )
        fuzzing = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "schemathesis",
            "run",
            f"{running.url}/openapi.json",
            *arguments,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await fuzzing.communicate()
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{running.url}/ready")).status_code == 200
    print(told.decode())
    assert fuzzing.returncode == 0
