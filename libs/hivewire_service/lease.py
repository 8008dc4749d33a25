"""One owner for each service of a hive.

A lease is a row with an epoch, kept in Postgres' time. Whoever finds it expired takes it with the next epoch, and every
commit of the owner locks the row at its own epoch (see `store.py`), so an owner that lost it without noticing can't write.

    standby --(expired)--> owner, epoch n+1 --(renewed in time)--> owner
                                            --(commit refused, or renewal finds another epoch)--> standby
                                            --(not renewed for three leases)--> standby

Renewal runs in a thread with a connection of its own: a loop that is busy loading a million rows stays the owner.
"""

import asyncio
import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg
import structlog

from hivewire_service.store import CONNECTION_ERRORS, SQL, Store

log = structlog.get_logger()

ACQUIRE_S_MAX = 5.0
"""For Postgres to answer who asks for the lease or gives it back."""
UNRENEWED_LEASES_MAX = 3
"""An owner that could not renew for so many leases waits for answers that may never come: its term is over."""


@dataclass(frozen=True, slots=True)
class Term:
    """One stretch of ownership. `vacant_s`: how long nobody was seen to own the service before it."""

    epoch: int
    vacant_s: float


class Lease:
    """Takes, renews and gives back the lease of one service.

    `lease_s` is how long an owner that stopped renewing keeps it; it renews three times in that time.
    """

    def __init__(self, store: Store, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._renewal: _Renewal | None = None
        self.owner_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

    async def acquire(self) -> Term:
        """Wait until the lease is ours; as long as another holds it, we are the standby."""
        while True:
            try:
                asked = (self._store.service, self.owner_id, self._lease_s)
                row = await self._store.pool.fetchrow(SQL.take_lease, *asked, timeout=ACQUIRE_S_MAX)
            except CONNECTION_ERRORS as error:
                log.warning("postgres is not reachable, trying again", error=str(error) or type(error).__name__)
                await self._store.connect_anew()
                row = None
            if row is not None:
                return Term(row["epoch"], row["vacant_s"] or 0.0)
            await asyncio.sleep(self._lease_s / 8)

    def keep(self, term: Term, lost: Callable[[bool], None]) -> None:
        """Renew until `stop`. `lost` is called from the renewing thread when the lease is not ours any more: with True if
        another took it, with False if Postgres has not answered for several leases."""
        self.stop()
        self._renewal = _Renewal(self._store, term, self._lease_s, lost)
        self._renewal.start()

    @property
    def is_kept(self) -> bool:
        """Whether it is being renewed, and was within its time."""
        renewal = self._renewal
        return renewal is not None and time.monotonic() - renewal.renewed_s < self._lease_s

    def stop(self) -> None:
        """End the renewing; the lease itself runs out or is released."""
        if self._renewal is not None:
            self._renewal.stop()
            self._renewal = None

    async def release(self, term: Term) -> None:
        """Give the lease back, so that a standby need not wait for its end."""
        self.stop()
        try:
            await self._store.pool.execute(SQL.release_lease, self._store.service, term.epoch, timeout=ACQUIRE_S_MAX)
        except CONNECTION_ERRORS as error:
            log.warning("the lease could not be released and will run out", error=str(error))


class _Renewal:
    """The thread that keeps one term, with an event loop and a connection of its own."""

    def __init__(self, store: Store, term: Term, lease_s: float, lost: Callable[[bool], None]) -> None:
        self._store = store
        self._term = term
        self._lease_s = lease_s
        self._lost = lost
        self.renewed_s = time.monotonic()
        """When it was renewed last."""
        self._connection: asyncpg.Connection | None = None
        self._stopping = False
        self._loop = asyncio.new_event_loop()
        self._renewing = self._loop.create_task(self._renew())
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended; that does not wait for Postgres."""
        self._stopping = True  # whatever becomes of the cancellation
        with contextlib.suppress(RuntimeError):  # the loop is closed: the thread ended by itself
            self._loop.call_soon_threadsafe(self._renewing.cancel)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._loop), contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._renewing)

    async def _renew(self) -> None:
        try:
            while await self._is_renewed() and not self._stopping:  # noqa: ASYNC110  # nobody else tells
                await asyncio.sleep(self._lease_s / 3)
        finally:
            self._hang_up()

    async def _is_renewed(self) -> bool:
        """Whether the lease may still be ours."""
        try:
            if self._connection is None or self._connection.is_closed():
                # A renewal need not be on disk: one that a crash of Postgres loses makes the lease end sooner, no more.
                self._connection = await self._store.connect(synchronous_commit="off")
            status = await self._connection.execute(
                SQL.renew_lease, self._store.service, self._term.epoch, self._lease_s, timeout=self._lease_s
            )
        except CONNECTION_ERRORS as error:
            self._hang_up()
            unrenewed_s = time.monotonic() - self.renewed_s
            if unrenewed_s > UNRENEWED_LEASES_MAX * self._lease_s:
                log.warning("the lease could not be renewed, giving it up", seconds=round(unrenewed_s, 1))
                self._lost(False)
                return False
            log.warning("the lease could not be renewed, trying again", error=str(error) or type(error).__name__)
            return True
        if status == "UPDATE 0":
            self._lost(True)
            return False
        self.renewed_s = time.monotonic()
        return True

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
