import pytest

from unit.broker.driver import Driver


@pytest.fixture
def hive() -> Driver:
    return Driver()
