import json
import subprocess
import sys

import pytest

from hivewire import exit_codes
from hivewire.cli.app import app, run


@pytest.fixture
def hivewire(capsys):
    def call(*arguments):
        status = run(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_version(hivewire):
    status, out, err = hivewire("version")
    assert (status, err) == (exit_codes.DONE, "")
    assert out.strip().count(".") == 2


@pytest.mark.parametrize(
    "command",
    [["tasks"], ["dead"], ["dead", "x"], ["dead", "replay", "x"], ["watch", "x"], ["doctor"], ["token", "create", "x"]],
)
def test_without_a_hive_every_command_says_how_to_start_one(hivewire, command):
    status, out, err = hivewire(*command)
    assert (status, out) == (exit_codes.NOT_REACHABLE, "")
    assert err == "hivewire: no hive runs here: start one with `hivewire up`, or set NATS_URL and NATS_CREDS\n"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["tasks", "--nope"], "No such option: --nope"),
        (["bogus"], "No such command 'bogus'; see `hivewire --help`"),
        (["agent"], "Missing command; see `hivewire agent --help`"),
        (["task"], "Missing argument 'ID'"),
        (["tasks", "--limit", "0"], "--limit"),
        (["serve", "kitchen"], "kitchen"),
        (["agent", "run", "nocolon"], "write MODULE:NAME"),
        (["agent", "run", "surely_missing:agent"], "there is no module 'surely_missing'"),
        (["agent", "run", "json:dumps"], "'dumps' in json is no hivewire.Agent"),
        (["agent", "exec", "--id", "x"], "Missing argument"),
        (["tasks", "--creds", "missing.creds", "--nats-url", "nats://127.0.0.1:1"], "cannot read the credentials"),
        (["tasks", "--hive", "No", "--nats-url", "nats://127.0.0.1:1"], "hive name 'No'"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(hivewire, command, text):
    status, out, err = hivewire(*command)
    assert (status, out) == (exit_codes.BAD_USAGE, "")
    assert text in err
    assert err.startswith("hivewire: ")
    assert err.count("\n") == 1


def test_an_error_in_an_agents_module_is_one_line(hivewire, tmp_path):
    (tmp_path / "broken_agent.py").write_text("1 / 0")
    status, _, err = hivewire("agent", "run", "broken_agent:agent")
    assert status == exit_codes.WORK_FAILED
    assert err == "hivewire: unexpected ZeroDivisionError: division by zero; HIVEWIRE_DEBUG=1 shows where\n"


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.setenv("HIVEWIRE_DEBUG", "1")
    (tmp_path / "broken_agent_too.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        run(["agent", "run", "broken_agent_too:agent"])


def test_a_hive_that_does_not_answer_is_not_reachable(hivewire, monkeypatch):
    monkeypatch.setattr("hivewire.membership.join.__defaults__", (None, "publisher", 0.2))
    status, _, err = hivewire("tasks", "--nats-url", "nats://127.0.0.1:1")
    assert status == exit_codes.NOT_REACHABLE
    assert "cannot reach NATS at nats://127.0.0.1:1" in err


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        elif not command.hidden:
            yield (*path, name)


def test_every_command_has_help(hivewire):
    from typer.main import get_command

    names = list(commands(get_command(app)))
    assert ("agent", "exec") in names
    for name in names:
        status, out, _ = hivewire(*name, "--help")
        assert status == exit_codes.DONE, name
        assert "Usage: hivewire" in out, name


def test_starting_the_command_line_imports_no_service_and_no_driver():
    script = (
        "import sys; from hivewire.cli.app import run; run(['version']);"
        "import json; print(json.dumps(sorted(name.partition('.')[0] for name in sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    loaded = set(json.loads(out.splitlines()[-1]))
    assert "hivewire" in loaded
    assert not loaded & {"hivewire_service", "hivewire_broker", "asyncpg", "nats", "numpy", "rich", "uvicorn"}
