"""The service goes on when its housekeeping does not."""

from datetime import UTC, datetime

import pytest

from hivewire_service import retention
from hivewire_service.retention import Keeping, Periods, Retention


class Failing(Retention):
    """Fails in one way after the other."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(NoTurns(), Keeping(), Periods(), lambda: datetime.now(UTC))
        self.errors = list(errors)

    async def keep(self) -> None:
        raise self.errors.pop(0)


class NoTurns:
    class store:  # noqa: N801
        service = "broker"


async def test_only_a_lost_connection_ends_the_term(monkeypatch):
    monkeypatch.setattr(retention, "EVERY_S", 0.0)
    failing = Failing(ValueError("a row that nobody understands"), KeyError("x"), ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        await failing.run()
    assert failing.errors == []
