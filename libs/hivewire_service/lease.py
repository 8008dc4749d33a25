"""One owner for each service of a hive.

A lease is a row with an epoch, kept in Postgres' time. Whoever finds it expired takes it with the next epoch, and every
commit of the owner locks the row at its own epoch (see `store.py`), so an owner that lost it without noticing can't write.

    standby --(expired)--> owner, epoch n+1 --(renewed in time)--> owner
                                            --(commit refused, or renewal finds another epoch)--> standby

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
                row = await self._store.pool.fetchrow(SQL.take_lease, self._store.service, self.owner_id, self._lease_s)
            except CONNECTION_ERRORS as error:
                log.warning("postgres is not reachable, trying again", error=str(error) or type(error).__name__)
                row = None
            if row is not None:
                return Term(row["epoch"], row["vacant_s"] or 0.0)
            await asyncio.sleep(self._lease_s / 8)

    def keep(self, term: Term, lost: Callable[[], None]) -> None:
        """Renew until `stop`. `lost` is called from the renewing thread when another took the lease."""
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
            await self._store.pool.execute(SQL.release_lease, self._store.service, term.epoch)
        except CONNECTION_ERRORS as error:
            log.warning("the lease could not be released and will run out", error=str(error))


class _Renewal:
    """The thread that keeps one term, with an event loop and a connection of its own."""

    def __init__(self, store: Store, term: Term, lease_s: float, lost: Callable[[], None]) -> None:
        self._store = store
        self._term = term
        self._lease_s = lease_s
        self._lost = lost
        self.renewed_s = time.monotonic()
        """When it was renewed last."""
        self._stopped = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the thread ended by itself
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._renew())

    async def _renew(self) -> None:
        connection: asyncpg.Connection | None = None
        while not self._stopped.is_set():
            try:
                if connection is None or connection.is_closed():
                    connection = await self._store.connect()
                status = await connection.execute(
                    SQL.renew_lease, self._store.service, self._term.epoch, self._lease_s, timeout=self._lease_s
                )
                if status == "UPDATE 0":
                    self._lost()
                    break
                self.renewed_s = time.monotonic()
            except CONNECTION_ERRORS as error:
                log.warning("the lease could not be renewed, trying again", error=str(error) or type(error).__name__)
                if connection is not None:
                    connection.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self._lease_s / 3)
        if connection is not None:
            connection.terminate()
