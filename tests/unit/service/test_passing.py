"""Which errors of Postgres say nothing about what was to be written."""

import asyncpg
import pytest

from hivewire_service.store import CONNECTION_ERRORS, Fenced, is_passing


@pytest.mark.parametrize(
    "error",
    [
        OSError("gone"),
        TimeoutError(),
        Fenced("another owner"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.ConnectionDoesNotExistError("closed in the middle of operation"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.DiskFullError("could not extend file"),
        # Postgres was killed between the parsing of a statement and its execution.
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    ],
    ids=repr,
)
def test_trouble_of_the_connection_or_the_server_is_passing(error: Exception):
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UniqueViolationError("again"),
        asyncpg.DataError("invalid input for query argument"),
        asyncpg.ProtocolError("too many arguments"),
        ZeroDivisionError(),
    ],
    ids=repr,
)
def test_what_lies_in_a_batch_is_not(error: Exception):
    assert not is_passing(error)


def test_all_that_passes_ends_a_term_and_not_the_service():
    assert issubclass(asyncpg.InternalClientError, CONNECTION_ERRORS)
