import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivewire.context import Context, find_context, user_context_file
from hivewire.errors import BadUsage, NotReachable
from hivewire.tls import Tls

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def running():
    """The context that this user's `up` would have left."""
    context = Context(nats_url="nats://local", nats_creds="/op.creds", data_dir="/data", pid=os.getpid())
    context.write(user_context_file())
    return context


def test_a_running_hive_is_found_without_a_word(running):
    assert find_context() == running
    assert user_context_file().stat().st_mode & 0o777 == 0o600


def test_nothing_named_and_nothing_running_says_what_to_do():
    with pytest.raises(NotReachable, match="hivewire up"):
        find_context()


def test_a_hive_that_was_killed_is_not_found():
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    Context(nats_url="nats://gone", pid=ended.pid).write(user_context_file())
    with pytest.raises(NotReachable):
        find_context()


def test_the_order_is_flag_environment_file_running_hive(running, monkeypatch, clean_environment):
    (clean_environment / "hivewire.yaml").write_text("nats_url: nats://file\nnats_creds: file.creds\n")
    assert find_context().nats_url == "nats://file"
    monkeypatch.setenv("NATS_URL", "nats://env")
    assert find_context().nats_url == "nats://env"
    assert find_context(nats_url="nats://flag").nats_url == "nats://flag"
    assert find_context().nats_creds == "file.creds"


def test_files_of_tls_are_found_in_the_same_order(running, monkeypatch, clean_environment):
    (clean_environment / "hivewire.yaml").write_text("nats_ca: file.pem\nnats_cert: file.pem\nnats_key: file.key\n")
    monkeypatch.setenv("NATS_CERT", "env.pem")
    monkeypatch.setenv("NATS_CA", "")
    found = find_context(nats_key="flag.key")
    assert found.tls == Tls(Path("file.pem"), Path("env.pem"), Path("flag.key"))
    assert found.nats_url == running.nats_url


def test_a_data_directory_that_is_named_goes_before_a_url_of_a_lower_level(monkeypatch, tmp_path):
    Context(nats_url="nats://data", pid=os.getpid()).write(tmp_path / "d" / "context.json")
    monkeypatch.setenv("NATS_URL", "nats://env")
    assert find_context(data=tmp_path / "d").nats_url == "nats://data"


def test_own_credentials_are_used_with_the_running_hive(running, monkeypatch):
    monkeypatch.setenv("NATS_CREDS", "alice.creds")
    found = find_context()
    assert (found.nats_url, found.nats_creds) == ("nats://local", "alice.creds")


def test_a_data_directory_without_a_running_hive_is_named(tmp_path):
    with pytest.raises(NotReachable, match=str(tmp_path)):
        find_context(data=tmp_path)


@pytest.mark.parametrize("text", ["nats_url: [", "- a\n- b\n"])
def test_a_malformed_configuration_is_refused_in_one_line(clean_environment, text):
    (clean_environment / "hivewire.yaml").write_text(text)
    with pytest.raises(BadUsage, match=r"hivewire\.yaml") as refused:
        find_context()
    assert "\n" not in str(refused.value)


def test_a_configuration_that_was_named_must_be_there():
    with pytest.raises(BadUsage, match=r"no configuration file other\.yaml"):
        find_context(config="other.yaml")
