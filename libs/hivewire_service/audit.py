"""What is kept of the messages that were refused: each one whole, until a sender floods.

Each sender may fill so many entries of its own. What goes beyond is counted in one entry a minute, which carries the
first of them as an example. These entries are part of the commit that decides the messages and add to what is stored
already, so the sum over all entries is the number of refused messages, whatever crashes: the place in the command
stream is in the same commit. Only the allowances are forgotten in a crash, and then a few more entries stand alone.

Pure: it says what to store.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from hivewire_service.core import Kept
from hivewire_service.quota import Quotas
from hivewire_service.store import Reject

ENTRIES_PER_SECOND: Final = 10.0
"""Entries that one sender fills for long."""
MESSAGES_AT_ONCE: Final = 1_000
"""Messages that could not be understood at all tell of a mistake, which is found by looking at them: so many of one
sender are kept whole before the rate counts."""


class Audit:
    """Turns the refused messages of a commit into entries."""

    def __init__(self) -> None:
        self._allowances = {
            Kept.MESSAGE: Quotas(ENTRIES_PER_SECOND, MESSAGES_AT_ONCE),
            Kept.REPORT: Quotas(ENTRIES_PER_SECOND, ENTRIES_PER_SECOND),
        }
        """Nothing for what is over its quota: that is a flood by itself."""

    def entries(self, refused: Iterable[Reject], now: datetime) -> list[Reject]:
        """What to store of messages that were refused at `now`, in their order."""
        now_s, minute = now.timestamp(), now.replace(second=0, microsecond=0)
        entries: list[Reject] = []
        floods: dict[tuple[str, Kept], Reject] = {}
        for reject in refused:
            allowance = self._allowances.get(reject.kind)
            if allowance is not None and not allowance.take(reject.sender, now_s):
                entries.append(reject)
                continue
            flood = floods.get((reject.sender, reject.kind))
            if flood is None:
                floods[reject.sender, reject.kind] = msgspec.structs.replace(reject, minute=minute)
            else:
                flood.count += 1
        return entries + list(floods.values())
