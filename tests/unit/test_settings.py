import pytest

from hivewire.errors import BadUsage
from hivewire_service.settings import Settings

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_the_order_is_flag_environment_file_default(clean_environment, monkeypatch):
    assert Settings.load().hive == "hive"
    (clean_environment / "hivewire.yaml").write_text("hive: from_file\nlease_seconds: 1.5\nnats_url: nats://file\n")
    assert (Settings.load().hive, Settings.load().lease_seconds) == ("from_file", 1.5)
    monkeypatch.setenv("HIVEWIRE_HIVE", "from_env")
    monkeypatch.setenv("NATS_URL", "nats://env")
    assert (Settings.load().hive, Settings.load().nats_url) == ("from_env", "nats://env")
    assert Settings.load(hive="from_flag").hive == "from_flag"
    assert Settings.load(hive=None).hive == "from_env"


def test_what_is_empty_in_the_environment_is_not_said(monkeypatch):
    """Compose passes on what it was not told as nothing."""
    monkeypatch.setenv("NATS_CA", "")
    monkeypatch.setenv("HIVEWIRE_HTTP_CERT", "")
    assert not Settings.load().nats_tls.is_wanted
    assert Settings.load().http_tls is None


def test_another_file_can_be_named(tmp_path):
    (tmp_path / "mine.yaml").write_text("hive: mine\n")
    assert Settings.load(tmp_path / "mine.yaml").hive == "mine"


def test_the_password_is_not_shown(monkeypatch):
    monkeypatch.setenv("HIVEWIRE_POSTGRES_DSN", "postgresql://u:hunter2@db/hive")
    settings = Settings.load()
    assert "hunter2" not in repr(settings)
    assert settings.postgres_dsn.get_secret_value() == "postgresql://u:hunter2@db/hive"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"hive": "Big Hive"}, "Big Hive"),
        ({"lease_seconds": 0}, "lease_seconds"),
        ({"http_port": 70_000}, "http_port"),
        ({"typo": 1}, "typo"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(flags, named):
    with pytest.raises(BadUsage, match=named) as refused:
        Settings.load(**flags)
    assert "\n" not in str(refused.value)
