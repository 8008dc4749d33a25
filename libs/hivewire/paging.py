"""Listings of any length, read page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from hivewire.connection import Connection
from hivewire.errors import RefusedError

T = TypeVar("T")
TOO_LARGE = 413


class PageOf(msgspec.Struct, Generic[T]):
    """One page of a listing. `cursor` asks for the next; None: there is none."""

    items: list[T]
    cursor: str | None = None


class Paged(Protocol):
    """The parameters of a listing."""

    limit: int
    cursor: str | None


async def page(ask: Callable[[Any], Awaitable[T]], params: Any) -> T:
    """One page of a listing, shorter than `params.limit` where so many items are too large for a message.

    Raises:
        RefusedError: the service said no, or a single item is too large (413).
    """
    asked: Paged = msgspec.structs.replace(params)
    while True:
        try:
            return await ask(asked)
        except RefusedError as error:
            if error.status != TOO_LARGE or asked.limit == 1:
                raise
        asked.limit = max(1, asked.limit // 4)


async def items(
    connection: Connection, service: str, query: str, params: Any, kind: type[T], at_most: int | None = None
) -> AsyncIterator[T]:
    """Everything that a listing holds, up to `at_most`. `params.limit` is what one page asks for.

    Raises:
        RefusedError: the service said no.
        NotReachable: it did not answer.
    """

    async def read(asked: Any) -> PageOf[T]:
        return await connection.read(service, query, asked, PageOf[kind])  # type: ignore[valid-type]  # known at run time only

    async for item in items_by(read, params, at_most):
        yield item


async def items_by(
    ask: Callable[[Any], Awaitable[PageOf[T]]], params: Any, at_most: int | None = None
) -> AsyncIterator[T]:
    """The same of a listing that is asked for otherwise. Raises what `ask` raises."""
    asked: Paged = msgspec.structs.replace(params)
    left = at_most
    while left is None or left > 0:
        asked.limit = asked.limit if left is None else min(asked.limit, left)
        one = await page(ask, asked)
        for item in one.items[:left]:
            yield item
        if one.cursor is None:
            return
        asked.cursor = one.cursor
        left = None if left is None else left - len(one.items)
