import pytest


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No hive is named, and none runs here."""
    for name in ("NATS_URL", "NATS_CREDS", "HIVEWIRE_DATA", "HIVEWIRE_HIVE", "HIVEWIRE_CONFIG", "HIVEWIRE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
