import io
import json
import logging

import pytest
import structlog

from hivewire_service.identity import HiveKeys, Issuer
from hivewire_service.logging import configure, hide_secrets
from hivewire_service.roles import Role


@pytest.fixture
def output(monkeypatch):
    """What is logged as JSON; logging is as it was afterwards."""
    text = io.StringIO()
    monkeypatch.setattr("sys.stderr", text)
    root = logging.getLogger()
    before = root.handlers, root.level
    configure(style="json", service="broker")
    yield text
    root.handlers, root.level = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_lines_are_json_with_the_service(output):
    structlog.get_logger().warning("lease lost", epoch=3)
    line = json.loads(output.getvalue())
    assert (line["event"], line["epoch"], line["service"], line["level"]) == ("lease lost", 3, "broker", "warning")


def test_logs_of_libraries_take_the_same_form(output):
    logging.getLogger("some.library").error("lost postgresql://u:hunter2@db/x")
    line = json.loads(output.getvalue())
    assert line["event"] == "lost postgresql://u:***@db/x"


def test_a_traceback_shows_no_password(output):
    try:
        raise ValueError("postgresql://u:hunter2@db/x")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "ValueError" in output.getvalue()
    assert "hunter2" not in output.getvalue()


def test_secrets_are_hidden_by_name_and_by_form():
    credentials = Issuer(HiveKeys.new("hive")).issue(Role.AGENT, "alice")
    seed = credentials.split("SEED-----\n")[1].splitlines()[0]
    jwt = credentials.splitlines()[1]
    shown = hide_secrets(
        None,
        "info",
        {
            "event": f"read {credentials}",
            "password": "hunter2",
            "nested": {"auth_token": "t0p", "list": [seed, 3]},
            "header": "Authorization: Bearer abcdef",
            "plain": "task 7 of alice",
            "count": 7,
        },
    )
    text = str(shown)
    assert not any(secret in text for secret in (seed, jwt, "hunter2", "t0p", "abcdef"))
    assert (shown["plain"], shown["count"]) == ("task 7 of alice", 7)
